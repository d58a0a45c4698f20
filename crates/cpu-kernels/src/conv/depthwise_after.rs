//! A convolution whose result only a depthwise convolution reads.
//!
//! The result of the first is never whole in memory ("depth first"). The rows that some rows of the depthwise convolution
//! read are computed into a buffer that stays in the cache, for a group of channels; on the way down the map only those that
//! are not there yet.

use std::cell::Cell;
use std::ops::Range;

use super::plain::PlainWeight;
use super::{Finish, direct};
use crate::map::Arena;
use crate::scratch;
use crate::vector::{Kernel, Level, PerVector, Vector, over_channels, run_kernel};
use crate::{Isa, MapMut, MapRef, Precision, Region, Window, depthwise, parallel};

/// Values between the convolutions and ...
const LINE_VALUES: usize = 24 * 1024;

/// ... of weights of the first that the second-level cache is expected to hold.
const WEIGHT_VALUES: usize = 32 * 1024;

/// Positions of the result that are computed together, about.
const POSITIONS: usize = 512;

/// Pieces of work for every thread, so that a thread that starts late can leave some to others.
const UNITS_A_THREAD: usize = 3;

/// Parts for every thread.
const PARTS_A_THREAD: usize = 4;

/// Sums that are computed side by side.
const SUMS_AT_ONCE: usize = 4;

/// The weights of both convolutions.
#[derive(Debug)]
pub struct DepthwiseAfter {
    conv: PlainWeight,
    conv_finish: Finish,
    /// `[tap][channel]`.
    depthwise: Vec<f32>,
    depthwise_finish: Finish,
    taps: usize,
}

impl DepthwiseAfter {
    /// Packs the weight `[C, I, k, k]` of a convolution and that of the depthwise convolution after it, `[C, 1, k, k]`. The
    /// precision is that of the former.
    ///
    /// # Panics
    /// When the lengths are not those of `[out channels, in channels, kernel side]` and of the depthwise kernel's side.
    pub fn new(
        isa: Isa,
        precision: Precision,
        conv_weight: &[f32],
        sizes: [usize; 3],
        conv_finish: Finish,
        depthwise_weight: &[f32],
        depthwise_kernel: usize,
        depthwise_finish: Finish,
    ) -> Self {
        let conv = PlainWeight::new(isa, precision, conv_weight, sizes);
        let channels = sizes[0];
        let taps = depthwise_kernel * depthwise_kernel;
        assert_eq!(depthwise_weight.len(), channels * taps, "weights of the depthwise convolution");
        for finish in [&conv_finish, &depthwise_finish] {
            assert_eq!(finish.bias.len(), channels, "one bias value a channel");
        }
        let mut depthwise = vec![0.0; depthwise_weight.len()];
        depthwise::pack(depthwise_weight, channels, depthwise_kernel, &mut depthwise);
        DepthwiseAfter { conv, conv_finish, depthwise, depthwise_finish, taps }
    }
}

/// `y = act(depthwise(act(conv(x) + bias)) + bias)`, and the mean of every image and channel of `y` into `pooled`.
///
/// `windows` are those of the convolution and of the depthwise convolution; `pooled` is `[B, C]`. Neither depends on the
/// number of threads.
///
/// # Panics
/// When the sizes of the maps, the weights and the windows do not fit.
pub fn forward(
    isa: Isa,
    x: MapRef,
    weight: &DepthwiseAfter,
    windows: [&Window; 2],
    y: &mut MapMut,
    pooled: Option<&mut MapMut>,
) {
    in_cut(isa, x, weight, windows, Cut::new(weight, windows), y, pooled);
}

/// [`forward`] in a given cut.
pub(super) fn in_cut(
    isa: Isa,
    x: MapRef,
    weight: &DepthwiseAfter,
    windows: [&Window; 2],
    cut: Cut,
    y: &mut MapMut,
    pooled: Option<&mut MapMut>,
) {
    let [first, second] = windows;
    assert_eq!([y.channels(), x.channels(), first.kernel], weight.conv.sizes(), "channels, kernel");
    assert_eq!(second.kernel * second.kernel, weight.taps, "taps of the depthwise convolution");
    assert_eq!([x.positions(), y.positions()], [first.in_positions(), second.out_positions()], "positions");
    let between = [first.batch, first.out_height, first.out_width];
    assert_eq!(between, [second.batch, second.in_height, second.in_width], "the map between");

    let task = Task { isa, x, weight, first, second, cut, y };
    let sums = if pooled.is_some() { second.batch * second.out_height * y.channels() } else { 0 };
    scratch::with(&SUMS, |buffer: &mut Vec<f32>| {
        buffer.resize(sums.max(1), 0.0);
        let sums = (sums > 0).then(|| MapMut::dense(&mut buffer[..sums], task.y.channels()));
        let units = second.batch * task.bands() * task.groups();
        let parts = units.min(PARTS_A_THREAD * parallel::threads());
        parallel::run(parts, |part| {
            for unit in parallel::part(units, parts, 1, part) {
                // SAFETY: every unit has its own channels of its own band.
                scratch::with(&LINES, |lines| unsafe { task.unit(unit, lines, sums.as_ref()) });
            }
        });
        if let (Some(sums), Some(pooled)) = (sums, pooled) {
            task.average(sums.as_ref(), pooled);
        }
    });
}

