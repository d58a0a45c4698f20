//! Which input rows meet which output row: the geometry that forward, backward data and backward weight share.

use std::ops::Range;

use crate::{MapRef, Window};

/// Largest kernel side.
pub const MAX_KERNEL: usize = 7;

/// Most taps of a kernel.
pub(super) const MAX_TAPS: usize = MAX_KERNEL * MAX_KERNEL;

/// One axis of a [`Grid`]: cell `i` stands for cell `origin + i * step` of the output and reads, for every tap, cell
/// `i * in_step + tap` of the input where that exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Cells of the grid.
    pub(super) len: usize,
    /// Cells of the output map.
    pub(super) out_len: usize,
    /// Output cell of grid cell 0.
    pub(super) origin: usize,
    /// Output cells from grid cell to grid cell.
    pub(super) step: usize,
    /// Cells of the input map.
    pub(super) in_len: usize,
    /// Input cells from grid cell to grid cell.
    pub(super) in_step: usize,
    taps: [isize; MAX_KERNEL],
    tap_count: usize,
}

impl Axis {
    /// Output cells `cells` of a window along one axis.
    fn window(
        cells: Range<usize>,
        out_len: usize,
        in_len: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Self {
        let first = (cells.start * stride) as isize - pad as isize;
        let mut axis = Axis {
            len: cells.len(),
            out_len,
            origin: cells.start,
            step: 1,
            in_len,
            in_step: stride,
            taps: [0; MAX_KERNEL],
            tap_count: 0,
        };
        (0..kernel).for_each(|k| axis.push(first + k as isize));
        axis
    }

    /// The input cells `phase`, `phase + stride` ... of a window along one axis, as the output of backward data.
    fn phase(phase: usize, out_len: usize, in_len: usize, kernel: usize, stride: usize, pad: usize) -> Self {
        let mut axis = Axis {
            len: in_len.saturating_sub(phase).div_ceil(stride),
            out_len: in_len,
            origin: phase,
            step: stride,
            in_len: out_len,
            in_step: 1,
            taps: [0; MAX_KERNEL],
            tap_count: 0,
        };
        phase_taps(phase, kernel, stride, pad).for_each(|k| {
            axis.push((phase as isize + pad as isize - k as isize) / stride as isize);
        });
        axis
    }

    fn push(&mut self, tap: isize) {
        self.taps[self.tap_count] = tap;
        self.tap_count += 1;
    }

    /// Offsets of the input cells that grid cell 0 reads.
    fn taps(&self) -> &[isize] {
        &self.taps[..self.tap_count]
    }

    /// The input cell that grid cell `cell` reads at offset `tap`.
    #[inline(always)]
    fn input(&self, cell: usize, tap: isize) -> Option<usize> {
        let input = (cell * self.in_step) as isize + tap;
        (0..self.in_len as isize).contains(&input).then_some(input as usize)
    }
}

/// The kernel cells along one axis that reach the input cells `phase`, `phase + stride` ...
pub(super) fn phase_taps(
    phase: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> impl Iterator<Item = usize> + Clone {
    ((phase + pad) % stride..kernel).step_by(stride)
}

/// A part of a convolution: a grid of output positions, all with the same taps.
///
/// Its positions are counted `(b, y, x)`, as those of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    batch: usize,
    y: Axis,
    x: Axis,
    /// Values read at each tap. They may belong to several neighbouring input positions, see [`Grid::forward`].
    channels: usize,
}

/// Input maps with fewer channels are read a kernel row at a time.
const FEW_CHANNELS: usize = 8;

impl Grid {
    /// The grids of the outputs of a window, by columns.
    ///
    /// Usually one grid with a tap a kernel cell. If the input is dense and has few channels, the values under a kernel
    /// row are one run, so that the columns whose windows are inside the map become a grid with a tap a kernel row;
    /// the columns left and right of them keep a tap a kernel cell. Both read the weights `[ky][kx][c]` in order.
    pub(super) fn forward(window: &Window, input: MapRef) -> [Grid; 3] {
        let Window { kernel, stride, pad_left, in_width, out_width, .. } = *window;
        let channels = input.channels();
        let by_cell = |columns| Grid::columns(window, channels, columns);
        if kernel == 1 || channels >= FEW_CHANNELS || input.stride() != channels {
            return [by_cell(0..out_width), by_cell(0..0), by_cell(0..0)];
        }
        let end =
            (in_width + pad_left).checked_sub(kernel).map_or(0, |last| last / stride + 1).min(out_width);
        let start = pad_left.div_ceil(stride).min(end);
        let mut inside = by_cell(start..end);
        inside.x.tap_count = 1;
        inside.channels = kernel * channels;
        [by_cell(0..start), inside, by_cell(end..out_width)]
    }

