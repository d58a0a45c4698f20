//! Correlation of each channel with its own taps: the forward pass, and the data gradient phase by phase.

use std::ops::Range;

use super::grid::{Axis, Grid, Tile, WIDTH};
use crate::activation::{activate_vector, for_constant};
use crate::bands::Band;
use crate::vector::{
    Kernel, Level, PerVector, Several, Vector, in_precision, over_channels, over_vectors, prefetch_to_write,
    run_kernel, unroll,
};
use crate::{Activation, Isa, MapMut, MapRef, Precision, parallel};

/// Values of a cache line.
const LINE_VALUES: usize = 16;

/// What the sums start from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// Zero.
    Zero,
    /// The bias of the channel.
    Bias(&'a [f32]),
    /// What the output holds.
    Output,
}

/// Each output is the sum of its inputs times the taps.
#[derive(Debug, Clone)]
pub(super) struct Correlation<'a> {
    /// Which inputs, taps and outputs meet.
    pub(super) grid: Grid,
    /// The inputs.
    pub(super) x: MapRef<'a>,
    /// A position a tap.
    pub(super) weight: MapRef<'a>,
    /// What the sums start from.
    pub(super) start: Start<'a>,
    /// Applied to the sums.
    pub(super) activation: Activation,
    /// What the outputs are rounded to.
    pub(super) precision: Precision,
}

/// Runs correlations that write different positions of `y`.
pub(super) fn run(isa: Isa, correlations: &[Correlation], y: &mut MapMut) {
    correlations.iter().for_each(|correlation| correlation.check(y));
    let y = &*y;
    let parts = parallel::threads();
    parallel::run(parts, |part| {
        for correlation in correlations {
            for band in correlation.grid.bands(y.channels()).part(parts, part) {
                // SAFETY: `check` held, the bands of one correlation share no output, and neither do the correlations.
                unsafe { correlation.run_band(isa, &band, y) }
            }
        }
    });
}

impl Correlation<'_> {
    /// Runs on the calling thread.
    ///
    /// # Safety
    /// Nobody else may use the outputs meanwhile.
    pub(super) unsafe fn run_alone(&self, isa: Isa, y: &MapMut) {
        self.check(y);
        let band = Band { image: 0, rows: 0..self.grid.vertical.output, channels: 0..y.channels() };
        // SAFETY: `check` held; the outputs are the caller's alone.
        unsafe { self.run_band(isa, &band, y) }
    }

    /// Asserts that all that the kernels read and write exists.
    fn check(&self, y: &MapMut) {
        let channels = self.x.channels();
        assert_eq!(y.channels(), channels, "channels of the output");
        assert_eq!(self.weight.channels(), channels, "channels of the weight");
        self.grid.check(self.x.positions(), y.positions(), self.weight.positions());
        if let Start::Bias(bias) = self.start {
            assert_eq!(bias.len(), channels, "biases");
        }
    }

    /// Picks the code for the taps and the stride.
    ///
    /// # Safety
    /// `check` held for `y`, and no other thread touches the outputs of the band.
    unsafe fn run_band(&self, isa: Isa, band: &Band, y: &MapMut) {
        let work = BandOf { correlation: self, band, y };
        // SAFETY: the caller's promise.
        unsafe {
            match (self.grid.horizontal.taps, self.grid.horizontal.stride) {
                (1, 1) => run_kernel(isa, Tiled::<1, 1>(work)),
                (2, 1) => run_kernel(isa, Tiled::<2, 1>(work)),
                (3, 1) => run_kernel(isa, Tiled::<3, 1>(work)),
                (5, 1) => run_kernel(isa, Tiled::<5, 1>(work)),
                (3, 2) => run_kernel(isa, Tiled::<3, 2>(work)),
                (5, 2) => run_kernel(isa, Tiled::<5, 2>(work)),
                _ => run_kernel(isa, Untiled(work)),
            }
        }
    }

    /// What the sum of an output starts from.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels exist, also at `output`.
    #[inline(always)]
    unsafe fn first_sum<V: Vector>(&self, channel: usize, output: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            match self.start {
                Start::Zero => V::splat(0.0),
                Start::Bias(bias) => V::load(bias.as_ptr().add(channel)),
                Start::Output => V::load(output),
            }
        }
    }
}

