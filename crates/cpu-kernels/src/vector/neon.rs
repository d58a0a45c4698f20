//! The vectors of NEON.

use std::arch::aarch64::*;

use super::Vector;
use crate::precision::BF16_BITS;

impl Vector for float32x4_t {
    const LANES: usize = 4;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's promise, as in the functions below.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { vst1q_f32(to, self) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as above.
        unsafe { vfmaq_f32(term, self, factor) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vmulq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vdivq_f32(self, other) }
    }

    // Compared and selected: the instructions for maximum and minimum treat NaN and the sign of zero in another way.
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcgtq_f32(self, other), self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcltq_f32(self, other), self, other) }
    }

    #[inline(always)]
    unsafe fn two_to_low_bits(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let biased = vaddq_u32(vreinterpretq_u32_f32(self), vdupq_n_u32(127));
            vreinterpretq_f32_u32(vshlq_n_u32::<23>(biased))
        }
    }

    #[inline(always)]
    unsafe fn to_bf16(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = vreinterpretq_u32_f32(self);
            let last = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let to_nearest = vaddq_u32(bits, vaddq_u32(last, vdupq_n_u32(0x7fff)));
            let upper = vreinterpretq_f32_u32(vandq_u32(to_nearest, vdupq_n_u32(BF16_BITS)));
            vbslq_f32(vceqq_f32(self, self), upper, self)
        }
    }
}
