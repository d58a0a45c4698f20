//! Activation functions, one value at a time (for the epilogues of other kernels) and over maps.

use crate::isa::{mul_add, multiversion};
use crate::rows::{self, Spans};
use crate::vector::{Lanes, Vector};
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

/// `e^x`, off by at most 3e-7 of itself where `|x| <= 16`, by 5e-7 up to [`EXP_LIMIT`]; beyond, the value at the limit. NaN
/// stays NaN.
///
/// Straight-line code without calls: in a loop of a function that has SIMD instructions it becomes SIMD.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // SAFETY: a single lane needs no instruction set.
    let [p, scale] = unsafe { negative_exp(Lanes::<1, FMA>([-x])) };
    p.0[0] * scale.0[0]
}

/// `[p, 2^n]` with `e^-x = p * 2^n`, of a vector.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn negative_exp<V: Vector>(x: V) -> [V; 2] {
    // Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to the nearest integer and holds it in its low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few bits that its products with the exponent are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // The best (1 + r + c2 r^2 + ... + c5 r^5) / e^r - 1 where |r| <= ln(2) / 2: at most 1.05e-7.
    const POLYNOMIAL: [f32; 4] = [0.499_992_3, 0.166_671_16, 0.041_890_33, 0.008_312_501];

    // SAFETY: the caller's promise.
    unsafe {
        let x = V::splat(EXP_LIMIT).min(V::splat(-EXP_LIMIT).max(x));
        let shifted = x.mul_add(V::splat(-std::f32::consts::LOG2_E), V::splat(ROUND));
        let n = shifted.sub(V::splat(ROUND));
        // -r: what the exponent leaves of x.
        let rest = if V::FUSED {
            // The nearest f32 is off by 2e-9 only.
            n.mul_add(V::splat(std::f32::consts::LN_2), x)
        } else {
            n.mul_add(V::splat(LN_2_LOW), n.mul_add(V::splat(LN_2_HIGH), x))
        };
        // Pairs first, so that the chain of dependent operations is short.
        let [c2, c3, c4, c5] = POLYNOMIAL;
        let pair = |even: f32, odd: f32| rest.mul_add(V::splat(-odd), V::splat(even));
        let (r_2, low) = (rest.mul(rest), V::splat(1.0).sub(rest));
        let (r_4, low) = (r_2.mul(r_2), pair(c2, c3).mul_add(r_2, low));
        [pair(c4, c5).mul_add(r_4, low), shifted.two_to_low_bits()]
    }
}

/// `1 + e^-x` of a vector.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn one_plus_negative_exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let [p, scale] = negative_exp(x);
        p.mul_add(scale, V::splat(1.0))
    }
}

/// `1 / (1 + e^-x)`: in `[0, 1]`, off by at most `2e-7`; 0 (within `2e-38`) and 1 at the infinities.
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    activate::<FMA>(Activation::Sigmoid, x)
}

/// The value of the activation at `x`.
///
/// Relative error of SiLU and sigmoid at most 3e-7 where `|x| <= 16`, 5e-7 where `|x| <= EXP_LIMIT`; absolute error at most
/// `1e-35` below; the others are exact. NaN stays NaN, and SiLU of minus infinity is minus infinity: what is not finite stays visible.
#[inline(always)]
pub fn activate<const FMA: bool>(activation: Activation, x: f32) -> f32 {
    // SAFETY: a single lane needs no instruction set.
    unsafe { activate_vector(activation, Lanes::<1, FMA>([x])).0[0] }
}

