//! Depthwise convolution: each channel with its own `kernel x kernel` taps.
//!
//! The data gradient is a correlation of the output's gradient with the flipped taps, one for each phase of the stride,
//! so that forward and data gradient are the same code.

mod correlation;
mod grid;
#[cfg(test)]
mod tests;
mod weight_gradient;

use std::ops::Range;

use correlation::{Correlation, Start};
use grid::{Axis, Grid};
pub use weight_gradient::backward_weight;

use crate::{Activation, Isa, MapMut, MapRef, Precision, Window};

/// Reorders a weight from `[C, 1, kernel, kernel]` to `[kernel * kernel][C]`, tap after tap.
///
/// # Panics
/// When a length differs from `channels * kernel * kernel`.
pub fn pack(weight: &[f32], channels: usize, kernel: usize, packed: &mut [f32]) {
    let taps = kernel * kernel;
    assert_eq!(weight.len(), channels * taps, "weights");
    assert_eq!(packed.len(), channels * taps, "packed weights");
    for tap in 0..taps {
        for channel in 0..channels {
            packed[tap * channels + channel] = weight[channel * taps + tap];
        }
    }
}

/// What is applied to the sums: `round(activation(sum + bias))`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value a channel.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// What the outputs are rounded to.
    pub precision: Precision,
}

impl Epilogue<'_> {
    /// Nothing is added, applied or rounded.
    pub const NONE: Epilogue<'static> =
        Epilogue { bias: None, activation: Activation::Identity, precision: Precision::F32 };
}

/// `y[b, i, j, c] = round(activation(bias[c] + sum over (u, v) of x[b, i * stride + u - pad_top, j * stride + v - pad_left, c] *
/// packed[u, v, c]))`, where inputs outside the map count as zero.
///
/// `x` has `window.in_positions()` rows, `y` `window.out_positions()`; `packed` is from [`pack`].
///
/// # Panics
/// When a shape differs.
pub fn forward(isa: Isa, x: MapRef, packed: &[f32], window: &Window, epilogue: &Epilogue, y: &mut MapMut) {
    let correlation = correlation(grid(window), x, taps(packed, x.channels()), epilogue);
    correlation::run(isa, &[correlation], y);
}

/// Rows `rows` of one image of [`forward`], from the rows of the input that they read: `x` holds those from `first_row`
/// on. `y` is the whole image, `weight` has a position a tap.
///
/// # Safety
/// Nobody else may use these rows of `y` meanwhile.
pub(crate) unsafe fn forward_rows(
    isa: Isa,
    x: MapRef,
    first_row: usize,
    weight: MapRef,
    window: &Window,
    epilogue: &Epilogue,
    rows: &Range<usize>,
    y: &MapMut,
) {
    let mut grid = Grid { batch: 1, ..grid(window) };
    grid.vertical.input = x.positions() / window.in_width.max(1);
    grid.vertical.output = rows.len();
    grid.vertical.origin += (rows.start * window.stride) as isize - first_row as isize;
    grid.vertical.first = rows.start;
    // SAFETY: passed on to the caller.
    unsafe { correlation(grid, x, weight, epilogue).run_alone(isa, y) };
}

/// The correlation of the forward pass.
fn correlation<'a>(
    grid: Grid,
    x: MapRef<'a>,
    weight: MapRef<'a>,
    epilogue: &Epilogue<'a>,
) -> Correlation<'a> {
    let &Epilogue { bias, activation, precision } = epilogue;
    Correlation { grid, x, weight, start: bias.map_or(Start::Zero, Start::Bias), activation, precision }
}

/// A packed weight as a map with a position a tap.
fn taps(packed: &[f32], channels: usize) -> MapRef<'_> {
    assert_eq!(packed.len() % channels.max(1), 0, "weights");
    MapRef::dense(packed, channels)
}

/// The grid of the forward pass.
fn grid(window: &Window) -> Grid {
    let Window { kernel: taps, stride, .. } = *window;
    let axis = |input, output, pad: usize| {
        let origin = -(pad as isize);
        Axis { input, output, taps, stride, origin, first: 0, step: 1, size: output }
    };
    Grid {
        batch: window.batch,
        vertical: axis(window.in_height, window.out_height, window.pad_top),
        horizontal: axis(window.in_width, window.out_width, window.pad_left),
    }
}

/// The gradient of the input of [`forward`] without bias and activation, from the gradient of the output.
///
/// `dy` has `window.out_positions()` rows, `dx` `window.in_positions()`. With `accumulate` the gradient is added to `dx`,
/// else every value is overwritten.
///
/// # Panics
/// When a shape differs.
pub fn backward_data(
    isa: Isa,
    dy: MapRef,
    packed: &[f32],
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    let channels = dy.channels();
    assert_eq!(packed.len(), window.kernel * window.kernel * channels, "packed weights");
    let phases = || 0..window.stride;
    let vertical: Vec<_> = phases()
        .map(|phase| Phase::new(phase, window.out_height, window.in_height, window.pad_top, window))
        .collect();
    let horizontal: Vec<_> = phases()
        .map(|phase| Phase::new(phase, window.out_width, window.in_width, window.pad_left, window))
        .collect();
    let pairs = || vertical.iter().flat_map(|v| horizontal.iter().map(move |h| (v, h)));
    let weights: Vec<_> =
        pairs().map(|(v, h)| flipped_taps(packed, channels, window, v.first_tap, h.first_tap)).collect();
    let start = if accumulate { Start::Output } else { Start::Zero };
    let correlation = |((v, h), weight): ((&Phase, &Phase), _)| Correlation {
        grid: Grid { batch: window.batch, vertical: v.axis, horizontal: h.axis },
        x: dy,
        weight,
        start,
        activation: Activation::Identity,
        precision: Precision::F32,
    };
    let correlations: Vec<_> =
        pairs().zip(weights.iter().map(|weight| taps(weight, channels))).map(correlation).collect();
    correlation::run(isa, &correlations, dx);
}

/// Every `stride`-th input of an axis from `phase` on: those that meet the same taps, `first_tap` and every `stride`-th
/// after it.
struct Phase {
    axis: Axis,
    first_tap: usize,
}

impl Phase {
    /// Input `phase + i * stride` meets tap `first_tap + m * stride` in output `i + shift - m`.
    fn new(phase: usize, output: usize, input: usize, pad: usize, window: &Window) -> Phase {
        let stride = window.stride;
        let (shift, first_tap) = ((phase + pad) / stride, (phase + pad) % stride);
        let taps = window.kernel.saturating_sub(first_tap).div_ceil(stride);
        let axis = Axis {
            input: output,
            output: input.saturating_sub(phase).div_ceil(stride),
            taps,
            stride: 1,
            origin: shift as isize + 1 - taps as isize,
            first: phase,
            step: stride,
            size: input,
        };
        Phase { axis, first_tap }
    }
}

/// Taps `(top, left)` and every `stride`-th after them in both axes, in reverse order.
fn flipped_taps(packed: &[f32], channels: usize, window: &Window, top: usize, left: usize) -> Vec<f32> {
    let mut flipped = Vec::with_capacity(packed.len());
    let reversed = |first: usize| (first..window.kernel).step_by(window.stride).rev();
    for row in reversed(top) {
        for column in reversed(left) {
            let tap = row * window.kernel + column;
            flipped.extend_from_slice(&packed[tap * channels..][..channels]);
        }
    }
    flipped
}
