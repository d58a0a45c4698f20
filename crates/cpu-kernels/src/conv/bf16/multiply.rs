//! Products of pairs of bf16 values: in one instruction, and in steps.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use crate::conv::micro::Multiply;
use crate::vector::{Lanes, Vector};

/// Bits of the second value of a pair, which are those of an f32 but for its last 16.
const SECOND: u32 = 0xffff_0000;

/// `sum + x[1] * w[1] + x[0] * w[0]` in one instruction. It takes subnormal numbers for zeros.
#[cfg(target_arch = "x86_64")]
pub(in crate::conv) struct Native;

#[cfg(target_arch = "x86_64")]
impl Multiply<__m512> for Native {
    type Factor = __m512bh;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512bh {
        // SAFETY: the caller's promise, as in the functions below; both types are 512 bits of any value.
        unsafe { transmute(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512bh {
        // SAFETY: as above.
        unsafe { transmute(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m512bh, w: __m512bh, sum: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_dpbf16_ps(sum, x, w) }
    }
}

/// The same in two steps of f32, in the same order. A product of two bf16 values has no more bits than an f32, so that only the
/// sums are rounded, fused or not.
pub(in crate::conv) struct Emulated;

impl<S: Halves> Multiply<S> for Emulated {
    type Factor = [S; 2];

    #[inline(always)]
    unsafe fn splat(value: f32) -> [S; 2] {
        let bits = value.to_bits();
        // SAFETY: the caller's promise, as in the functions below.
        unsafe { [S::splat(f32::from_bits(bits << 16)), S::splat(f32::from_bits(bits & SECOND))] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [S; 2] {
        // SAFETY: as above.
        unsafe {
            let pairs = S::load(from);
            [pairs.first(), pairs.second()]
        }
    }

    #[inline(always)]
    unsafe fn mul_add(x: [S; 2], w: [S; 2], sum: S) -> S {
        // SAFETY: as above.
        unsafe { x[0].mul_add(w[0], x[1].mul_add(w[1], sum)) }
    }
}

/// A vector whose lanes can be pairs of bf16 values.
pub(in crate::conv) trait Halves: Vector {
    /// The first value of every lane's pair.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn first(self) -> Self;

    /// The second.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn second(self) -> Self;
}

impl<const N: usize, const FMA: bool> Halves for Lanes<N, FMA> {
    #[inline(always)]
    unsafe fn first(self) -> Self {
        Lanes(self.0.map(|pair| f32::from_bits(pair.to_bits() << 16)))
    }

    #[inline(always)]
    unsafe fn second(self) -> Self {
        Lanes(self.0.map(|pair| f32::from_bits(pair.to_bits() & SECOND)))
    }
}

/// Implements [`Halves`] with the intrinsics that shift and mask integers.
#[cfg(target_arch = "x86_64")]
macro_rules! halves {
    ($register:ty, $to_integers:ident, $shift:ident, $splat:ident, $and:ident, $to_floats:ident) => {
        impl Halves for $register {
            #[inline(always)]
            unsafe fn first(self) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $to_floats($shift::<16>($to_integers(self))) }
            }

            #[inline(always)]
            unsafe fn second(self) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $to_floats($and($to_integers(self), $splat(SECOND.cast_signed()))) }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
halves!(__m128, _mm_castps_si128, _mm_slli_epi32, _mm_set1_epi32, _mm_and_si128, _mm_castsi128_ps);
#[cfg(target_arch = "x86_64")]
halves!(
    __m256,
    _mm256_castps_si256,
    _mm256_slli_epi32,
    _mm256_set1_epi32,
    _mm256_and_si256,
    _mm256_castsi256_ps
);
#[cfg(target_arch = "x86_64")]
halves!(
    __m512,
    _mm512_castps_si512,
    _mm512_slli_epi32,
    _mm512_set1_epi32,
    _mm512_and_si512,
    _mm512_castsi512_ps
);
