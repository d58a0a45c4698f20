//! Exponentials over slices, as straight-line code that becomes SIMD.

/// `e^x` for `x <= 0`, relative error below 2e-7; 0 below -87. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp_negative(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the products of the first with the exponent are exact.
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor series; |r| <= ln(2) / 2, so the first term left out is below 1e-8.
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 120.0 + r * p;
    let p = 1.0 / 24.0 + r * p;
    let p = 1.0 / 6.0 + r * p;
    let p = 0.5 + r * p;
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
    let p = 1.0 / 13.0 + w * (1.0 / 15.0);
    let p = 1.0 / 11.0 + w * p;
    let p = 1.0 / 9.0 + w * p;
    let p = 1.0 / 7.0 + w * p;
    let p = 1.0 / 5.0 + w * p;
    let p = 1.0 / 3.0 + w * p;
    let ln_1p = 2.0 * z + 2.0 * z * w * p;
    let positive = if x < 0.0 { 0.0 } else { x };
    (sigmoid, positive + ln_1p)
}

/// Sigmoid of one value.
pub(crate) fn sigmoid(x: f32) -> f32 {
    sigmoid_and_softplus(x).0
}

/// Writes the softmax of `logits` to `probabilities` and returns the logarithm of the sum of exponentials.
pub(crate) fn softmax(logits: &[f32], probabilities: &mut [f32]) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &logit| if logit > max { logit } else { max });
    for (probability, &logit) in probabilities.iter_mut().zip(logits) {
        *probability = exp_negative(logit - max);
    }
    let sum: f32 = probabilities.iter().sum();
    let scale = 1.0 / sum;
    probabilities.iter_mut().for_each(|probability| *probability *= scale);
    max as f64 + (sum as f64).ln()
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
    fn softmax_sums_to_one() {
        let mut p = [0.0; 3];
        let lse = softmax(&[1000.0, 999.0, -1000.0], &mut p);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((lse - (1000.0 + (1.0 + (-1.0f64).exp()).ln())).abs() < 1e-6, "{lse}");
    }
}
