//! Copies, sums and products of maps.

use crate::isa::{mul_add, multiversion};
use crate::rows::{self, ColumnSums, Spans};
use crate::{Isa, MapMut, MapRef};

/// `y = x`.
///
/// # Panics
/// When the maps have different shapes.
pub fn copy(_isa: Isa, x: MapRef<'_>, y: &mut MapMut<'_>) {
    rows::assert_alike(x, y.as_ref());
    rows::split(y, |range, y| {
        for span in Spans::new(0..y.positions(), &[rows::layout(x), rows::layout(y.as_ref())]) {
            let x = rows::span(x, range.start + span.start..range.start + span.end);
            rows::span_mut(y, span).copy_from_slice(x);
        }
    });
}

/// `y = a + b`.
///
/// # Panics
/// When the maps have different shapes.
pub fn add(isa: Isa, a: MapRef<'_>, b: MapRef<'_>, y: &mut MapMut<'_>) {
    rows::assert_alike(a, y.as_ref());
    rows::assert_alike(b, y.as_ref());
    rows::split(y, |range, y| add_part(isa, a, b, range.start, y));
}

/// `y += x`.
///
/// # Panics
/// When the maps have different shapes.
pub fn accumulate(isa: Isa, x: MapRef<'_>, y: &mut MapMut<'_>) {
    rows::assert_alike(x, y.as_ref());
    rows::split(y, |range, y| accumulate_part(isa, x, range.start, y));
}

/// `y = x * factor of the image`, or added to `y` if `accumulate`: forward and backward of stochastic depth
/// (arXiv 1603.09382).
///
/// # Panics
/// When the maps have different shapes, or their positions do not divide into one image a factor.
pub fn scale_images(isa: Isa, x: MapRef<'_>, factors: &[f32], accumulate: bool, y: &mut MapMut<'_>) {
    rows::assert_alike(x, y.as_ref());
    let (positions, images) = (x.positions(), factors.len());
    assert!(images > 0 && positions.is_multiple_of(images), "{positions} positions for {images} images");
    rows::split(y, |range, y| scale_images_part(isa, x, range.start, factors, accumulate, y));
}

/// `y = x * mask`, or added to `y` if `accumulate`; `mask` has one value for every value of `x`, row after row.
///
/// # Panics
/// When the shapes differ.
pub fn multiply(isa: Isa, x: MapRef<'_>, mask: &[f32], accumulate: bool, y: &mut MapMut<'_>) {
    rows::assert_alike(x, y.as_ref());
    assert_eq!(mask.len(), x.positions() * x.channels(), "one mask value a value");
    let mask = MapRef::new(mask, x.positions(), x.channels(), x.channels());
    rows::split(y, |range, y| multiply_part(isa, x, mask, range.start, accumulate, y));
}

/// `sums[c] += ` the sum of channel `c` over all positions: the gradient of a bias.
///
/// # Panics
/// When `sums` does not have one value a channel.
pub fn sum_positions(isa: Isa, x: MapRef<'_>, sums: &mut [f32]) {
    let (positions, channels) = (x.positions(), x.channels());
    assert_eq!(sums.len(), channels, "one sum a channel");
    let parts = rows::collect(positions, rows::parts(positions, channels), |range| {
        let spans = Spans::new(range, &[rows::layout(x)]);
        let mut sums = ColumnSums::new(spans.step * channels);
        sum_positions_part(isa, x, spans, &mut sums);
        sums.into_channels(channels)
    });
    let totals = rows::total(parts.into_iter(), channels);
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
}

multiversion! {
    fn add_part(a: MapRef<'_>, b: MapRef<'_>, first: usize, y: &mut MapMut<'_>) {
        for span in Spans::new(0..y.positions(), &[rows::layout(a), rows::layout(b), rows::layout(y.as_ref())]) {
            let outer = first + span.start..first + span.end;
            let (a, b) = (rows::span(a, outer.clone()), rows::span(b, outer));
            for ((y, &a), &b) in rows::span_mut(y, span).iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        }
    }
}

multiversion! {
    fn accumulate_part(x: MapRef<'_>, first: usize, y: &mut MapMut<'_>) {
        for span in Spans::new(0..y.positions(), &[rows::layout(x), rows::layout(y.as_ref())]) {
            let x = rows::span(x, first + span.start..first + span.end);
            for (y, &x) in rows::span_mut(y, span).iter_mut().zip(x) {
                *y += x;
            }
        }
    }
}

multiversion! {
    fn scale_images_part(x: MapRef<'_>, first: usize, factors: &[f32], accumulate: bool, y: &mut MapMut<'_>) {
        let image = x.positions() / factors.len();
        let layouts = [rows::layout(x), rows::layout(y.as_ref())];
        for (index, &factor) in factors.iter().enumerate() {
            let start = (index * image).clamp(first, first + y.positions());
            let end = ((index + 1) * image).clamp(first, first + y.positions());
            for outer in Spans::new(start..end, &layouts) {
                let y = rows::span_mut(y, outer.start - first..outer.end - first);
                let x = rows::span(x, outer);
                if accumulate {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = mul_add::<FMA>(x, factor, *y);
                    }
                } else {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = x * factor;
                    }
                }
            }
        }
    }
}

multiversion! {
    fn multiply_part(x: MapRef<'_>, mask: MapRef<'_>, first: usize, accumulate: bool, y: &mut MapMut<'_>) {
        for span in Spans::new(0..y.positions(), &[rows::layout(x), rows::layout(mask), rows::layout(y.as_ref())]) {
            let outer = first + span.start..first + span.end;
            let (x, mask) = (rows::span(x, outer.clone()), rows::span(mask, outer));
            let y = rows::span_mut(y, span);
            if accumulate {
                for ((y, &x), &mask) in y.iter_mut().zip(x).zip(mask) {
                    *y = mul_add::<FMA>(x, mask, *y);
                }
            } else {
                for ((y, &x), &mask) in y.iter_mut().zip(x).zip(mask) {
                    *y = x * mask;
                }
            }
        }
    }
}

multiversion! {
    fn sum_positions_part(x: MapRef<'_>, spans: Spans, sums: &mut ColumnSums) {
        for span in spans {
            for (sum, &x) in sums.recent.iter_mut().zip(rows::span(x, span)) {
                *sum += x;
            }
            sums.added(1);
        }
    }
}