thread_local! {
    static LINES: Cell<Arena> = Cell::default();
    static SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Rows of the result that are computed together.
    pub(super) rows: usize,
    /// Rows of the result that are computed one after the other, so that what they read in common is computed once.
    pub(super) band: usize,
    /// Panels of channels that are computed together.
    pub(super) panels: usize,
}

impl Cut {
    /// The cut for the threads of the pool. A convolution of several taps would find its inputs again for each group of
    /// panels: it has one, and few rows.
    fn new(weight: &DepthwiseAfter, [first, second]: [&Window; 2]) -> Self {
        let panels = weight.conv.direct().panels;
        let [_, depth, taps] = weight.conv.sizes();
        let height = second.out_height.max(1);
        let rows = if taps > 1 { 1 } else { POSITIONS.div_ceil(second.out_width.max(1)).min(height) };
        let lines = (rows - 1) * second.stride + second.kernel;
        let channels = (LINE_VALUES / (lines * first.out_width)).min(WEIGHT_VALUES / depth);
        let most = if taps > 1 { panels.count() } else { channels / panels.full_width() };
        let groups = panels.count().div_ceil(most.max(1));
        let units = if parallel::threads() == 1 { 1 } else { UNITS_A_THREAD * parallel::threads() };
        let bands = units.div_ceil(groups * second.batch.max(1)).min(height.div_ceil(rows));
        Cut { rows, band: height.div_ceil(bands), panels: panels.count().div_ceil(groups) }
    }
}

struct Task<'a> {
    isa: Isa,
    x: MapRef<'a>,
    weight: &'a DepthwiseAfter,
    first: &'a Window,
    second: &'a Window,
    cut: Cut,
    y: &'a MapMut<'a>,
}

impl Task<'_> {
    /// Bands of an image.
    fn bands(&self) -> usize {
        self.second.out_height.div_ceil(self.cut.band)
    }

    /// Groups of panels.
    fn groups(&self) -> usize {
        self.weight.conv.direct().panels.count().div_ceil(self.cut.panels)
    }

    /// Computes one group of one band.
    ///
    /// # Safety
    /// Nobody else may use these channels of the rows of `y`, and of these rows of `sums`, meanwhile.
    unsafe fn unit(&self, unit: usize, buffer: &mut Arena, sums: Option<&MapMut>) {
        let panels = &self.weight.conv.direct().panels;
        let (band, group) = (unit / self.groups(), unit % self.groups());
        let (image, start) = (band / self.bands(), band % self.bands() * self.cut.band);
        let group = group * self.cut.panels..((group + 1) * self.cut.panels).min(panels.count());
        let mut lines = Lines::new(buffer, panels.columns(group.clone()).len(), self.first.out_width);
        let end = (start + self.cut.band).min(self.second.out_height);
        for first in (start..end).step_by(self.cut.rows) {
            let rows = first..(first + self.cut.rows).min(end);
            let read = self.rows_between(&rows);
            // SAFETY: passed on to the caller; the lines are this thread's.
            unsafe {
                lines.go_to(read.clone(), |missing, map| self.convolve(image, missing, group.clone(), map));
                self.depthwise(lines.map(), read, image, rows, panels.columns(group.clone()), sums);
            }
        }
    }

    /// The rows between the convolutions that rows of the result read.
    fn rows_between(&self, rows: &Range<usize>) -> Range<usize> {
        let Window { stride, pad_top, kernel, in_height, .. } = *self.second;
        let inside = |row: usize| row.saturating_sub(pad_top).min(in_height);
        inside(rows.start * stride)..inside((rows.end - 1) * stride + kernel)
    }

    /// Computes rows between the convolutions, some panels.
    ///
    /// # Safety
    /// Nobody else may use `map`.
    unsafe fn convolve(&self, image: usize, rows: Range<usize>, panels: Range<usize>, map: &MapMut) {
        let Window { in_height, in_width, stride, pad_top, kernel, .. } = *self.first;
        let inside = |row: usize| row.saturating_sub(pad_top).min(in_height);
        let top = rows.start * stride;
        // No row but those that are read, so that a pointwise convolution is seen to be one.
        let read = inside(top)..inside((rows.end * stride + kernel).saturating_sub(stride).max(top));
        let window = Window {
            batch: 1,
            in_height: read.len(),
            out_height: rows.len(),
            pad_top: pad_top.saturating_sub(top),
            ..*self.first
        };
        let image = image * in_height * in_width;
        let x = self.x.part(image + read.start * in_width..image + read.end * in_width);
        let weight = self.weight.conv.direct();
        let fused = self.weight.conv_finish.fused(None, None);
        self.weight.conv.with_rows(self.isa, x, |x| {
            let product =
                direct::product(x, None, weight, &fused).starting_at(weight.panels.start(panels.start));
            for grid in &direct::Grid::forward(&window, x) {
                // SAFETY: passed on to the caller; the map has the rows and the panels' columns.
                unsafe { product.run_range(grid, map, 0..grid.positions(), panels.clone()) };
            }
        });
    }

    /// Computes `rows` of the result and their sums from `read`, the rows of `map`.
    ///
    /// # Safety
    /// Nobody else may use these columns of the rows of `y` and of `sums`.
    unsafe fn depthwise(
        &self,
        map: MapRef,
        read: Range<usize>,
        image: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        sums: Option<&MapMut>,
    ) {
        let DepthwiseAfter { depthwise, depthwise_finish: finish, .. } = self.weight;
        let Window { out_height: height, out_width: width, .. } = *self.second;
        let weight = MapRef::dense(depthwise, self.y.channels()).columns(columns.clone());
        let epilogue = finish.epilogue(columns.clone());
        let area = height * width;
        // SAFETY: passed on to the caller.
        unsafe {
            let y = self.y.block(image * area..(image + 1) * area, columns.clone());
            depthwise::forward_rows(self.isa, map, read.start, weight, self.second, &epilogue, &rows, &y);
            for row in rows {
                let Some(sums) = sums else { break };
                let mut sums = sums.block(image * height + row..image * height + row + 1, columns.clone());
                let x = y.as_ref().part(row * width..(row + 1) * width);
                run_kernel(self.isa, Sum { x, to: sums.row_mut(0) });
            }
        }
    }

    /// Adds up the sums of an image's rows, in order, and divides by the positions.
    fn average(&self, sums: MapRef, pooled: &mut MapMut) {
        let Window { batch, out_height: height, out_width: width, .. } = *self.second;
        assert_eq!([pooled.positions(), pooled.channels()], [batch, sums.channels()], "pooled");
        let factor = 1.0 / (height * width) as f32;
        for image in 0..batch {
            let to = pooled.row_mut(image);
            to.copy_from_slice(sums.row(image * height));
            for row in 1..height {
                to.iter_mut().zip(sums.row(image * height + row)).for_each(|(to, sum)| *to += sum);
            }
            to.iter_mut().for_each(|to| *to *= factor);
        }
    }
}

