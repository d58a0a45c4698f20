//! Rounding to bf16: 8 bits of exponent, 7 of fraction.

/// The nearest bf16 value; of two, the one whose last place is even. Above the largest it is infinite.
pub fn round(value: f32) -> f64 {
    let value = f64::from(value);
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let exponent = value.abs().log2().floor().max(-126.0);
    let last_place = (exponent - 7.0).exp2();
    let rounded = (value / last_place).round_ties_even() * last_place;
    if rounded.abs() < 128.0_f64.exp2() { rounded } else { rounded.signum() * f64::INFINITY }
}