/// The outputs of one band of a correlation.
#[derive(Clone, Copy)]
struct BandOf<'a> {
    correlation: &'a Correlation<'a>,
    band: &'a Band,
    y: &'a MapMut<'a>,
}

/// Taps and stride along the row are constants: several outputs and a row of taps stay in registers.
struct Tiled<'a, const TAPS: usize, const STRIDE: usize>(BandOf<'a>);

impl<const TAPS: usize, const STRIDE: usize> Kernel for Tiled<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let BandOf { correlation, band, y } = self.0;
        let grid = correlation.grid;
        // Row after row meets the same edges, so that the CPU foresees its jumps.
        for column in (0..grid.horizontal.output).step_by(WIDTH) {
            for row in band.rows.clone() {
                let tile = grid.tile(band.image, row, column);
                let columns = column..column + tile.count;
                let mut outputs = Outputs::<TAPS, STRIDE> { correlation, tile, y };
                for channel in band.channels.clone().step_by(LINE_VALUES) {
                    outputs.prefetch_row_below(channel);
                }
                // SAFETY: the caller's promise: the outputs of the band are ours.
                unsafe {
                    let rest = over_vectors::<L>(band.channels.clone(), &mut outputs);
                    outputs.finish::<L>(band.channels.start..rest.start);
                    for channel in rest {
                        for column in columns.clone() {
                            Output { correlation, image: band.image, row, column, y }
                                .at::<L::Single>(channel);
                        }
                    }
                }
            }
        }
    }
}

/// The outputs of a tile.
struct Outputs<'a, const TAPS: usize, const STRIDE: usize> {
    correlation: &'a Correlation<'a>,
    tile: Tile,
    y: &'a MapMut<'a>,
}

impl<const TAPS: usize, const STRIDE: usize> PerVector for Outputs<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let (tile, y) = (&self.tile, self.y);
        let y_step = self.correlation.grid.horizontal.step * y.stride();
        let y = y.as_mut_ptr().wrapping_add(tile.output * y.stride() + channel);
        // SAFETY: the caller's promise; outputs past the tile's last are not stored, and start as it does.
        unsafe {
            let mut sums: [V; WIDTH] = std::array::from_fn(|output| {
                self.correlation.first_sum(channel, y.add(output.min(tile.count - 1) * y_step))
            });
            if tile.is_whole(TAPS, STRIDE) {
                self.add::<V, true>(channel, &mut sums);
            } else {
                self.add::<V, false>(channel, &mut sums);
            }
            if tile.count == WIDTH {
                unroll!(output < WIDTH, { sums[output].store(y.add(output * y_step)) });
            } else {
                for (output, sum) in sums.into_iter().enumerate().take(tile.count) {
                    sum.store(y.add(output * y_step));
                }
            }
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> Outputs<'_, TAPS, STRIDE> {
    /// Asks for the outputs below from `channel` on, which are worked on next: short runs far apart, which the CPU does not
    /// foresee.
    #[inline(always)]
    fn prefetch_row_below(&self, channel: usize) {
        let Axis { size, step, .. } = self.correlation.grid.horizontal;
        let first = self.tile.output + size;
        for output in 0..WIDTH {
            prefetch_to_write(
                self.y.as_mut_ptr().wrapping_add((first + output * step) * self.y.stride() + channel),
            );
        }
    }

    /// Applies the activation to channels that vectors cover, and rounds them. It has a loop of its own, because it needs all
    /// registers.
    ///
    /// # Safety
    /// As [`over_vectors`], and the outputs are ours.
    #[inline(always)]
    unsafe fn finish<L: Level>(&self, channels: Range<usize>) {
        let Outputs { correlation, tile, y } = self;
        let precision = correlation.precision;
        for_constant!(correlation.activation, A => if (A, precision) != (Activation::Identity, Precision::F32) {
            let step = correlation.grid.horizontal.step * y.stride();
            let first = y.as_mut_ptr().wrapping_add(tile.output * y.stride());
            let mut work = Finished { activation: A, precision, first, step, count: tile.count };
            // SAFETY: the caller's promise.
            unsafe { over_vectors::<L>(channels, &mut work) };
        });
    }

    /// Adds the products of one vector of channels.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels and the tile exist; the tile is whole if `WHOLE`.
    #[inline(always)]
    unsafe fn add<V: Vector, const WHOLE: bool>(&self, channel: usize, sums: &mut [V; WIDTH]) {
        let (Correlation { grid, x, weight, .. }, tile) = (self.correlation, &self.tile);
        let (x_stride, weight_stride) = (x.stride(), weight.stride());
        let first = x.as_ptr().wrapping_offset(tile.input * x_stride as isize).wrapping_add(channel);
        for row in 0..tile.tap_rows {
            let x = first.wrapping_add(row * grid.horizontal.input * x_stride);
            let weight = weight.as_ptr().wrapping_add((tile.tap_row + row) * TAPS * weight_stride + channel);
            // SAFETY: the caller's promise.
            unsafe {
                let taps: [V; TAPS] = std::array::from_fn(|tap| V::load(weight.add(tap * weight_stride)));
                tile.each_product::<V, TAPS, STRIDE, WHOLE>(x, x_stride, |value, output, tap| {
                    sums[output] = value.mul_add(taps[tap], sums[output]);
                });
            }
        }
    }
}