/// Rows between the convolutions, as many as are needed at a time.
struct Lines<'a> {
    buffer: &'a mut Arena,
    channels: usize,
    /// Positions of a row.
    width: usize,
    /// The rows that there are.
    rows: Range<usize>,
}

impl<'a> Lines<'a> {
    fn new(buffer: &'a mut Arena, channels: usize, width: usize) -> Self {
        Lines { buffer, channels, width, rows: 0..0 }
    }

    /// Some of the first rows as a region of the buffer.
    fn region(&self, rows: Range<usize>) -> Region {
        let values = self.width * self.channels;
        Region::dense(rows.start * values, rows.len() * self.width, self.channels)
    }

    /// The rows that there are.
    fn map(&self) -> MapRef<'_> {
        self.buffer.read(self.region(0..self.rows.len()))
    }

    /// Goes on to `rows`, of which `compute` writes those that are missing.
    fn go_to(&mut self, rows: Range<usize>, compute: impl FnOnce(Range<usize>, &MapMut)) {
        let end = self.region(0..rows.len()).end();
        if self.buffer.len() < end {
            self.buffer.grow(end.next_multiple_of(LINE_VALUES));
        }
        let kept = rows.start.max(self.rows.start)..rows.end.min(self.rows.end);
        if !kept.is_empty() {
            let from = kept.start - self.rows.start;
            let from = self.region(from..from + kept.len());
            self.buffer.copy_within(from.offset..from.end(), 0);
        }
        let missing = rows.start + kept.len()..rows.end;
        let region = self.region(kept.len()..rows.len());
        self.rows = rows;
        if !missing.is_empty() {
            let ([], [map]) = self.buffer.borrow([], [region]);
            compute(missing, &map);
        }
    }
}

/// `to[c] = sum over positions of x[.., c]`.
struct Sum<'a> {
    x: MapRef<'a>,
    to: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(mut self) {
        assert_eq!(self.to.len(), self.x.channels());
        // SAFETY: the channels are those of the map.
        unsafe { over_channels::<L>(0..self.x.channels(), &mut self) }
    }
}

impl PerVector for Sum<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // SAFETY: the caller's promise; the rows exist.
        unsafe {
            let x = self.x.as_ptr().add(channel);
            let at = |position: usize| V::load(x.add(position * self.x.stride()));
            // Several sums, so that one addition need not wait for the other.
            let mut sums = [V::splat(0.0); SUMS_AT_ONCE];
            let whole = self.x.positions() / SUMS_AT_ONCE * SUMS_AT_ONCE;
            for position in (0..whole).step_by(SUMS_AT_ONCE) {
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(at(position + index));
                }
            }
            for position in whole..self.x.positions() {
                sums[0] = sums[0].add(at(position));
            }
            let sum = sums.into_iter().reduce(|a, b| a.add(b)).expect("at least one sum");
            sum.store(self.to.as_mut_ptr().add(channel));
        }
    }
}
