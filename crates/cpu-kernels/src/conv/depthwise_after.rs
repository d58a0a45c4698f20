//! A convolution whose result only a depthwise convolution reads.
//!
//! [`forward_in_bands`] never has the result whole in memory. Some rows of one panel of channels are computed into a buffer that stays in the cache, the depthwise convolution
//! reads them there, and so on band after band ("depth first"). Rows at the border of two bands are computed twice, so
//! that it pays only for maps that no cache holds; [`forward_whole`] is for the others.

use std::cell::Cell;
use std::ops::Range;

use super::direct::{self, RowsTimesPanels};
use super::plain::PlainWeight;
use super::{Fused, scratch};
use crate::map::Arena;
use crate::vector::{Kernel, Level, PerVector, Vector, over_channels, run_kernel};
use crate::{Activation, Isa, MapMut, MapRef, Precision, Region, Window, depthwise, parallel, pool};

/// Values of the rows of a band that are kept in the second-level cache: those that are read and those between the two
/// convolutions.
const BAND_VALUES: usize = 80 * 1024;

/// Parts for every thread, so that a thread that starts late can leave parts to others.
const PARTS_A_THREAD: usize = 4;

/// Sums that are computed side by side.
const SUMS_AT_ONCE: usize = 4;

/// Bias and activation of a convolution.
#[derive(Debug, Clone)]
pub struct Finish {
    /// One value a channel.
    pub bias: Vec<f32>,
    /// Applied after the bias.
    pub activation: Activation,
}

/// The weights of both convolutions.
#[derive(Debug)]
pub struct DepthwiseAfter {
    conv: PlainWeight,
    conv_finish: Finish,
    /// `[tap][channel]`.
    depthwise: Vec<f32>,
    /// `[panel][tap][channel of the panel]`.
    depthwise_by_panel: Vec<f32>,
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
        let mut depthwise_by_panel = vec![0.0; depthwise_weight.len()];
        for panel in 0..conv.direct().panels.count() {
            let columns = conv.direct().panels.columns(panel..panel + 1);
            let values = columns.start * taps..columns.end * taps;
            let packed = &mut depthwise_by_panel[values.clone()];
            depthwise::pack(&depthwise_weight[values], columns.len(), depthwise_kernel, packed);
        }
        DepthwiseAfter { conv, conv_finish, depthwise, depthwise_by_panel, depthwise_finish, taps }
    }
}

/// `y = act(depthwise(act(conv(x) + bias)) + bias)`, and the mean of every image and channel of `y` into `pooled`.
///
/// `windows` are those of the convolution and of the depthwise convolution; `pooled` is `[B, C]`.
///
/// # Panics
/// When the sizes of the maps, the weights and the windows do not fit.
pub fn forward_in_bands(
    isa: Isa,
    x: MapRef,
    weight: &DepthwiseAfter,
    windows: [&Window; 2],
    y: &mut MapMut,
    pooled: Option<&mut MapMut>,
) {
    let [first, second] = windows;
    by_rows(isa, x, weight, windows, band_rows(weight, first, second), y, pooled);
}

/// [`forward_in_bands`] of so many rows.
pub(super) fn by_rows(
    isa: Isa,
    x: MapRef,
    weight: &DepthwiseAfter,
    windows: [&Window; 2],
    rows: usize,
    y: &mut MapMut,
    pooled: Option<&mut MapMut>,
) {
    let [first, second] = windows;
    assert_eq!([y.channels(), x.channels(), first.kernel], weight.conv.sizes(), "channels, kernel");
    assert_eq!(second.kernel * second.kernel, weight.taps, "taps of the depthwise convolution");
    assert_eq!([x.positions(), y.positions()], [first.in_positions(), second.out_positions()], "positions");
    let between = [first.batch, first.out_height, first.out_width];
    assert_eq!(between, [second.batch, second.in_height, second.in_width], "the map between");

    let task = Task { isa, x, weight, first, second, rows, y };
    let bands = second.batch * task.bands();
    let sums = if pooled.is_some() { bands * y.channels() } else { 0 };
    scratch::with(&SUMS, |buffer: &mut Vec<f32>| {
        buffer.resize(sums.max(1), 0.0);
        let sums = (sums > 0).then(|| MapMut::dense(&mut buffer[..sums], task.y.channels()));
        let units = bands * weight.conv.direct().panels.count();
        let parts = units.min(PARTS_A_THREAD * parallel::threads());
        parallel::run(parts, |part| {
            for unit in parallel::part(units, parts, 1, part) {
                // SAFETY: every unit has its own panel of its own band.
                scratch::with(&BAND, |band| unsafe { task.unit(unit, band, sums.as_ref()) });
            }
        });
        if let (Some(sums), Some(pooled)) = (sums, pooled) {
            task.average(sums.as_ref(), pooled);
        }
    });
}

/// [`forward_in_bands`] in two passes, by way of a map `between` of all positions of the convolution's result.
///
/// # Panics
/// As there.
pub fn forward_whole(
    isa: Isa,
    x: MapRef,
    weight: &DepthwiseAfter,
    windows: [&Window; 2],
    between: &mut MapMut,
    y: &mut MapMut,
    pooled: Option<&mut MapMut>,
) {
    let DepthwiseAfter { conv, conv_finish, depthwise, depthwise_finish, .. } = weight;
    let [first, second] = windows;
    let fused = Fused { bias: Some(&conv_finish.bias), activation: conv_finish.activation, ..Fused::NONE };
    conv.forward(isa, x, first, &fused, between);
    let epilogue =
        depthwise::Epilogue { bias: Some(&depthwise_finish.bias), activation: depthwise_finish.activation };
    depthwise::forward(isa, between.as_ref(), depthwise, second, &epilogue, y);
    if let Some(pooled) = pooled {
        pool::global_avg_pool(isa, y.as_ref(), second.batch, pooled);
    }
}

