//! Correlation of each channel with its own taps: the forward pass, and the data gradient phase by phase.

use super::vector::{Kernel, Level, PerVector, Vector, over_channels, over_vectors, run_kernel, unroll};
use crate::activation::{activate, for_constant};
use crate::bands::{Band, Bands};
use crate::{Activation, Isa, MapMut, MapRef, lanes, parallel};

/// Channels that are worked on together: the values of one cache line.
pub(super) const BLOCK: usize = 16;

/// Output positions of a band, so that its values of one block of channels stay in the first-level cache.
const POSITIONS: usize = 256;

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
    /// Where output 0 lies in the written map.
    pub(super) first: usize,
    /// Positions of the written map from one output to the next.
    pub(super) step: usize,
}

impl Axis {
    /// The input of output `index` and tap 0.
    #[inline(always)]
    pub(super) fn start(&self, index: usize) -> isize {
        (index * self.stride) as isize + self.origin
    }

    /// Those of `count` inputs from `start` on that exist.
    #[inline(always)]
    pub(super) fn inside(&self, start: isize, count: usize) -> std::ops::Range<usize> {
        let end = (self.input as isize - start).clamp(0, count as isize) as usize;
        ((-start).max(0) as usize).min(end)..end
    }
}

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

/// A correlation whose outputs lie on a grid of positions of the written map.
#[derive(Debug, Clone)]
pub(super) struct Correlation<'a> {
    /// `[B * H * W]` positions.
    pub(super) x: MapRef<'a>,
    /// `[taps of the vertical axis * taps of the horizontal axis][C]`.
    pub(super) weight: &'a [f32],
    /// Images.
    pub(super) batch: usize,
    /// The vertical axis.
    pub(super) vertical: Axis,
    /// The horizontal axis.
    pub(super) horizontal: Axis,
    /// Rows and columns of the written map.
    pub(super) written: (usize, usize),
    /// What the sums start from.
    pub(super) start: Start<'a>,
    /// What is applied to the sums.
    pub(super) activation: Activation,
}

/// Runs correlations that write different positions of `y`.
pub(super) fn run(isa: Isa, correlations: &[Correlation], y: &mut MapMut) {
    correlations.iter().for_each(|correlation| correlation.check(y));
    let y = &*y;
    let parts = parallel::threads();
    parallel::run(parts, |part| {
        for correlation in correlations {
            for band in correlation.bands().part(parts, part) {
                // SAFETY: `check` held, the bands of one correlation share no output, and neither do the correlations.
                unsafe { correlation.run_band(isa, band, y) }
            }
        }
    });
}

impl Correlation<'_> {
    /// Asserts that all that the kernels read and write exists.
    fn check(&self, y: &MapMut) {
        let (vertical, horizontal, channels) = (&self.vertical, &self.horizontal, self.x.channels());
        assert_eq!(self.x.positions(), self.batch * vertical.input * horizontal.input, "positions read");
        assert_eq!(y.positions(), self.batch * self.written.0 * self.written.1, "positions written");
        assert_eq!(y.channels(), channels, "channels written");
        assert_eq!(self.weight.len(), vertical.taps * horizontal.taps * channels, "weights");
        if let Start::Bias(bias) = self.start {
            assert_eq!(bias.len(), channels, "biases");
        }
        for (axis, written) in [(vertical, self.written.0), (horizontal, self.written.1)] {
            assert!(
                axis.output == 0 || axis.first + (axis.output - 1) * axis.step < written,
                "{axis:?} writes past {written}"
            );
        }
    }

    fn bands(&self) -> Bands {
        let rows = POSITIONS / self.horizontal.output.max(1);
        Bands::new(self.batch, self.vertical.output, rows, self.x.channels(), BLOCK)
    }

    /// Picks the code for the taps and the stride.
    ///
    /// # Safety
    /// `check` held for `y`, and no other thread touches the outputs of the band.
    unsafe fn run_band(&self, isa: Isa, band: Band, y: &MapMut) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.horizontal.taps, self.horizontal.stride) {
                (1, 1) => run_kernel(isa, Tiled::<1, 1> { correlation: self, band, y }),
                (2, 1) => run_kernel(isa, Tiled::<2, 1> { correlation: self, band, y }),
                (3, 1) => run_kernel(isa, Tiled::<3, 1> { correlation: self, band, y }),
                (5, 1) => run_kernel(isa, Tiled::<5, 1> { correlation: self, band, y }),
                (3, 2) => run_kernel(isa, Tiled::<3, 2> { correlation: self, band, y }),
                (5, 2) => run_kernel(isa, Tiled::<5, 2> { correlation: self, band, y }),
                _ => run_kernel(isa, Untiled { correlation: self, band, y }),
            }
        }
    }

    /// Index in the written map of an output.
    #[inline(always)]
    fn position(&self, image: usize, row: usize, column: usize) -> usize {
        let (vertical, horizontal) = (&self.vertical, &self.horizontal);
        let line = image * self.written.0 + vertical.first + row * vertical.step;
        line * self.written.1 + horizontal.first + column * horizontal.step
    }

    /// Applies the activation to a row of outputs.
    ///
    /// # Safety
    /// No other thread touches the channels of the band there.
    #[inline(always)]
    unsafe fn activate_row<L: Level>(&self, band: &Band, row: usize, y: &MapMut) {
        if self.activation == Activation::Identity {
            return;
        }
        for_constant!(self.activation, A => for column in 0..self.horizontal.output {
            // SAFETY: the caller's promise.
            let values = unsafe { band.values_mut(y, self.position(band.image, row, column)) };
            if L::FMA {
                lanes::change(values, |value| *value = activate::<true>(A, *value));
            } else {
                lanes::change(values, |value| *value = activate::<false>(A, *value));
            }
        });
    }

    /// The rows of taps of an output row that lie inside the input.
    #[inline(always)]
    fn tap_rows(&self, image: usize, row: usize) -> TapRows {
        let start = self.vertical.start(row);
        let inside = self.vertical.inside(start, self.vertical.taps);
        let line = (image * self.vertical.input) as isize + start + inside.start as isize;
        TapRows { position: line * self.horizontal.input as isize, first: inside.start, count: inside.len() }
    }
}

