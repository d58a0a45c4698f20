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
struct Axis {
    /// Cells of the grid.
    len: usize,
    /// Cells of the output map.
    out_len: usize,
    /// Output cell of grid cell 0.
    origin: usize,
    /// Output cells from grid cell to grid cell.
    step: usize,
    /// Cells of the input map.
    in_len: usize,
    /// Input cells from grid cell to grid cell.
    in_step: usize,
    taps: [Tap; MAX_KERNEL],
    tap_count: usize,
}

/// A tap along one axis.
#[derive(Debug, Clone, Copy, Default)]
struct Tap {
    /// The input cell that grid cell 0 reads.
    offset: isize,
    /// The first grid cell that reads a cell of the map instead of padding ...
    start: usize,
    /// ... and the cell after the last.
    end: usize,
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
        let taps = (0..kernel).map(|k| first + k as isize);
        Axis::new([cells.len(), out_len, cells.start, 1, in_len, stride], taps)
    }

    /// The input cells `phase`, `phase + stride` ... of a window along one axis, as the output of backward data.
    fn phase(phase: usize, out_len: usize, in_len: usize, kernel: usize, stride: usize, pad: usize) -> Self {
        let cells = in_len.saturating_sub(phase).div_ceil(stride);
        let taps = phase_taps(phase, kernel, stride, pad)
            .map(|k| (phase as isize + pad as isize - k as isize) / stride as isize);
        Axis::new([cells, in_len, phase, stride, out_len, 1], taps)
    }

    fn new(
        [len, out_len, origin, step, in_len, in_step]: [usize; 6],
        offsets: impl Iterator<Item = isize>,
    ) -> Self {
        let mut axis =
            Axis { len, out_len, origin, step, in_len, in_step, taps: Default::default(), tap_count: 0 };
        let cell = |input: isize| (input.max(0) as usize).div_ceil(in_step).min(len);
        for offset in offsets {
            axis.taps[axis.tap_count] =
                Tap { offset, start: cell(-offset), end: cell(in_len as isize - offset) };
            axis.tap_count += 1;
        }
        axis
    }

    fn taps(&self) -> &[Tap] {
        &self.taps[..self.tap_count]
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
pub(in crate::conv) struct Grid {
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
    pub(in crate::conv) fn forward(window: &Window, input: MapRef) -> [Grid; 3] {
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
    pub(in crate::conv) fn positions(&self) -> usize {
        self.batch * self.y.len * self.x.len
    }

    /// True if position after position reads the input position of the same index and nothing else.
    pub(super) fn is_pointwise(&self) -> bool {
        let along = |axis: &Axis| {
            let [one_tap, whole] = [axis.tap_count == 1, axis.len == axis.out_len && axis.len == axis.in_len];
            one_tap && whole && axis.in_step == 1 && axis.step == 1 && axis.taps[0].offset == 0
        };
        along(&self.y) && along(&self.x)
    }

    /// Number of taps.
    pub(super) fn taps(&self) -> usize {
        self.y.tap_count * self.x.tap_count
    }

    /// Values read at each tap.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// The place of a position.
    pub(super) fn place(&self, position: usize) -> Place {
        let row = position / self.x.len.max(1);
        Place { image: row / self.y.len.max(1), y: row % self.y.len.max(1), x: position % self.x.len.max(1) }
    }

    /// Writes where `count` positions from `place` on lie in the output map, and the addresses they read,
    /// `[taps][outputs.len()]`, into `rows`; what is longer than `count` repeats the last. Padding reads `zeros`. Goes on
    /// to the position after the last.
    pub(super) fn locate(
        &self,
        input: MapRef,
        zeros: &[f32],
        place: &mut Place,
        count: usize,
        outputs: &mut [usize],
        rows: &mut [*const f32],
    ) {
        assert!(zeros.len() >= self.channels && rows.len() == self.taps() * outputs.len());
        assert_eq!(input.positions(), self.batch * self.y.in_len * self.x.in_len);
        assert!(0 < count && count <= outputs.len());
        let height = outputs.len();
        let mut index = 0;
        while index < count {
            let run = (self.x.len - place.x).min(count - index);
            let row = place.image * self.y.out_len + self.y.origin + place.y * self.y.step;
            let first = row * self.x.out_len + self.x.origin + place.x * self.x.step;
            for (i, output) in outputs[index..][..run].iter_mut().enumerate() {
                *output = first + i * self.x.step;
            }
            self.locate_run(input, zeros.as_ptr(), *place, run, (index, height), rows);
            index += run;
            self.advance(place, run);
        }
        if count < height {
            let last = outputs[count - 1];
            outputs[count..].fill(last);
            for rows in rows.chunks_exact_mut(height) {
                let last = rows[count - 1];
                rows[count..].fill(last);
            }
        }
    }

    /// Writes the addresses that `run` positions of a row of the grid read: those of the first tap from slot `first_slot`
    /// on, those of each next tap `height` slots further.
    #[inline(always)]
    fn locate_run(
        &self,
        input: MapRef,
        zeros: *const f32,
        place: Place,
        run: usize,
        (first_slot, height): (usize, usize),
        rows: &mut [*const f32],
    ) {
        let step = self.x.in_step * input.stride();
        let mut slot = first_slot;
        for dy in self.y.taps() {
            let row_exists = (dy.start..dy.end).contains(&place.y);
            let row = (place.image * self.y.in_len + place.y * self.y.in_step) as isize + dy.offset;
            let first = row * self.x.in_len as isize + (place.x * self.x.in_step) as isize;
            for dx in self.x.taps() {
                let rows = &mut rows[slot..][..run];
                slot += height;
                let end = if row_exists { dx.end.saturating_sub(place.x).min(run) } else { 0 };
                let start = dx.start.saturating_sub(place.x).min(end);
                let address = input.as_ptr().wrapping_offset((first + dx.offset) * input.stride() as isize);
                rows[..start].fill(zeros);
                for i in start..end {
                    rows[i] = address.wrapping_add(i * step);
                }
                rows[end..].fill(zeros);
            }
        }
    }

    /// Goes on by `run` positions of a row.
    fn advance(&self, place: &mut Place, run: usize) {
        place.x += run;
        if place.x == self.x.len {
            (place.x, place.y) = (0, place.y + 1);
        }
        if place.y == self.y.len {
            (place.y, place.image) = (0, place.image + 1);
        }
    }
}

/// A position of a [`Grid`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    image: usize,
    y: usize,
    x: usize,
}