thread_local! {
    static BAND: Cell<Arena> = Cell::default();
    static SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Rows of the result that are computed together.
fn band_rows(weight: &DepthwiseAfter, first: &Window, second: &Window) -> usize {
    let read = first.stride * first.in_width * weight.conv.sizes()[1];
    let between = first.out_width * weight.conv.direct().panels.full_width();
    let rows = BAND_VALUES / (read + between).max(1);
    let halo = second.kernel.saturating_sub(second.stride);
    // Few rows would spend more on borders than the cache gives back.
    (rows.saturating_sub(halo) / second.stride).clamp(4, second.out_height.max(4))
}

struct Task<'a> {
    isa: Isa,
    x: MapRef<'a>,
    weight: &'a DepthwiseAfter,
    first: &'a Window,
    second: &'a Window,
    /// Rows of a band.
    rows: usize,
    y: &'a MapMut<'a>,
}

impl Task<'_> {
    /// Bands of an image.
    fn bands(&self) -> usize {
        self.second.out_height.div_ceil(self.rows)
    }

    /// Computes one panel of one band.
    ///
    /// # Safety
    /// Nobody else may use these channels of the rows of `y`, and of the band's row of `sums`, meanwhile.
    unsafe fn unit(&self, unit: usize, buffer: &mut Arena, sums: Option<&MapMut>) {
        let panels = &self.weight.conv.direct().panels;
        let (band, panel) = (unit / panels.count(), unit % panels.count());
        let (image, start) = (band / self.bands(), band % self.bands() * self.rows);
        let rows = start..(start + self.rows).min(self.second.out_height);
        let columns = panels.columns(panel..panel + 1);
        let read = self.rows_between(&rows);
        let positions = read.len() * self.first.out_width;
        let between = Region { offset: 0, positions, channels: columns.len(), stride: panels.width(panel) };
        if buffer.len() < between.end() {
            *buffer = Arena::new(between.end().next_multiple_of(BAND_VALUES));
        }
        let ([], [mut map]) = buffer.borrow([], [between]);
        // SAFETY: passed on to the caller; the map between is this thread's.
        unsafe {
            self.convolve(image, &read, panel, &mut map);
            let height = self.second.out_height * self.second.out_width;
            let y = self.y.block(image * height..(image + 1) * height, columns.clone());
            self.depthwise(map.as_ref(), &read, &rows, &columns, &y);
            if let Some(sums) = sums {
                let width = self.second.out_width;
                let y = y.as_ref().part(rows.start * width..rows.end * width);
                let mut sums = sums.block(band..band + 1, columns);
                run_kernel(self.isa, Sum { x: y, to: sums.row_mut(0) });
            }
        }
    }

    /// The rows between the convolutions that rows of the result read.
    fn rows_between(&self, rows: &Range<usize>) -> Range<usize> {
        let Window { stride, pad_top, kernel, in_height, .. } = *self.second;
        let inside = |row: usize| row.saturating_sub(pad_top).min(in_height);
        inside(rows.start * stride)..inside((rows.end - 1) * stride + kernel)
    }

    /// Computes rows between the convolutions, one panel.
    ///
    /// # Safety
    /// Nobody else may use `map`.
    unsafe fn convolve(&self, image: usize, rows: &Range<usize>, panel: usize, map: &mut MapMut) {
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
        let conv = self.weight.conv.direct();
        self.weight.conv.with_rows(self.isa, x, |x| {
            let product = RowsTimesPanels {
                kernels: conv.kernels,
                input: x,
                gate: None,
                zeros: &conv.zeros,
                panels: conv.panels,
                weight: &conv.data,
                bias: Some(&self.weight.conv_finish.bias),
                activation: self.weight.conv_finish.activation,
                residual: None,
                accumulate: false,
                first_column: conv.panels.start(panel),
            };
            for grid in &direct::Grid::forward(&window, x) {
                // SAFETY: passed on to the caller; the map has the rows and the panel's columns.
                unsafe { product.run_range(grid, map, 0..grid.positions(), panel..panel + 1) };
            }
        });
    }

    /// Computes `rows` of the result from `read`, the rows of `map`.
    ///
    /// # Safety
    /// Nobody else may use these rows of `y`, which is the image's map of the panel's columns.
    unsafe fn depthwise(
        &self,
        map: MapRef,
        read: &Range<usize>,
        rows: &Range<usize>,
        columns: &Range<usize>,
        y: &MapMut,
    ) {
        let DepthwiseAfter { depthwise_by_panel: weight, depthwise_finish: finish, taps, .. } = self.weight;
        let weight = &weight[columns.start * taps..columns.end * taps];
        let epilogue =
            depthwise::Epilogue { bias: Some(&finish.bias[columns.clone()]), activation: finish.activation };
        // SAFETY: passed on to the caller.
        unsafe {
            depthwise::forward_rows(self.isa, map, read.start, weight, self.second, &epilogue, rows, y)
        };
    }

    /// Adds up the sums of an image's bands, in order, and divides by the positions.
    fn average(&self, sums: MapRef, pooled: &mut MapMut) {
        let bands = self.bands();
        assert_eq!([pooled.positions(), pooled.channels()], [self.second.batch, sums.channels()], "pooled");
        let factor = 1.0 / (self.second.out_height * self.second.out_width) as f32;
        for image in 0..self.second.batch {
            let to = pooled.row_mut(image);
            to.copy_from_slice(sums.row(image * bands));
            for band in 1..bands {
                to.iter_mut().zip(sums.row(image * bands + band)).for_each(|(to, sum)| *to += sum);
            }
            to.iter_mut().for_each(|to| *to *= factor);
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
