//! Which tiles of outputs a convolution has, and which positions of the maps they meet.

use std::ops::Range;

use super::{INPUTS, OUTPUTS, TAPS};
use crate::Window;

/// One axis of the maps.
#[derive(Debug, Clone, Copy)]
struct Axis {
    inputs: usize,
    outputs: usize,
    /// The input that output 0 meets with its first tap, negative in the padding.
    origin: isize,
}

impl Axis {
    fn tiles(&self) -> usize {
        self.outputs.div_ceil(OUTPUTS)
    }

    /// The first of the inputs of a tile, and which of them exist.
    fn inputs(&self, tile: usize) -> (isize, Range<usize>) {
        let first = (tile * OUTPUTS) as isize + self.origin;
        let end = (self.inputs as isize - first).clamp(0, INPUTS as isize) as usize;
        (first, ((-first).max(0) as usize).min(end)..end)
    }

    /// The first of the outputs of a tile, and which of them exist.
    fn outputs(&self, tile: usize) -> (isize, Range<usize>) {
        let first = tile * OUTPUTS;
        (first as isize, 0..OUTPUTS.min(self.outputs - first))
    }
}

/// The outputs of a convolution of 3x3 taps at stride 1, cut into tiles of 4x4; counted image by image, row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles {
    batch: usize,
    vertical: Axis,
    horizontal: Axis,
}

impl Tiles {
    /// The tiles of a window's outputs.
    pub(super) fn forward(window: &Window) -> Self {
        assert_eq!([window.kernel, window.stride], [TAPS, 1], "kernel, stride");
        let axis = |inputs, outputs, pad: usize| Axis { inputs, outputs, origin: -(pad as isize) };
        Tiles {
            batch: window.batch,
            vertical: axis(window.in_height, window.out_height, window.pad_top),
            horizontal: axis(window.in_width, window.out_width, window.pad_left),
        }
    }

    /// The tiles of a window's inputs, which the gradient of the outputs reaches through the flipped taps.
    pub(super) fn backward(window: &Window) -> Self {
        assert_eq!([window.kernel, window.stride], [TAPS, 1], "kernel, stride");
        let reach = TAPS as isize - 1;
        let axis = |inputs, outputs, pad: usize| Axis { inputs, outputs, origin: pad as isize - reach };
        Tiles {
            batch: window.batch,
            vertical: axis(window.out_height, window.in_height, window.pad_top),
            horizontal: axis(window.out_width, window.in_width, window.pad_left),
        }
    }

    /// Number of tiles.
    pub(super) fn len(&self) -> usize {
        self.batch * self.vertical.tiles() * self.horizontal.tiles()
    }

    /// Positions of the map that is read.
    pub(super) fn in_positions(&self) -> usize {
        self.batch * self.vertical.inputs * self.horizontal.inputs
    }

    /// Positions of the map that is written.
    pub(super) fn out_positions(&self) -> usize {
        self.batch * self.vertical.outputs * self.horizontal.outputs
    }

    /// Image, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (rows, columns) = (self.vertical.tiles(), self.horizontal.tiles());
        [tile / (rows * columns), tile / columns % rows, tile % columns]
    }

    /// The 6x6 positions that a tile reads.
    pub(super) fn inputs(&self, tile: usize) -> Patch {
        let [image, row, column] = self.place(tile);
        let (vertical, horizontal) = (self.vertical.inputs(row), self.horizontal.inputs(column));
        Patch::new(image, [self.vertical.inputs, self.horizontal.inputs], vertical, horizontal)
    }

    /// The 4x4 positions that a tile writes.
    pub(super) fn outputs(&self, tile: usize) -> Patch {
        let [image, row, column] = self.place(tile);
        let (vertical, horizontal) = (self.vertical.outputs(row), self.horizontal.outputs(column));
        Patch::new(image, [self.vertical.outputs, self.horizontal.outputs], vertical, horizontal)
    }
}

/// A square of neighbouring positions of a map, some of which may lie outside.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    /// The position of its first cell; outside of the image where that cell does not exist.
    first: isize,
    /// Positions of a row of the map.
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Patch {
    fn new(
        image: usize,
        [height, width]: [usize; 2],
        (top, rows): (isize, Range<usize>),
        (left, columns): (isize, Range<usize>),
    ) -> Self {
        let first = ((image * height) as isize + top) * width as isize + left;
        Patch { first, width, rows, columns }
    }

    /// True if all cells of a square of `side` exist.
    #[inline(always)]
    pub(super) fn is_whole(&self, side: usize) -> bool {
        self.rows.len() == side && self.columns.len() == side
    }

    /// True if a cell exists.
    #[inline(always)]
    pub(super) fn has(&self, row: usize, column: usize) -> bool {
        self.rows.contains(&row) && self.columns.contains(&column)
    }

    /// Values from the start of a map with rows of `stride` values to a cell; within the map if the cell exists.
    #[inline(always)]
    pub(super) fn offset(&self, row: usize, column: usize, stride: usize) -> isize {
        (self.first + (row * self.width + column) as isize) * stride as isize
    }
}