    fn columns(window: &Window, channels: usize, columns: Range<usize>) -> Grid {
        let Window { batch, in_height, in_width, out_height, out_width, kernel, stride, pad_top, pad_left } =
            *window;
        Grid {
            batch,
            y: Axis::window(0..out_height, out_height, in_height, kernel, stride, pad_top),
            x: Axis::window(columns, out_width, in_width, kernel, stride, pad_left),
            channels,
        }
    }

    /// The grid of phase `(y, x)` of backward data: the input positions that leave these rests when divided by the
    /// stride. It reads the output gradient (`channels` values) and has the taps of [`phase_taps`].
    pub(super) fn backward(window: &Window, channels: usize, [y, x]: [usize; 2]) -> Grid {
        let Window { batch, in_height, in_width, out_height, out_width, kernel, stride, pad_top, pad_left } =
            *window;
        Grid {
            batch,
            y: Axis::phase(y, out_height, in_height, kernel, stride, pad_top),
            x: Axis::phase(x, out_width, in_width, kernel, stride, pad_left),
            channels,
        }
    }

    /// Number of positions.
    pub(super) fn positions(&self) -> usize {
        self.batch * self.y.len * self.x.len
    }

    /// Number of taps.
    pub(super) fn taps(&self) -> usize {
        self.y.tap_count * self.x.tap_count
    }

    /// Values read at each tap.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Calls `visit(image, y, x)` with the place in the grid of each of `positions`.
    #[inline(always)]
    fn walk(&self, positions: Range<usize>, mut visit: impl FnMut(usize, usize, usize)) {
        if positions.is_empty() {
            return;
        }
        let (mut x, row) = (positions.start % self.x.len, positions.start / self.x.len);
        let (mut y, mut image) = (row % self.y.len, row / self.y.len);
        for _ in positions {
            visit(image, y, x);
            x += 1;
            if x == self.x.len {
                (x, y) = (0, y + 1);
            }
            if y == self.y.len {
                (y, image) = (0, image + 1);
            }
        }
    }

    /// Writes the output positions of `positions`.
    pub(super) fn outputs(&self, positions: Range<usize>, outputs: &mut [usize]) {
        let mut outputs = outputs.iter_mut();
        self.walk(positions, |image, y, x| {
            let row = image * self.y.out_len + self.y.origin + y * self.y.step;
            let position = row * self.x.out_len + self.x.origin + x * self.x.step;
            *outputs.next().expect("one a position") = position;
        });
    }

    /// Writes the addresses that `positions` read, `[taps][positions]`; padding reads `zeros`.
    pub(super) fn inputs(
        &self,
        input: MapRef,
        zeros: &[f32],
        positions: Range<usize>,
        rows: &mut [*const f32],
    ) {
        assert!(zeros.len() >= self.channels && rows.len() == self.taps() * positions.len());
        assert_eq!(input.positions(), self.batch * self.y.in_len * self.x.in_len);
        let count = positions.len();
        let mut index = 0;
        self.walk(positions, |image, y, x| {
            let mut slot = index;
            for &dy in self.y.taps() {
                let row = self.y.input(y, dy).map(|y| (image * self.y.in_len + y) * self.x.in_len);
                for &dx in self.x.taps() {
                    rows[slot] = match (row, self.x.input(x, dx)) {
                        // SAFETY: the position is inside the map.
                        (Some(row), Some(x)) => unsafe { input.as_ptr().add((row + x) * input.stride()) },
                        _ => zeros.as_ptr(),
                    };
                    slot += count;
                }
            }
            index += 1;
        });
    }
}