/// Rows of taps.
#[derive(Clone, Copy)]
struct TapRows {
    /// Position in the read map of the first column of the first row's input.
    position: isize,
    /// The first row of taps.
    first: usize,
    /// Number of rows.
    count: usize,
}

/// Neighbouring outputs of a row that are worked on together.
const WIDTH: usize = 8;

/// Taps and stride along the row are constants: several outputs and a row of taps stay in registers, and each input is
/// read once for a row of taps.
struct Tiled<'a, const TAPS: usize, const STRIDE: usize> {
    correlation: &'a Correlation<'a>,
    band: Band,
    y: &'a MapMut<'a>,
}

impl<const TAPS: usize, const STRIDE: usize> Kernel for Tiled<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Tiled { correlation, ref band, y } = self;
        for row in band.rows.clone() {
            // SAFETY: the caller's promise: the outputs of the band are ours.
            unsafe {
                for column in (0..correlation.horizontal.output).step_by(WIDTH) {
                    let mut tile = self.tile(row, column);
                    for channel in over_vectors::<L>(band.channels.clone(), &mut tile) {
                        for column in column..column + tile.count {
                            Output { correlation, image: band.image, row, column, y }
                                .at::<L::Single>(channel);
                        }
                    }
                }
                correlation.activate_row::<L>(band, row, y);
            }
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> Tiled<'_, TAPS, STRIDE> {
    /// The outputs of a row from `column` on, at most [`WIDTH`].
    #[inline(always)]
    fn tile(&self, row: usize, column: usize) -> Tile<'_, TAPS, STRIDE> {
        let Tiled { correlation, band, y } = self;
        let (horizontal, rows) = (&correlation.horizontal, correlation.tap_rows(band.image, row));
        let count = WIDTH.min(horizontal.output - column);
        let start = horizontal.start(column);
        let inside = horizontal.inside(start, (count - 1) * STRIDE + TAPS);
        let (channels, x_stride) = (correlation.x.channels(), correlation.x.stride());
        Tile {
            sums_start: correlation.start,
            x: correlation.x.as_ptr().wrapping_offset((rows.position + start) * x_stride as isize),
            x_stride,
            x_line: horizontal.input * x_stride,
            inside: (inside.start, inside.len()),
            weight: correlation.weight.as_ptr().wrapping_add(rows.first * TAPS * channels),
            weight_stride: channels,
            rows: rows.count,
            y: y.as_mut_ptr().wrapping_add(correlation.position(band.image, row, column) * y.stride()),
            y_stride: horizontal.step * y.stride(),
            count,
        }
    }
}

/// Neighbouring outputs of a row. Addresses are those of channel 0.
struct Tile<'a, const TAPS: usize, const STRIDE: usize> {
    sums_start: Start<'a>,
    /// Input of the first output, first row of taps and tap 0; it may lie in the padding.
    x: *const f32,
    x_stride: usize,
    x_line: usize,
    /// The first of the tile's inputs that lies inside, and how many do.
    inside: (usize, usize),
    /// The first tap of the first row of taps.
    weight: *const f32,
    weight_stride: usize,
    /// Rows of taps.
    rows: usize,
    y: *mut f32,
    y_stride: usize,
    /// Outputs.
    count: usize,
}