/// [`activate`] of a vector: the same bits in every lane.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn activate_vector<V: Vector>(activation: Activation, x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = V::splat(0.0);
        match activation {
            Activation::Identity => x,
            Activation::Silu => x.div(one_plus_negative_exp(x)),
            Activation::Relu => zero.max(x),
            Activation::Relu6 => V::splat(6.0).min(zero.max(x)),
            Activation::Sigmoid => V::splat(1.0).div(one_plus_negative_exp(x)),
        }
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
    fn backward_part(
        activation: Activation,
        x: MapRef<'_>,
        dy: MapRef<'_>,
        first: usize,
        accumulate: bool,
        dx: &mut MapMut<'_>,
    ) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::activation as reference;
    use crate::test_maps::{TestMap, shapes};

    const ALL: [Activation; 5] =
        [Activation::Identity, Activation::Silu, Activation::Relu, Activation::Relu6, Activation::Sigmoid];

    /// Both ways of rounding `a * b + c`.
    fn both(x: f32, f: [fn(f32) -> f32; 2]) -> [f32; 2] {
        f.map(|f| f(x))
    }

    fn grid() -> impl Iterator<Item = f32> {
        up_to(16.0).chain(up_to(EXP_LIMIT))
    }

    fn up_to(limit: f32) -> impl Iterator<Item = f32> {
        (-1_000_000..=1_000_000).map(move |i| i as f32 * (limit / 1e6))
    }

    #[test]
    fn exp_keeps_its_relative_error() {
        for x in grid() {
            for y in both(x, [exp::<false>, exp::<true>]) {
                let exact = f64::from(x).exp();
                let error = (f64::from(y) - exact).abs();
                assert!(error <= limit(x) * exact, "exp({x}) = {y}, expected {exact}");
            }
        }
    }

    /// Relative error at `x`.
    fn limit(x: f32) -> f64 {
        if x.abs() <= 16.0 { 3e-7 } else { 5e-7 }
    }

    #[test]
    fn sigmoid_and_silu_keep_their_relative_error() {
        for x in grid() {
            for activation in [Activation::Sigmoid, Activation::Silu] {
                let exact = reference::activate(activation, f64::from(x));
                for y in [activate::<false>(activation, x), activate::<true>(activation, x)] {
                    let error = (f64::from(y) - exact).abs();
                    assert!(
                        activation == Activation::Silu || error <= 2e-7,
                        "sigmoid({x}) = {y}, expected {exact}"
                    );
                    assert!(error <= limit(x) * exact.abs(), "{activation:?}({x}) = {y}, expected {exact}");
                }
            }
        }
    }

    #[test]
    fn sigmoid_is_bounded_and_rises_and_silu_keeps_the_sign() {
        let mut last = 0.0f32;
        for x in up_to(EXP_LIMIT) {
            let s = sigmoid::<true>(x);
            assert!((0.0..=1.0).contains(&s) && s >= last - 2.5e-7, "sigmoid({x}) = {s} after {last}");
            last = s;
            let silu = activate::<true>(Activation::Silu, x);
            assert!(silu == 0.0 || silu.is_sign_negative() == x.is_sign_negative(), "silu({x}) = {silu}");
        }
    }

    #[test]
    fn far_and_infinite_inputs_saturate_and_nan_stays() {
        for far in [88.0, 100.0, 1e4, f32::MAX, f32::INFINITY] {
            for s in both(far, [sigmoid::<false>, sigmoid::<true>]) {
                assert_eq!(s, 1.0, "sigmoid({far})");
            }
            for s in both(-far, [sigmoid::<false>, sigmoid::<true>]) {
                assert!((0.0..2e-38).contains(&s), "sigmoid(-{far}) = {s}");
            }
            assert_eq!(activate::<true>(Activation::Silu, far), far);
        }
        assert!(activate::<true>(Activation::Silu, -100.0).abs() < 1e-35);
        for activation in ALL {
            assert!(activate::<true>(activation, f32::NAN).is_nan(), "{activation:?}");
            assert!(activate::<false>(activation, f32::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn derivatives_at_kinks_are_zero() {
        for (activation, x) in [(Activation::Relu, 0.0), (Activation::Relu6, 0.0), (Activation::Relu6, 6.0)] {
            assert_eq!(derivative::<true>(activation, x), 0.0, "{activation:?} at {x}");
        }
    }

    #[test]
    fn derivatives_are_slopes_of_the_reference() {
        for i in -4000..4000 {
            let x = f64::from(i) / 200.0 + 1e-3;
            for activation in ALL {
                let slope = (reference::activate(activation, x + 1e-5)
                    - reference::activate(activation, x - 1e-5))
                    / 2e-5;
                for d in [derivative::<false>(activation, x as f32), derivative::<true>(activation, x as f32)]
                {
                    assert!(
                        (f64::from(d) - slope).abs() < 1e-6,
                        "{activation:?}'({x}) = {d}, expected {slope}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn maps_equal_the_reference((positions, channels, [gap_x, gap_y], seed) in shapes(), accumulate: bool) {
            let x = TestMap::random(positions, channels, gap_x, 9.0, seed);
            let dy = TestMap::random(positions, channels, gap_y, 2.0, seed ^ 1);
            let before = TestMap::random(positions, channels, gap_y, 2.0, seed ^ 2);
            for (&isa, activation) in Isa::available().iter().flat_map(|isa| ALL.map(|a| (isa, a))) {
                let context = format!("{activation:?} on {}", isa.name());
                let expected: Vec<f64> = x.to_f64().iter().map(|&x| reference::activate(activation, x)).collect();
                let mut y = before.clone();
                forward(isa, activation, x.map(), &mut y.map_mut());
                y.assert_close(&expected, 1e-6, &context);
                let mut y = x.clone();
                forward_in_place(isa, activation, &mut y.map_mut());
                y.assert_close(&expected, 1e-6, &context);

                let mut dx = before.clone();
                backward(isa, activation, x.map(), dy.map(), accumulate, &mut dx.map_mut());
                let gradient = |((x, dy), before): ((f64, f64), f64)| {
                    dy * reference::derivative(activation, x) + if accumulate { before } else { 0.0 }
                };
                let inputs = x.to_f64().into_iter().zip(dy.to_f64()).zip(before.to_f64());
                let expected: Vec<f64> = inputs.map(gradient).collect();
                dx.assert_close(&expected, 2e-6, &context);
            }
        }
    }
}
