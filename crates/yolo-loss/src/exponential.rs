//! Exponentials over slices, as straight-line code that becomes SIMD.

/// `e^x` for `x <= 0`, relative error below 2e-7; 0 below -87. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp_negative(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the products of the first with the exponent are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    // (e^r - 1 - r) / r^2 interpolated in the Chebyshev nodes of |r| <= ln(2) / 2; relative error of e^r 1e-8.
    const POLYNOMIAL: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_552, 0.008_363_293, 0.001_392_632_6];
    let [c2, c3, c4, c5, c6] = POLYNOMIAL;
    let p = c2 + r * (c3 + r * (c4 + r * (c5 + r * c6)));
    let e_r = 1.0 + (r + r * r * p);
    let two_n = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { e_r * two_n }
}

/// The sigmoid and `ln(1 + e^x)`, both with a relative error below 4e-7 where `|x| < 87`.
#[inline(always)]
pub(crate) fn sigmoid_and_softplus(x: f32) -> (f32, f32) {
    let e = exp_negative(-x.abs());
    // One division serves both 1 / (1 + e) and z = e / (2 + e).
    let quotient = 1.0 / ((1.0 + e) * (2.0 + e));
    let high = (2.0 + e) * quotient;
    let sigmoid = if x < 0.0 { e * high } else { high };
    // ln(1 + e) = 2 artanh z, z <= 1/3: exact to the last places also where e is tiny.
    let z = e * (1.0 + e) * quotient;
    let w = z * z;
    // (artanh(z) / z - 1) / w interpolated in the Chebyshev nodes of w <= 1/9; relative error of artanh 2e-8.
    const POLYNOMIAL: [f32; 4] = [0.333_333_2, 0.200_037_8, 0.141_183_1, 0.134_257_5];
    let [c1, c2, c3, c4] = POLYNOMIAL;
    let p = c1 + w * (c2 + w * (c3 + w * c4));
    let ln_1p = 2.0 * z + 2.0 * z * w * p;
    let positive = if x < 0.0 { 0.0 } else { x };
    (sigmoid, positive + ln_1p)
}

/// Sigmoid of one value.
pub(crate) fn sigmoid(x: f32) -> f32 {
    sigmoid_and_softplus(x).0
}

/// A softmax before its division.
pub(crate) struct Exponentials {
    max: f32,
    /// Sum of the exponentials.
    pub(crate) sum: f32,
}

impl Exponentials {
    /// Writes `e^(logit - max)` to `exponentials`.
    pub(crate) fn new(logits: &[f32], exponentials: &mut [f32]) -> Self {
        let max = fold_lanes(logits, f32::NEG_INFINITY, |max, logit| if logit > max { logit } else { max });
        for (exponential, &logit) in exponentials.iter_mut().zip(logits) {
            *exponential = exp_negative(logit - max);
        }
        Exponentials { max, sum: fold_lanes(exponentials, 0.0, |sum, exponential| sum + exponential) }
    }

    /// Logarithm of the sum of the exponentials of the logits.
    pub(crate) fn log_sum(&self) -> f64 {
        self.max as f64 + (self.sum as f64).ln()
    }
}

/// Folds four values side by side, in an order that depends only on the length.
#[inline(always)]
fn fold_lanes(values: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks, rest) = values.as_chunks::<4>();
    let mut lanes = [start; 4];
    for block in blocks {
        for lane in 0..4 {
            lanes[lane] = combine(lanes[lane], block[lane]);
        }
    }
    rest.iter().chain(&lanes).fold(start, |folded, &value| combine(folded, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_and_softplus_agree_with_f64() {
        for i in -8600..=8600 {
            let x = i as f32 * 0.01;
            let (sigmoid, softplus) = sigmoid_and_softplus(x);
            let exact = 1.0 / (1.0 + (-x as f64).exp());
            let exact_softplus = (x as f64).max(0.0) + (-(x as f64).abs()).exp().ln_1p();
            assert!(
                (sigmoid as f64 / exact - 1.0).abs() < 4e-7,
                "sigmoid({x}) = {sigmoid}, expected {exact}"
            );
            assert!(
                (softplus as f64 / exact_softplus - 1.0).abs() < 4e-7,
                "softplus({x}): {softplus}, {exact_softplus}"
            );
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays_visible() {
        assert_eq!(sigmoid_and_softplus(1e30), (1.0, 1e30));
        assert_eq!(sigmoid_and_softplus(-1e30), (0.0, 0.0));
        let (sigmoid, softplus) = sigmoid_and_softplus(f32::NAN);
        assert!(sigmoid.is_nan() && softplus.is_nan());
    }

    #[test]
    fn exponentials_of_any_length() {
        for len in 1..20 {
            let logits: Vec<f32> = (0..len).map(|i| 1000.0 - 0.7 * ((i * 5) % 7) as f32).collect();
            let mut exponentials = vec![0.0; len];
            let log_sum = Exponentials::new(&logits, &mut exponentials).log_sum();
            let exact = 1000.0 + logits.iter().map(|&logit| (logit as f64 - 1000.0).exp()).sum::<f64>().ln();
            assert!((log_sum - exact).abs() < 1e-6, "{log_sum}, expected {exact}");
        }
    }
}
