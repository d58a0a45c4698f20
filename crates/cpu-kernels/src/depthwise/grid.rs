//! Which inputs, taps and outputs of a correlation meet, and how the outputs of a row are worked on together.

use std::ops::Range;

use crate::bands::Bands;
use crate::vector::{Vector, unroll};

/// Rows of outputs that are worked on together, of large maps and many taps: most of the inputs of one are those of the
/// next, ...
const ROWS: usize = 4;

/// Rows of taps from which on that pays for the shorter runs of memory.
const MANY_TAPS: usize = 5;

/// ... and stay in the first-level cache, with so few channels.
const BLOCK: usize = 64;

/// Bands that a map is cut into at least, so that threads get alike many rows.
const MIN_BANDS: usize = 12;

/// Channels that are worked on together, row by row: many, so that memory is read in long runs; fewer than small maps have,
/// so that these give several threads work.
const BLOCK_OF_A_ROW: usize = 256;

/// Neighbouring outputs of a row that are worked on together.
pub(super) const WIDTH: usize = 8;

/// One axis of a correlation: output `i` is the sum over `tap` of input `i * stride + origin + tap`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Inputs.
    pub(super) input: usize,
    /// Outputs.
    pub(super) output: usize,
    /// Taps.
    pub(super) taps: usize,
    /// Inputs from one output to the next.
    pub(super) stride: usize,
    /// The input of output 0 and tap 0, negative in the padding.
    pub(super) origin: isize,
    /// Where output 0 lies in the map of outputs.
    pub(super) first: usize,
    /// Positions of the map of outputs from one output to the next.
    pub(super) step: usize,
    /// Positions of the map of outputs.
    pub(super) size: usize,
}

impl Axis {
    /// The input of output `index` and tap 0.
    #[inline(always)]
    fn start(&self, index: usize) -> isize {
        (index * self.stride) as isize + self.origin
    }

    /// Those of `count` inputs from `start` on that exist.
    #[inline(always)]
    fn inside(&self, start: isize, count: usize) -> Range<usize> {
        let end = (self.input as isize - start).clamp(0, count as isize) as usize;
        ((-start).max(0) as usize).min(end)..end
    }

    /// Where an output lies in the map of outputs.
    #[inline(always)]
    fn place(&self, index: usize) -> usize {
        self.first + index * self.step
    }
}

/// The geometry of a correlation whose outputs lie on a grid of positions of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Images.
    pub(super) batch: usize,
    /// The vertical axis.
    pub(super) vertical: Axis,
    /// The horizontal axis.
    pub(super) horizontal: Axis,
}

impl Grid {
    /// Asserts that the inputs, the outputs and the taps lie within maps of these positions and a weight of these taps.
    pub(super) fn check(&self, inputs: usize, outputs: usize, taps: usize) {
        let Grid { batch, vertical, horizontal } = self;
        assert_eq!(inputs, batch * vertical.input * horizontal.input, "positions of the input");
        assert_eq!(outputs, batch * vertical.size * horizontal.size, "positions of the output");
        assert_eq!(taps, vertical.taps * horizontal.taps, "taps");
        for axis in [vertical, horizontal] {
            assert!(axis.output == 0 || axis.place(axis.output - 1) < axis.size, "{axis:?} ends too early");
        }
    }

    /// The outputs, cut into bands of rows and blocks of channels.
    pub(super) fn bands(&self, channels: usize) -> Bands {
        let most = if self.vertical.taps < MANY_TAPS { 1 } else { ROWS };
        let rows = (self.vertical.output / MIN_BANDS).clamp(1, most);
        let block = if rows == 1 { BLOCK_OF_A_ROW } else { BLOCK };
        Bands::new(self.batch, self.vertical.output, rows, channels, block)
    }

    /// Where an output lies in the map of outputs.
    #[inline(always)]
    pub(super) fn output(&self, image: usize, row: usize, column: usize) -> usize {
        let line = image * self.vertical.size + self.vertical.place(row);
        line * self.horizontal.size + self.horizontal.place(column)
    }

    /// The outputs of a row from `column` on, at most [`WIDTH`].
    #[inline(always)]
    pub(super) fn tile(&self, image: usize, row: usize, column: usize) -> Tile {
        let Grid { vertical, horizontal, .. } = self;
        let count = WIDTH.min(horizontal.output - column);
        let (start_y, start_x) = (vertical.start(row), horizontal.start(column));
        let tap_rows = vertical.inside(start_y, vertical.taps);
        let line = (image * vertical.input) as isize + start_y + tap_rows.start as isize;
        Tile {
            output: self.output(image, row, column),
            count,
            tap_row: tap_rows.start,
            tap_rows: tap_rows.len(),
            input: line * horizontal.input as isize + start_x,
            inside: horizontal.inside(start_x, (count - 1) * horizontal.stride + horizontal.taps),
        }
    }

    /// Calls `visit` with every tap of an output whose input exists, and with the position of that input.
    #[inline(always)]
    pub(super) fn each_tap(
        &self,
        image: usize,
        row: usize,
        column: usize,
        mut visit: impl FnMut(usize, usize),
    ) {
        let Grid { vertical, horizontal, .. } = self;
        let (start_y, start_x) = (vertical.start(row), horizontal.start(column));
        for tap_y in vertical.inside(start_y, vertical.taps) {
            let line = image * vertical.input + (start_y + tap_y as isize) as usize;
            for tap_x in horizontal.inside(start_x, horizontal.taps) {
                let input = line * horizontal.input + (start_x + tap_x as isize) as usize;
                visit(tap_y * horizontal.taps + tap_x, input);
            }
        }
    }
}

/// Neighbouring outputs of a row.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// Where the first output lies in the map of outputs.
    pub(super) output: usize,
    /// Outputs.
    pub(super) count: usize,
    /// First row of taps whose inputs exist.
    pub(super) tap_row: usize,
    /// Number of such rows.
    pub(super) tap_rows: usize,
    /// Position of the input of the first output, the first such row and its first tap; it may lie in the padding.
    pub(super) input: isize,
    /// Those of the inputs of a row that exist.
    pub(super) inside: Range<usize>,
}

impl Tile {
    /// True if there are [`WIDTH`] outputs, all of whose inputs in a row exist.
    #[inline(always)]
    pub(super) fn is_whole(&self, taps: usize, stride: usize) -> bool {
        self.inside.len() == (WIDTH - 1) * stride + taps
    }

    /// Calls `product` with every input of one row of taps that exists, each read once, and the output and tap that it
    /// meets. `x` is the address of the first input. `WHOLE`: all inputs exist.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; the inputs inside can be read.
    #[inline(always)]
    pub(super) unsafe fn each_product<
        V: Vector,
        const TAPS: usize,
        const STRIDE: usize,
        const WHOLE: bool,
    >(
        &self,
        x: *const f32,
        x_stride: usize,
        mut product: impl FnMut(V, usize, usize),
    ) {
        unroll!(input < (WIDTH - 1) * STRIDE + TAPS, {
            if WHOLE || input.wrapping_sub(self.inside.start) < self.inside.end - self.inside.start {
                // SAFETY: this input exists.
                let value = unsafe { V::load(x.wrapping_add(input * x_stride)) };
                for back in 0..TAPS {
                    let (output, tap) = ((input / STRIDE).wrapping_sub(back), input % STRIDE + back * STRIDE);
                    if output < WIDTH && tap < TAPS {
                        product(value, output, tap);
                    }
                }
            }
        });
    }
}
