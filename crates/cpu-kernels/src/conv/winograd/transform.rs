//! The transforms of F(4x4, 3x3) along one axis; a square is transformed along its columns, then along its rows.
//!
//! Points 0, 1, -1, 2, -2 and infinity; the matrices are those of Lavin and Gray (arXiv 1509.09308, section 4.3).

use super::{INPUTS, OUTPUTS, TAPS};
use crate::vector::Vector;

/// `B^T`: from inputs to points.
///
/// # Safety
/// The CPU has the instructions of `V`, as for the other functions.
#[inline(always)]
pub(super) unsafe fn inputs<V: Vector>(d: [V; INPUTS]) -> [V; INPUTS] {
    // SAFETY: the caller's promise.
    unsafe {
        let (minus_4, four) = (V::splat(-4.0), V::splat(4.0));
        let (a, b) = (d[2].mul_add(minus_4, d[4]), d[1].mul_add(minus_4, d[3]));
        let (c, e) = (d[4].sub(d[2]), d[3].sub(d[1]));
        let e = e.add(e);
        [
            d[0].mul_add(four, d[2].mul_add(V::splat(-5.0), d[4])),
            a.add(b),
            a.sub(b),
            c.add(e),
            c.sub(e),
            d[1].mul_add(four, d[3].mul_add(V::splat(-5.0), d[5])),
        ]
    }
}

/// `A^T`: from points to outputs.
///
/// # Safety
/// As [`inputs`].
#[inline(always)]
pub(super) unsafe fn outputs<V: Vector>(m: [V; INPUTS]) -> [V; OUTPUTS] {
    // SAFETY: the caller's promise.
    unsafe {
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum).add(far_sum),
            far_difference.mul_add(V::splat(2.0), difference),
            far_sum.mul_add(V::splat(4.0), sum),
            far_difference.mul_add(V::splat(8.0), difference).add(m[5]),
        ]
    }
}

/// `A`: from gradients of outputs to gradients of points.
///
/// # Safety
/// As [`inputs`].
#[inline(always)]
pub(super) unsafe fn output_gradients<V: Vector>(y: [V; OUTPUTS]) -> [V; INPUTS] {
    // SAFETY: the caller's promise.
    unsafe {
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let far_even = y[2].mul_add(V::splat(4.0), y[0]);
        let far_odd = y[3].mul_add(V::splat(8.0), y[1].add(y[1]));
        [y[0], even.add(odd), even.sub(odd), far_even.add(far_odd), far_even.sub(far_odd), y[3]]
    }
}

/// `G`: from taps to points.
///
/// # Safety
/// As [`inputs`].
#[inline(always)]
pub(super) unsafe fn taps<V: Vector>(w: [V; TAPS]) -> [V; INPUTS] {
    // SAFETY: the caller's promise.
    unsafe {
        let (minus_sixth, twelfth) = (V::splat(-1.0 / 6.0), V::splat(1.0 / 12.0));
        let ends = w[0].add(w[2]);
        let far = w[2].mul_add(V::splat(4.0), w[0]).mul(V::splat(1.0 / 24.0));
        [
            w[0].mul(V::splat(0.25)),
            ends.add(w[1]).mul(minus_sixth),
            ends.sub(w[1]).mul(minus_sixth),
            w[1].mul_add(twelfth, far),
            far.sub(w[1].mul(twelfth)),
            w[2],
        ]
    }
}

/// `G^T`: from gradients of points to gradients of taps.
///
/// # Safety
/// As [`inputs`].
#[inline(always)]
pub(super) unsafe fn tap_gradients<V: Vector>(m: [V; INPUTS]) -> [V; TAPS] {
    // SAFETY: the caller's promise.
    unsafe {
        let sixth = V::splat(1.0 / 6.0);
        let near = m[1].add(m[2]).mul(sixth);
        let far = m[3].add(m[4]);
        [
            m[0].mul_add(V::splat(0.25), far.mul_add(V::splat(1.0 / 24.0), V::splat(0.0).sub(near))),
            m[2].sub(m[1]).mul_add(sixth, m[3].sub(m[4]).mul(V::splat(1.0 / 12.0))),
            far.mul_add(sixth, m[5].sub(near)),
        ]
    }
}
