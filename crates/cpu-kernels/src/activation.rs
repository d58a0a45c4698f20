//! Activation functions, one value at a time (for the epilogues of other kernels) and over maps.

use crate::isa::{mul_add, multiversion};
use crate::rows::{self, Spans};
use crate::{Isa, MapMut, MapRef};

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `x * sigmoid(x)`, also called swish (arXiv 1710.05941).
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

/// Arguments of [`exp`] are clamped to plus and minus this: `e^87` and its reciprocal are both normal numbers.
pub const EXP_LIMIT: f32 = 87.0;

/// `e^x`, at most 2 units in the last place off where `|x| <= EXP_LIMIT`; beyond, the value at the limit. NaN stays NaN.
///
/// Straight-line code without calls: in a loop of a function that has SIMD instructions it becomes SIMD.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to the nearest integer and holds it in its low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few bits that its products with the exponent are exact.
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // (e^r - 1 - r) / r^2 interpolated in the Chebyshev nodes of |r| <= ln(2) / 2; relative error of e^r 1.1e-8.
    const POLYNOMIAL: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_552, 0.008_363_233, 0.001_392_625];

    // Written so that NaN fails both comparisons.
    let x = if x < -EXP_LIMIT { -EXP_LIMIT } else { x };
    let x = if x > EXP_LIMIT { EXP_LIMIT } else { x };
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN_2_LOW, mul_add::<FMA>(n, -LN_2_HIGH, x));
    let [c2, c3, c4, c5, c6] = POLYNOMIAL;
    let p = mul_add::<FMA>(mul_add::<FMA>(mul_add::<FMA>(mul_add::<FMA>(c6, r, c5), r, c4), r, c3), r, c2);
    let e_r = mul_add::<FMA>(p, r * r, r) + 1.0;
    let two_n = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    e_r * two_n
}

/// `1 / (1 + e^-x)`: in `[0, 1]`, off by at most `2e-7`; 0 (within `2e-38`) and 1 at the infinities.
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The value of the activation at `x`.
///
/// Relative error of SiLU and sigmoid at most 4e-7 where `|x| <= EXP_LIMIT`, absolute error at most `1e-35` below; the
/// others are exact. NaN stays NaN, and SiLU of minus infinity is minus infinity: what is not finite stays visible.
#[inline(always)]
pub fn activate<const FMA: bool>(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Identity => x,
        Activation::Silu => x / (1.0 + exp::<FMA>(-x)),
        Activation::Relu => positive(x),
        Activation::Relu6 => {
            if x > 6.0 {
                6.0
            } else {
                positive(x)
            }
        }
        Activation::Sigmoid => sigmoid::<FMA>(x),
    }
}

/// The derivative of the activation at `x`, the value before the activation: 0 at ReLU's kink, and at both of ReLU6's.
#[inline(always)]
pub fn derivative<const FMA: bool>(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Silu => {
            let (s, one_minus_s) = sigmoid_pair::<FMA>(x);
            mul_add::<FMA>(x * one_minus_s, s, s)
        }
        Activation::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::Relu6 => {
            if x > 0.0 && x < 6.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::Sigmoid => {
            let (s, one_minus_s) = sigmoid_pair::<FMA>(x);
            s * one_minus_s
        }
    }
}

/// `max(x, 0)` that lets NaN through.
#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `sigmoid(x)` and `1 - sigmoid(x)`, the second without cancellation.
#[inline(always)]
fn sigmoid_pair<const FMA: bool>(x: f32) -> (f32, f32) {
    let e = exp::<FMA>(-x);
    let s = 1.0 / (1.0 + e);
    (s, e * s)
}

/// Evaluates an expression with the activation as a constant, so that a loop in it is compiled for each one.
macro_rules! for_constant {
    ($activation:expr, $constant:ident => $body:expr) => {
        match $activation {
            $crate::Activation::Identity => {
                const $constant: $crate::Activation = $crate::Activation::Identity;
                $body
            }
            $crate::Activation::Silu => {
                const $constant: $crate::Activation = $crate::Activation::Silu;
                $body
            }
            $crate::Activation::Relu => {
                const $constant: $crate::Activation = $crate::Activation::Relu;
                $body
            }
            $crate::Activation::Relu6 => {
                const $constant: $crate::Activation = $crate::Activation::Relu6;
                $body
            }
            $crate::Activation::Sigmoid => {
                const $constant: $crate::Activation = $crate::Activation::Sigmoid;
                $body
            }
        }
    };
}
pub(crate) use for_constant;

/// `y = activation(x)`.
///
/// # Panics
/// When the maps have different shapes.
pub fn forward(isa: Isa, activation: Activation, x: MapRef<'_>, y: &mut MapMut<'_>) {
    rows::assert_alike(x, y.as_ref());
    rows::split(y, |range, y| forward_part(isa, activation, x, range.start, y));
}

/// `y = activation(y)`.
pub fn forward_in_place(isa: Isa, activation: Activation, y: &mut MapMut<'_>) {
    rows::split(y, |_, y| forward_in_place_part(isa, activation, y));
}

/// `dx = dy * activation'(x)`, or added to `dx` if `accumulate`; `x` is the map before the activation.
///
/// # Panics
/// When the maps have different shapes.
pub fn backward(
    isa: Isa,
    activation: Activation,
    x: MapRef<'_>,
    dy: MapRef<'_>,
    accumulate: bool,
    dx: &mut MapMut<'_>,
) {
    rows::assert_alike(x, dx.as_ref());
    rows::assert_alike(dy, dx.as_ref());
    rows::split(dx, |range, dx| backward_part(isa, activation, x, dy, range.start, accumulate, dx));
}

multiversion! {
    fn forward_part(activation: Activation, x: MapRef<'_>, first: usize, y: &mut MapMut<'_>) {
        let layouts = [rows::layout(x), rows::layout(y.as_ref())];
        for span in Spans::new(0..y.positions(), &layouts) {
            let x = rows::span(x, first + span.start..first + span.end);
            let y = rows::span_mut(y, span);
            for_constant!(activation, A => for (y, &x) in y.iter_mut().zip(x) {
                *y = activate::<FMA>(A, x);
            })
        }
    }
}

multiversion! {
    fn forward_in_place_part(activation: Activation, y: &mut MapMut<'_>) {
        for span in Spans::new(0..y.positions(), &[rows::layout(y.as_ref())]) {
            let y = rows::span_mut(y, span);
            for_constant!(activation, A => for y in y.iter_mut() {
                *y = activate::<FMA>(A, *y);
            })
        }
    }
}

multiversion! {
    fn backward_part(activation: Activation, x: MapRef<'_>, dy: MapRef<'_>, first: usize, accumulate: bool, dx: &mut MapMut<'_>) {
        let layouts = [rows::layout(x), rows::layout(dy), rows::layout(dx.as_ref())];
        for span in Spans::new(0..dx.positions(), &layouts) {
            let outer = first + span.start..first + span.end;
            let (x, dy) = (rows::span(x, outer.clone()), rows::span(dy, outer));
            let dx = rows::span_mut(dx, span);
            for_constant!(activation, A => if accumulate {
                for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = mul_add::<FMA>(dy, derivative::<FMA>(A, x), *dx);
                }
            } else {
                for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = dy * derivative::<FMA>(A, x);
                }
            })
        }
    }
}
