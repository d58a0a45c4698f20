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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_maps::{TestMap, assert_close, shapes, to_f64, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn maps_equal_their_formulas((positions, channels, [gap_a, gap_y], seed) in shapes(), accumulated: bool) {
            let [a, b, before] = [(gap_a, 1), (0, 2), (gap_y, 3)]
                .map(|(gap, salt)| TestMap::random(positions, channels, gap, 2.0, seed ^ salt));
            let expect = |formula: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
                let (a, b, y) = (a.to_f64(), b.to_f64(), before.to_f64());
                (0..a.len()).map(|i| formula(a[i], b[i], y[i])).collect()
            };
            let keep = if accumulated { 1.0 } else { 0.0 };
            for &isa in Isa::available() {
                let check = |kernel: &dyn Fn(&mut MapMut<'_>), formula: &dyn Fn(f64, f64, f64) -> f64| {
                    let mut y = before.clone();
                    kernel(&mut y.map_mut());
                    y.assert_close(&expect(formula), 3e-7, isa.name());
                };
                check(&|y| copy(isa, a.map(), y), &|a, _, _| a);
                check(&|y| add(isa, a.map(), b.map(), y), &|a, b, _| a + b);
                check(&|y| accumulate(isa, a.map(), y), &|a, _, y| a + y);
                let mask = b.map().to_vec();
                check(&|y| multiply(isa, a.map(), &mask, accumulated, y), &|a, b, y| a * b + keep * y);
            }
        }

        #[test]
        fn images_have_factors_of_their_own(
            images in 1usize..5,
            (positions, channels, [gap_x, gap_y], seed) in shapes(),
            accumulated: bool,
        ) {
            let x = TestMap::random(images * positions, channels, gap_x, 2.0, seed);
            let before = TestMap::random(images * positions, channels, gap_y, 2.0, seed ^ 1);
            let factors = values(images, 2.0, seed ^ 2);
            let old = before.to_f64();
            let value = |(i, x): (usize, f64)| {
                x * f64::from(factors[i / (positions * channels)]) + if accumulated { old[i] } else { 0.0 }
            };
            let expected: Vec<f64> = x.to_f64().into_iter().enumerate().map(value).collect();
            for &isa in Isa::available() {
                let mut y = before.clone();
                scale_images(isa, x.map(), &factors, accumulated, &mut y.map_mut());
                y.assert_close(&expected, 3e-7, isa.name());
            }
        }

        #[test]
        fn sums_are_added((positions, channels, [gap, _], seed) in shapes()) {
            let x = TestMap::random(positions, channels, gap, 2.0, seed);
            let before = values(channels, 2.0, seed ^ 1);
            let mut expected = to_f64(&before);
            x.to_f64().chunks_exact(channels).for_each(|row| expected.iter_mut().zip(row).for_each(|(e, x)| *e += x));
            for &isa in Isa::available() {
                let mut sums = before.clone();
                sum_positions(isa, x.map(), &mut sums);
                assert_close(&sums, &expected, 1e-6 * (positions as f64).sqrt(), isa.name());
            }
        }
    }
}
