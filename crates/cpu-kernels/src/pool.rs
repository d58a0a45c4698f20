//! Maximum over a sliding window, and the mean over whole images.

use std::cell::Cell;

use crate::bands::{Band, Bands};
use crate::isa::multiversion;
use crate::{Isa, MapMut, MapRef, Window, lanes, parallel, rows, scratch};

/// Channels that maxima are taken of at a time: one cache line.
const BLOCK: usize = 16;

/// Output positions of a band, so that the maxima along its rows stay in the first-level cache.
const POSITIONS: usize = 128;

/// Channels that sums over positions are taken of at a time.
pub(crate) const SUM_BLOCK: usize = 64;

/// Positions that are summed before the sum is added to the total, so that rounding errors stay small.
pub(crate) const SUM_RUN: usize = 64;

thread_local! {
    static ROW_MAXIMA: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `y[b, i, j, c]` is the maximum over the window of output `(i, j)`; what lies outside the map does not count. A NaN in the
/// window makes the maximum NaN; the maximum of a window outside the map is minus infinity.
///
/// First along rows, then along columns: `2 * kernel` comparisons a value instead of `kernel * kernel`.
///
/// # Panics
/// When a shape differs.
pub fn max_pool(isa: Isa, x: MapRef, window: &Window, y: &mut MapMut) {
    check(x, y.as_ref(), window);
    let y = &*y;
    let rows = (POSITIONS / window.out_width.max(1)).max(1);
    let bands = Bands::new(window.batch, window.out_height, rows, x.channels(), BLOCK);
    let parts = bands.parts();
    parallel::run(parts, |part| {
        scratch::with(&ROW_MAXIMA, |row_maxima| {
            for band in bands.part(parts, part) {
                max_pool_band(isa, x, window, &band, row_maxima, y);
            }
        });
    });
}

/// The gradient of the input of [`max_pool`], from its input, its output and the gradient of its output: the first
/// maximum of a window, row by row, takes the gradient. With `accumulate` it is added to `dx`, else every value is
/// overwritten.
///
/// # Panics
/// When a shape differs.
pub fn max_pool_backward(
    isa: Isa,
    x: MapRef,
    y: MapRef,
    dy: MapRef,
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    check(x, y, window);
    check(dx.as_ref(), dy, window);
    assert_eq!(x.channels(), dx.channels(), "channels of the gradient");
    let dx = &*dx;
    Bands::whole(window.batch, x.channels(), BLOCK).run(|band| {
        if !accumulate {
            let area = window.in_height * window.in_width;
            // SAFETY: the bands share no channel of an image.
            (0..area)
                .for_each(|position| unsafe { band.values_mut(dx, band.image * area + position) }.fill(0.0));
        }
        max_pool_backward_band(isa, x, y, dy, window, &band, dx);
    });
}

/// `y[b, c]` is the mean over the positions of image `b`. `y` has `batch` rows.
///
/// # Panics
/// When a shape differs.
pub fn global_avg_pool(isa: Isa, x: MapRef, batch: usize, y: &mut MapMut) {
    let area = check_images(x, y.as_ref(), batch);
    let y = &*y;
    Bands::whole(batch, x.channels(), SUM_BLOCK).run(|band| {
        // SAFETY: the bands share no channel of an image.
        mean_band(isa, x, area, &band, unsafe { band.values_mut(y, band.image) });
    });
}

/// The gradient of the input of [`global_avg_pool`]: every position takes an equal share. With `accumulate` it is added to
/// `dx`, else every value is overwritten.
///
/// # Panics
/// When a shape differs.
pub fn global_avg_pool_backward(isa: Isa, dy: MapRef, batch: usize, accumulate: bool, dx: &mut MapMut) {
    let area = check_images(dx.as_ref(), dy, batch);
    rows::split(dx, |positions, dx| share_rows(isa, dy, area, positions.start, accumulate, dx));
}

fn check(x: MapRef, y: MapRef, window: &Window) {
    assert_eq!(x.positions(), window.in_positions(), "positions of the input");
    assert_eq!(y.positions(), window.out_positions(), "positions of the output");
    assert_eq!(x.channels(), y.channels(), "channels");
}

/// Positions of an image of `x`.
fn check_images(x: MapRef, y: MapRef, batch: usize) -> usize {
    assert_eq!(y.positions(), batch, "one row an image");
    assert_eq!(x.channels(), y.channels(), "channels");
    let area = x.positions() / batch.max(1);
    assert_eq!(area * batch, x.positions(), "the positions are not {batch} equal images");
    area
}

/// The part of a window that lies inside an axis of `size` inputs.
#[inline(always)]
fn inside(output: usize, window: &Window, pad: usize, size: usize) -> std::ops::Range<usize> {
    let (start, end) = (output * window.stride, output * window.stride + window.kernel);
    start.saturating_sub(pad)..end.saturating_sub(pad).min(size)
}

/// `best = max(best, values)` where NaN wins.
#[inline(always)]
fn raise(best: &mut [f32], values: &[f32]) {
    lanes::update(best, values, |best, value| {
        *best = if value > *best || value.is_nan() { value } else { *best }
    });
}

multiversion! {
    /// `row_maxima` is scratch: the maxima along the input rows that the band reads.
    fn max_pool_band(x: MapRef<'_>, window: &Window, band: &Band, row_maxima: &mut Vec<f32>, y: &MapMut<'_>) {
        let (width, channels) = (window.out_width, band.channels.len());
        let rows = |row| inside(row, window, window.pad_top, window.in_height);
        let read = rows(band.rows.start).start..rows(band.rows.end - 1).end;
        row_maxima.clear();
        row_maxima.resize(read.len() * width * channels, f32::NEG_INFINITY); // [rows, W', block]
        for (index, row) in read.clone().enumerate() {
            let line = (band.image * window.in_height + row) * window.in_width;
            for column in 0..width {
                let best = &mut row_maxima[(index * width + column) * channels..][..channels];
                for input in inside(column, window, window.pad_left, window.in_width) {
                    raise(best, band.values(x, line + input));
                }
            }
        }
        for row in band.rows.clone() {
            for column in 0..width {
                let position = (band.image * window.out_height + row) * width + column;
                // SAFETY: the bands share no output.
                let best = unsafe { band.values_mut(y, position) };
                best.fill(f32::NEG_INFINITY);
                for input in rows(row) {
                    raise(best, &row_maxima[((input - read.start) * width + column) * channels..][..channels]);
                }
            }
        }
    }
}

multiversion! {
    /// Adds the gradient of one image and block of channels.
    fn max_pool_backward_band(
        x: MapRef<'_>,
        y: MapRef<'_>,
        dy: MapRef<'_>,
        window: &Window,
        band: &Band,
        dx: &MapMut<'_>,
    ) {
        for row in 0..window.out_height {
            for column in 0..window.out_width {
                let position = (band.image * window.out_height + row) * window.out_width + column;
                let best = band.values(y, position);
                // What no position has taken yet.
                let mut left = [0.0; BLOCK];
                let left = &mut left[..best.len()];
                left.copy_from_slice(band.values(dy, position));
                for input_row in inside(row, window, window.pad_top, window.in_height) {
                    for input_column in inside(column, window, window.pad_left, window.in_width) {
                        let position = (band.image * window.in_height + input_row) * window.in_width + input_column;
                        // SAFETY: the bands share no channel of an image.
                        let to = unsafe { band.values_mut(dx, position) };
                        give(to, left, band.values(x, position), best);
                    }
                }
            }
        }
    }
}

/// Moves what is `left` to the channels whose value is the `best`.
#[inline(always)]
fn give(to: &mut [f32], left: &mut [f32], values: &[f32], best: &[f32]) {
    let channels = to.len();
    assert!(left.len() == channels && values.len() == channels && best.len() == channels);
    for channel in 0..channels {
        let (taken, kept) =
            if values[channel] < best[channel] { (0.0, left[channel]) } else { (left[channel], 0.0) };
        to[channel] += taken;
        left[channel] = kept;
    }
}

multiversion! {
    /// The means of one image and block of channels.
    fn mean_band(x: MapRef<'_>, area: usize, band: &Band, means: &mut [f32]) {
        let positions = band.image * area..(band.image + 1) * area;
        means.fill(0.0);
        for first in positions.clone().step_by(SUM_RUN) {
            let mut run = [0.0; SUM_BLOCK];
            let run = &mut run[..means.len()];
            for position in first..positions.end.min(first + SUM_RUN) {
                lanes::update(run, band.values(x, position), |sum, value| *sum += value);
            }
            lanes::update(means, run, |sum, value| *sum += value);
        }
        let share = 1.0 / area as f32;
        lanes::change(means, |mean| *mean *= share);
    }
}

multiversion! {
    /// The rows from `first` on that `dx` holds.
    fn share_rows(dy: MapRef<'_>, area: usize, first: usize, accumulate: bool, dx: &mut MapMut<'_>) {
        let share = 1.0 / area as f32;
        for row in 0..dx.positions() {
            let (dy, dx) = (dy.row((first + row) / area), dx.row_mut(row));
            if accumulate {
                lanes::update(dx, dy, |dx, dy| *dx += dy * share);
            } else {
                lanes::update(dx, dy, |dx, dy| *dx = dy * share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::pool as reference;
    use crate::test_maps::{TestMap, shapes, values};
    use crate::test_windows::windows;

    /// Values of few kinds, so that most windows hold their maximum several times.
    fn with_ties(window: &Window, channels: usize, gap: usize, seed: u64) -> TestMap {
        let ties: Vec<_> =
            values(window.in_positions() * channels, 3.0, seed).iter().map(|x| x.round()).collect();
        TestMap::new(&ties, channels, gap)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn max_pool_equals_the_reference(
            window in windows(&[1, 2, 3, 5, 7]), channels in 1usize..40, gaps in [0usize..5, 0usize..5], seed in any::<u64>(),
            accumulate in any::<bool>(),
        ) {
            let x = with_ties(&window, channels, gaps[0], seed);
            let expected: Vec<_> = reference::max_pool(&x.to_f64(), channels, &window).iter().map(|y| y.0).collect();
            let dy = TestMap::random(window.out_positions(), channels, gaps[1], 1.0, seed);
            let gradient = reference::max_pool_backward(&x.to_f64(), &dy.to_f64(), channels, &window);
            for &isa in Isa::available() {
                let mut y = TestMap::random(window.out_positions(), channels, gaps[1], 9.0, seed);
                max_pool(isa, x.map(), &window, &mut y.map_mut());
                assert_eq!(y.to_f64(), expected, "{}", isa.name());

                let mut dx = TestMap::random(window.in_positions(), channels, gaps[0], 1.0, seed ^ 1);
                let before = dx.to_f64().into_iter().map(|before| if accumulate { before } else { 0.0 });
                let expected: Vec<_> = gradient.iter().zip(before).map(|(dx, before)| dx + before).collect();
                max_pool_backward(isa, x.map(), y.map(), dy.map(), &window, accumulate, &mut dx.map_mut());
                dx.assert_close(&expected, 2e-6, isa.name());
            }
        }

        #[test]
        fn global_avg_pool_equals_the_reference(
            (area, channels, [x_gap, y_gap], seed) in shapes(), batch in 1usize..4, accumulate in any::<bool>(),
        ) {
            let x = TestMap::random(batch * area, channels, x_gap, 1.0, seed);
            let dy = TestMap::random(batch, channels, y_gap, 1.0, seed ^ 1);
            let mean = reference::global_avg_pool(&x.to_f64(), channels, batch);
            let gradient = reference::global_avg_pool_backward(&dy.to_f64(), channels, batch, area);
            for &isa in Isa::available() {
                let mut y = TestMap::random(batch, channels, y_gap, 9.0, seed);
                global_avg_pool(isa, x.map(), batch, &mut y.map_mut());
                y.assert_close(&mean, 1e-6, isa.name());

                let mut dx = TestMap::random(batch * area, channels, x_gap, 1.0, seed ^ 2);
                let before = dx.to_f64().into_iter().map(|before| if accumulate { before } else { 0.0 });
                let expected: Vec<_> = gradient.iter().zip(before).map(|(dx, before)| dx + before).collect();
                global_avg_pool_backward(isa, dy.map(), batch, accumulate, &mut dx.map_mut());
                dx.assert_close(&expected, 1e-6, isa.name());
            }
        }
    }

    #[test]
    fn a_nan_in_the_window_makes_the_maximum_nan() {
        let window = Window {
            batch: 1,
            in_height: 3,
            in_width: 4,
            out_height: 3,
            out_width: 4,
            kernel: 3,
            stride: 1,
            pad_top: 1,
            pad_left: 1,
        };
        let mut values = vec![1.0; 12 * 9];
        values[0] = f32::NAN;
        for &isa in Isa::available() {
            let mut y = TestMap::new(&[0.0; 12 * 9], 9, 0);
            max_pool(isa, MapRef::dense(&values, 9), &window, &mut y.map_mut());
            for (index, value) in y.to_f64().into_iter().enumerate() {
                let sees_it = index % 9 == 0 && [0, 1, 4, 5].contains(&(index / 9));
                assert_eq!(value.is_nan(), sees_it, "{}: value {index}", isa.name());
            }
        }
    }
}