/// Neighbouring outputs to which the activation is applied, and that are rounded.
struct Finished {
    activation: Activation,
    precision: Precision,
    /// The first output.
    first: *mut f32,
    /// Values from one output to the next.
    step: usize,
    count: usize,
}

/// Outputs that go through the activation side by side.
const ACTIVATED: usize = 2;

impl PerVector for Finished {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        for start in (0..self.count).step_by(ACTIVATED) {
            // What there is too much repeats the last.
            let output = |index: usize| {
                self.first.wrapping_add((start + index).min(self.count - 1) * self.step + channel)
            };
            // SAFETY: the outputs exist and are ours by the caller's promise.
            unsafe {
                let values = Several::<V, ACTIVATED>(std::array::from_fn(|index| V::load(output(index))));
                let values = activate_vector(self.activation, values);
                let Several(values) = in_precision(self.precision, values);
                for (index, value) in values.into_iter().enumerate() {
                    value.store(output(index));
                }
            }
        }
    }
}

/// Any taps and stride: one output at a time.
struct Untiled<'a>(BandOf<'a>);

impl Kernel for Untiled<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let BandOf { correlation, band, y } = self.0;
        for row in band.rows.clone() {
            for column in 0..correlation.grid.horizontal.output {
                let mut output = Output { correlation, image: band.image, row, column, y };
                // SAFETY: the caller's promise: the outputs of the band are ours.
                unsafe { over_channels::<L>(band.channels.clone(), &mut output) }
            }
        }
    }
}

/// One output.
struct Output<'a> {
    correlation: &'a Correlation<'a>,
    image: usize,
    row: usize,
    column: usize,
    y: &'a MapMut<'a>,
}

impl PerVector for Output<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let Correlation { grid, x, weight, .. } = self.correlation;
        let position = grid.output(self.image, self.row, self.column);
        let y = self.y.as_mut_ptr().wrapping_add(position * self.y.stride() + channel);
        // SAFETY: the output exists and is ours, and so do the taps and inputs that the grid names.
        unsafe {
            let mut sum = self.correlation.first_sum::<V>(channel, y);
            grid.each_tap(self.image, self.row, self.column, |tap, input| {
                let factor = V::load(weight.as_ptr().add(tap * weight.stride() + channel));
                sum = V::load(x.as_ptr().add(input * x.stride() + channel)).mul_add(factor, sum);
            });
            let value = activate_vector(self.correlation.activation, sum);
            in_precision(self.correlation.precision, value).store(y);
        }
    }
}
