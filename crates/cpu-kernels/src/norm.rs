//! Batch normalisation with an activation after it (arXiv 1502.03167), forward and backward.
//!
//! A channel's statistics are taken over all positions of the map, `B * H * W`.

use crate::activation::{activate, derivative, for_constant};
use crate::isa::{mul_add, multiversion};
use crate::rows::{self, ColumnSums, Spans};
use crate::{Activation, Isa, MapMut, MapRef};

/// Positions whose mean is subtracted before squares are summed.
const SAMPLE: usize = 16;

/// Mean and biased variance of every channel, in one pass.
///
/// Sums are taken of the differences to the mean of a few positions, so that a mean much larger than the deviation costs
/// no digits.
///
/// # Panics
/// When there is no position, or `mean` or `var` do not have one value a channel.
pub fn statistics(isa: Isa, x: MapRef<'_>, mean: &mut [f32], var: &mut [f32]) {
    let (positions, channels) = (x.positions(), x.channels());
    assert!(positions > 0, "statistics of no positions");
    assert_eq!((mean.len(), var.len()), (channels, channels), "one mean and variance a channel");
    let shift = sample_mean(x);
    let parts = rows::collect(positions, rows::parts(positions, channels), |range| {
        let mut spans = Spans::new(range, &[rows::layout(x)]);
        let tile = shift.repeat(spans.step);
        let (mut sums, mut squares) = (ColumnSums::new(tile.len()), ColumnSums::new(tile.len()));
        statistics_part(isa, x, &mut spans, &tile, &mut sums, &mut squares);
        (sums.into_channels(channels), squares.into_channels(channels))
    });
    let (sums, squares): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let (sums, squares) =
        (rows::total(sums.into_iter(), channels), rows::total(squares.into_iter(), channels));
    for c in 0..channels {
        let offset = sums[c] / positions as f64;
        mean[c] = (f64::from(shift[c]) + offset) as f32;
        var[c] = (squares[c] / positions as f64 - offset * offset).max(0.0) as f32;
    }
}

/// Mean of every channel over a few positions spread over the map.
fn sample_mean(x: MapRef<'_>) -> Vec<f32> {
    let count = x.positions().min(SAMPLE);
    let mut mean = vec![0.0; x.channels()];
    for i in 0..count {
        let row = x.row(i * x.positions() / count);
        mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += x / count as f32);
    }
    mean
}

multiversion! {
    fn statistics_part(
        x: MapRef<'_>,
        spans: &mut Spans,
        shift: &[f32],
        sums: &mut ColumnSums,
        squares: &mut ColumnSums,
    ) {
        for span in spans {
            let x = rows::span(x, span);
            for (((sum, square), &shift), &x) in sums.recent.iter_mut().zip(&mut squares.recent).zip(shift).zip(x) {
                let d = x - shift;
                *sum += d;
                *square = mul_add::<FMA>(d, d, *square);
            }
            sums.added(1);
            squares.added(1);
        }
    }
}

/// `y = activation(x * scale + shift)`, `scale` and `shift` one value a channel.
///
/// # Panics
/// When the shapes differ.
pub fn forward(
    isa: Isa,
    x: MapRef<'_>,
    scale: &[f32],
    shift: &[f32],
    activation: Activation,
    y: &mut MapMut<'_>,
) {
    rows::assert_alike(x, y.as_ref());
    assert_eq!((scale.len(), shift.len()), (x.channels(), x.channels()), "one factor and summand a channel");
    rows::split(y, |range, y| {
        let spans = Spans::new(0..y.positions(), &[rows::layout(x), rows::layout(y.as_ref())]);
        let (scale, shift) = (scale.repeat(spans.step), shift.repeat(spans.step));
        forward_part(isa, x, range.start, spans, &scale, &shift, activation, y);
    });
}

multiversion! {
    fn forward_part(
        x: MapRef<'_>,
        first: usize,
        spans: Spans,
        scale: &[f32],
        shift: &[f32],
        activation: Activation,
        y: &mut MapMut<'_>,
    ) {
        for span in spans {
            let x = rows::span(x, first + span.start..first + span.end);
            let y = rows::span_mut(y, span);
            let n = y.len();
            let (x, scale, shift) = (&x[..n], &scale[..n], &shift[..n]);
            for_constant!(activation, A => for i in 0..n {
                y[i] = activate::<FMA>(A, mul_add::<FMA>(x[i], scale[i], shift[i]));
            })
        }
    }
}

