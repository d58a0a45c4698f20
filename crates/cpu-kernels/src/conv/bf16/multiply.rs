//! Products of pairs of bf16 values.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

#[cfg(any(target_arch = "x86_64", test))]
use crate::conv::micro::Multiply;

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

/// The same in steps, for tests on CPUs without the instruction.
#[cfg(test)]
pub(in crate::conv) mod stepwise {
    use super::Multiply;
    use crate::precision::BF16_BITS;
    use crate::vector::{Lanes, Vector};

    /// A product of two bf16 values has no more bits than an f32, so that only the sums are rounded, fused or not.
    pub(in crate::conv) struct Stepwise;

    type Sixteen = Lanes<16, false>;

    fn halves(pairs: Sixteen) -> [Sixteen; 2] {
        [
            Lanes(pairs.0.map(|pair| f32::from_bits(pair.to_bits() << 16))),
            Lanes(pairs.0.map(|pair| f32::from_bits(pair.to_bits() & BF16_BITS))),
        ]
    }

    impl Multiply<Sixteen> for Stepwise {
        type Factor = [Sixteen; 2];

        unsafe fn splat(value: f32) -> [Sixteen; 2] {
            // SAFETY: plain values need no instruction set.
            halves(unsafe { Sixteen::splat(value) })
        }

        unsafe fn load(from: *const f32) -> [Sixteen; 2] {
            // SAFETY: the caller's promise.
            halves(unsafe { Sixteen::load(from) })
        }

        unsafe fn mul_add(x: [Sixteen; 2], w: [Sixteen; 2], sum: Sixteen) -> Sixteen {
            // SAFETY: plain values need no instruction set.
            unsafe { x[0].mul_add(w[0], x[1].mul_add(w[1], sum)) }
        }
    }
}