impl<const TAPS: usize, const STRIDE: usize> PerVector for Tile<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // A tile whose inputs all lie inside is also full.
        let whole = self.inside.1 == (WIDTH - 1) * STRIDE + TAPS;
        // SAFETY: the caller's promise; the fields are those of a tile that exists.
        unsafe {
            let mut sums = self.first_sums::<V>(channel);
            if whole {
                self.add::<V, true>(channel, &mut sums)
            } else {
                self.add::<V, false>(channel, &mut sums)
            }
            // A constant number of steps, so that the sums have been in registers all along.
            for (output, sum) in sums.into_iter().enumerate() {
                if output < self.count {
                    sum.store(self.y.add(output * self.y_stride + channel));
                }
            }
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> Tile<'_, TAPS, STRIDE> {
    /// What the sums of one vector of channels start from.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels exist; the addresses hold what the fields say.
    #[inline(always)]
    unsafe fn first_sums<V: Vector>(&self, channel: usize) -> [V; WIDTH] {
        // SAFETY: the caller's promise.
        unsafe {
            match self.sums_start {
                Start::Zero => [V::splat(0.0); WIDTH],
                Start::Bias(bias) => [V::load(bias.as_ptr().add(channel)); WIDTH],
                Start::Output => std::array::from_fn(|output| {
                    // Outputs past the tile's last repeat it, and are not stored.
                    V::load(self.y.add(output.min(self.count - 1) * self.y_stride + channel))
                }),
            }
        }
    }

    /// Adds the products of one vector of channels. `WHOLE`: all inputs lie inside.
    ///
    /// # Safety
    /// As [`Tile::first_sums`].
    #[inline(always)]
    unsafe fn add<V: Vector, const WHOLE: bool>(&self, channel: usize, sums: &mut [V; WIDTH]) {
        for row in 0..self.rows {
            let x = self.x.wrapping_add(row * self.x_line + channel);
            let weight = self.weight.wrapping_add(row * TAPS * self.weight_stride + channel);
            // SAFETY: the caller's promise; only inputs inside are read.
            unsafe {
                let taps: [V; TAPS] =
                    std::array::from_fn(|tap| V::load(weight.add(tap * self.weight_stride)));
                unroll!(input < (WIDTH - 1) * STRIDE + TAPS, {
                    if WHOLE || input.wrapping_sub(self.inside.0) < self.inside.1 {
                        let value = V::load(x.wrapping_add(input * self.x_stride));
                        for back in 0..TAPS {
                            let (output, tap) =
                                ((input / STRIDE).wrapping_sub(back), input % STRIDE + back * STRIDE);
                            if output < WIDTH && tap < TAPS {
                                sums[output] = value.mul_add(taps[tap], sums[output]);
                            }
                        }
                    }
                });
            }
        }
    }
}

/// Any taps and stride: one output at a time.
struct Untiled<'a> {
    correlation: &'a Correlation<'a>,
    band: Band,
    y: &'a MapMut<'a>,
}

impl Kernel for Untiled<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Untiled { correlation, band, y } = self;
        for row in band.rows.clone() {
            for column in 0..correlation.horizontal.output {
                let mut output = Output { correlation, image: band.image, row, column, y };
                // SAFETY: the caller's promise: the outputs of the band are ours.
                unsafe { over_channels::<L>(band.channels.clone(), &mut output) }
            }
            // SAFETY: as above.
            unsafe { correlation.activate_row::<L>(&band, row, y) }
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
        let Correlation { x, weight, horizontal, start, .. } = self.correlation;
        let position = self.correlation.position(self.image, self.row, self.column);
        let y = self.y.as_mut_ptr().wrapping_add(position * self.y.stride() + channel);
        let rows = self.correlation.tap_rows(self.image, self.row);
        let first = horizontal.start(self.column);
        // SAFETY: the output exists and is ours; only taps and inputs inside are read.
        unsafe {
            let mut sum = match start {
                Start::Zero => V::splat(0.0),
                Start::Bias(bias) => V::load(bias.as_ptr().add(channel)),
                Start::Output => V::load(y),
            };
            for row in 0..rows.count {
                let position = rows.position + (row * horizontal.input) as isize + first;
                for tap in horizontal.inside(first, horizontal.taps) {
                    let input = (position + tap as isize) as usize * x.stride() + channel;
                    let weight_row = (rows.first + row) * horizontal.taps + tap;
                    let factor = V::load(weight.as_ptr().add(weight_row * x.channels() + channel));
                    sum = V::load(x.as_ptr().add(input)).mul_add(factor, sum);
                }
            }
            sum.store(y);
        }
    }
}