/// Gradients of `activation(gamma * (x - mean) * inv_std + beta)`.
///
/// On entry `dy` is the gradient of the output; on return it holds the gradient of `x`. The gradients of `gamma` and
/// `beta` are added to `d_gamma` and `d_beta`. If `batch_statistics`, `mean` and `inv_std` are those of `x`, and the
/// gradient runs through them; else they are constants.
///
/// # Panics
/// When the shapes differ.
pub fn backward_in_place(
    isa: Isa,
    x: MapRef<'_>,
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    beta: &[f32],
    activation: Activation,
    batch_statistics: bool,
    dy: &mut MapMut<'_>,
    d_gamma: &mut [f32],
    d_beta: &mut [f32],
) {
    rows::assert_alike(x, dy.as_ref());
    let channels = x.channels();
    for values in [mean, inv_std, gamma, beta, d_gamma, d_beta] {
        assert_eq!(values.len(), channels, "one value a channel");
    }
    let scale: Vec<f32> = gamma.iter().zip(inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
    // With constant statistics the gradient of x is that of the normalised value times the scale, in the same pass.
    let factor = if batch_statistics { vec![1.0; channels] } else { scale.clone() };
    let parts = rows::split_collect(dy, |range, dy| {
        let spans = Spans::new(0..dy.positions(), &[rows::layout(x), rows::layout(dy.as_ref())]);
        let tiles = [mean, &scale, beta, &factor].map(|values| values.repeat(spans.step));
        let columns = spans.step * channels;
        let (mut sums, mut products) = (ColumnSums::new(columns), ColumnSums::new(columns));
        reduce_part(isa, x, range.start, spans, &tiles, activation, dy, &mut sums, &mut products);
        (sums.into_channels(channels), products.into_channels(channels))
    });
    let (sums, products): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let (sums, products) =
        (rows::total(sums.into_iter(), channels), rows::total(products.into_iter(), channels));
    for c in 0..channels {
        d_beta[c] += sums[c] as f32;
        d_gamma[c] += (products[c] * f64::from(inv_std[c])) as f32;
    }
    if batch_statistics {
        subtract_means(isa, x, mean, inv_std, &scale, &sums, &products, dy);
    }
}

multiversion! {
    /// Turns `dy` into the gradient of the value before the activation, times `factor`; sums that gradient, and its
    /// product with `x - mean`. `tiles`: mean, scale, beta, factor.
    fn reduce_part(
        x: MapRef<'_>,
        first: usize,
        spans: Spans,
        tiles: &[Vec<f32>; 4],
        activation: Activation,
        dy: &mut MapMut<'_>,
        sums: &mut ColumnSums,
        products: &mut ColumnSums,
    ) {
        for span in spans {
            let x = rows::span(x, first + span.start..first + span.end);
            let dy = rows::span_mut(dy, span);
            let n = dy.len();
            let [mean, scale, beta, factor] = [&tiles[0][..n], &tiles[1][..n], &tiles[2][..n], &tiles[3][..n]];
            let (x, sum, product) = (&x[..n], &mut sums.recent[..n], &mut products.recent[..n]);
            for_constant!(activation, A => for i in 0..n {
                let centred = x[i] - mean[i];
                let dz = dy[i] * derivative::<FMA>(A, mul_add::<FMA>(centred, scale[i], beta[i]));
                sum[i] += dz;
                product[i] = mul_add::<FMA>(dz, centred, product[i]);
                dy[i] = dz * factor[i];
            });
            sums.added(1);
            products.added(1);
        }
    }
}

/// `dz = scale * (dz - mean(dz) - normalised x * mean(dz * normalised x))`: the gradient through the batch's statistics.
fn subtract_means(
    isa: Isa,
    x: MapRef<'_>,
    mean: &[f32],
    inv_std: &[f32],
    scale: &[f32],
    sums: &[f64],
    products: &[f64],
    dz: &mut MapMut<'_>,
) {
    let count = x.positions() as f64;
    let channels = 0..x.channels();
    let constant: Vec<f32> =
        channels.clone().map(|c| (-f64::from(scale[c]) * sums[c] / count) as f32).collect();
    let slope: Vec<f32> = channels
        .map(|c| (-f64::from(scale[c]) * f64::from(inv_std[c]).powi(2) * products[c] / count) as f32)
        .collect();
    rows::split(dz, |range, dz| {
        let spans = Spans::new(0..dz.positions(), &[rows::layout(x), rows::layout(dz.as_ref())]);
        let tiles = [mean, scale, &slope, &constant].map(|values| values.repeat(spans.step));
        subtract_part(isa, x, range.start, spans, &tiles, dz);
    });
}

multiversion! {
    /// `tiles`: mean, scale, slope, constant.
    fn subtract_part(x: MapRef<'_>, first: usize, spans: Spans, tiles: &[Vec<f32>; 4], dz: &mut MapMut<'_>) {
        for span in spans {
            let x = rows::span(x, first + span.start..first + span.end);
            let dz = rows::span_mut(dz, span);
            let n = dz.len();
            let [mean, scale, slope, constant] = [&tiles[0][..n], &tiles[1][..n], &tiles[2][..n], &tiles[3][..n]];
            let x = &x[..n];
            for i in 0..n {
                let through_statistics = mul_add::<FMA>(x[i] - mean[i], slope[i], constant[i]);
                dz[i] = mul_add::<FMA>(dz[i], scale[i], through_statistics);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::norm as reference;
    use crate::test_maps::{TestMap, assert_close, shapes, to_f64, values};

    const EPS: f64 = 1e-3;

    /// Norm of a map with its own statistics and random parameters.
    fn norm_of(x: &[f64], channels: usize, activation: Activation, seed: u64) -> reference::Norm {
        let (mean, var) = reference::statistics(x, channels);
        let inv_std = var.iter().map(|var| 1.0 / (var + EPS).sqrt()).collect();
        let [gamma, beta] = [5, 6].map(|salt| to_f64(&values(channels, 1.5, seed ^ salt)));
        reference::Norm { mean, inv_std, gamma, beta, activation }
    }

    fn to_f32(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&x| x as f32).collect()
    }

    const ACTIVATIONS: [Activation; 3] = [Activation::Identity, Activation::Silu, Activation::Relu6];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn statistics_hold_with_a_large_mean(
            (positions, channels, [gap, _], seed) in shapes(),
            centre in prop_oneof![Just(0.0f32), Just(1000.0), Just(-1000.0)],
        ) {
            let x: Vec<f32> = values(positions * channels, 1.7, seed).iter().map(|x| x + centre).collect();
            let (expected_mean, expected_var) = reference::statistics(&to_f64(&x), channels);
            let x = TestMap::new(&x, channels, gap);
            for &isa in Isa::available() {
                let (mut mean, mut var) = (vec![9.0; channels], vec![9.0; channels]);
                statistics(isa, x.map(), &mut mean, &mut var);
                assert_close(&mean, &expected_mean, 2e-7, isa.name());
                assert_close(&var, &expected_var, 4e-6, isa.name());
            }
        }

        #[test]
        fn forward_equals_the_reference((positions, channels, [gap_x, gap_y], seed) in shapes()) {
            let x = TestMap::random(positions, channels, gap_x, 3.0, seed);
            for (&isa, activation) in Isa::available().iter().flat_map(|isa| ACTIVATIONS.map(|a| (isa, a))) {
                let norm = norm_of(&x.to_f64(), channels, activation, seed);
                let scale: Vec<f64> = norm.gamma.iter().zip(&norm.inv_std).map(|(g, s)| g * s).collect();
                let shift: Vec<f64> = (0..channels).map(|c| norm.beta[c] - norm.mean[c] * scale[c]).collect();
                let mut y = TestMap::random(positions, channels, gap_y, 1.0, seed ^ 3);
                forward(isa, x.map(), &to_f32(&scale), &to_f32(&shift), activation, &mut y.map_mut());
                // A single position has no deviation, so that rounding is scaled by the reciprocal root of epsilon.
                y.assert_close(&norm.forward(&x.to_f64()), 5e-5, &format!("{activation:?} on {}", isa.name()));
            }
        }

        #[test]
        fn backward_equals_the_reference(
            (positions, channels, [gap_x, gap_y], seed) in shapes(),
            batch_statistics: bool,
        ) {
            let x = TestMap::random(positions, channels, gap_x, 3.0, seed);
            let random_dy = values(positions * channels, 1.0, seed ^ 1);
            let before = values(channels, 1.0, seed ^ 2);
            for (&isa, activation) in Isa::available().iter().flat_map(|isa| ACTIVATIONS.map(|a| (isa, a))) {
                let context = format!("{activation:?} on {}", isa.name());
                let mut norm = norm_of(&x.to_f64(), channels, activation, seed);
                let [mean, inv_std, gamma, beta] =
                    [&norm.mean, &norm.inv_std, &norm.gamma, &norm.beta].map(|values| to_f32(values));
                (norm.mean, norm.inv_std) = (to_f64(&mean), to_f64(&inv_std));
                // At a kink of ReLU6 rounding decides the side, so that no gradient may come from there.
                let near_kink = |z: f64| activation == Activation::Relu6 && z.abs().min((z - 6.0).abs()) < 1e-4;
                let dy: Vec<f32> = random_dy.iter().zip(norm.before_activation(&x.to_f64()))
                    .map(|(&dy, z)| if near_kink(z) { 0.0 } else { dy }).collect();
                let dy = TestMap::new(&dy, channels, gap_y);
                let (dx, d_gamma, d_beta) = norm.backward(&x.to_f64(), &dy.to_f64(), batch_statistics);
                let (mut actual_gamma, mut actual_beta, mut actual) = (before.clone(), before.clone(), dy.clone());
                backward_in_place(
                    isa, x.map(), &mean, &inv_std, &gamma, &beta, activation, batch_statistics,
                    &mut actual.map_mut(), &mut actual_gamma, &mut actual_beta,
                );
                let plus_before = |sums: &[f64]| -> Vec<f64> {
                    sums.iter().zip(&before).map(|(s, b)| s + f64::from(*b)).collect()
                };
                let many = (positions as f64).sqrt();
                // The three terms of a gradient are as large as its factor, and may cancel.
                let factor = gamma.iter().zip(&inv_std).map(|(g, s)| f64::from((g * s).abs())).fold(1.0, f64::max);
                actual.assert_close(&dx, 3e-6 * factor, &context);
                assert_close(&actual_beta, &plus_before(&d_beta), 1e-6 * many, &context);
                assert_close(&actual_gamma, &plus_before(&d_gamma), 2e-6 * many, &context);
            }
        }
    }

    /// Sum of the outputs weighted by `dy`, with the statistics of `x`.
    fn objective(x: &[f64], norm: &reference::Norm, dy: &[f64], batch_statistics: bool) -> f64 {
        let mut norm = norm.clone();
        if batch_statistics {
            let (mean, var) = reference::statistics(x, norm.mean.len());
            norm.inv_std = var.iter().map(|var| 1.0 / (var + EPS).sqrt()).collect();
            norm.mean = mean;
        }
        norm.forward(x).iter().zip(dy).map(|(y, dy)| y * dy).sum()
    }

    #[test]
    fn reference_gradients_are_finite_differences() {
        const STEP: f64 = 1e-5;
        let (channels, rows) = (3, 7);
        let x = to_f64(&values(channels * rows, 2.0, 11));
        let dy = to_f64(&values(channels * rows, 1.0, 12));
        for (activation, batch_statistics) in [Activation::Identity, Activation::Silu, Activation::Sigmoid]
            .map(|a| [(a, true), (a, false)])
            .concat()
        {
            let norm = norm_of(&x, channels, activation, 13);
            let difference = |change: &dyn Fn(f64, &mut Vec<f64>, &mut reference::Norm)| {
                let at = |step: f64| {
                    let (mut x, mut norm) = (x.clone(), norm.clone());
                    change(step, &mut x, &mut norm);
                    objective(&x, &norm, &dy, batch_statistics)
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            };
            let (dx, d_gamma, d_beta) = norm.backward(&x, &dy, batch_statistics);
            let close = |a: f64, b: f64| {
                assert!((a - b).abs() < 1e-7, "{activation:?} {batch_statistics}: {a} and {b}")
            };
            (0..x.len()).for_each(|i| close(dx[i], difference(&|step, x, _| x[i] += step)));
            (0..channels).for_each(|c| close(d_gamma[c], difference(&|step, _, norm| norm.gamma[c] += step)));
            (0..channels).for_each(|c| close(d_beta[c], difference(&|step, _, norm| norm.beta[c] += step)));
        }
    }

    #[test]
    fn the_same_threads_give_the_same_bits() {
        let x = TestMap::random(3000, 40, 0, 1.0, 1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        let run = || {
            pool.install(|| {
                let (mut mean, mut var) = (vec![0.0; 40], vec![0.0; 40]);
                statistics(Isa::best(), x.map(), &mut mean, &mut var);
                (mean, var)
            })
        };
        let first = run();
        (0..20).for_each(|_| assert_eq!(run(), first));
    }
}
