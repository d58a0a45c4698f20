//! Vectors of neighbouring values, which of them an instruction set has, and code that exists once for each.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::float32x4_t;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

use crate::isa::mul_add;
#[cfg(target_arch = "x86_64")]
use crate::precision::BF16_BITS;
use crate::precision::nearest_bf16;
use crate::{Isa, IsaKind, Precision};

/// Some neighbouring values in a register.
pub(crate) trait Vector: Copy {
    /// Values.
    const LANES: usize;

    /// Whether [`Vector::mul_add`] rounds once.
    const FUSED: bool;

    /// `value` in every lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, as for the other functions.
    unsafe fn splat(value: f32) -> Self;

    /// Reads [`Vector::LANES`] values.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes [`Vector::LANES`] values.
    ///
    /// # Safety
    /// They must be writable, and no other thread may touch them.
    unsafe fn store(self, to: *mut f32);

    /// `self * factor + term`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;

    /// `self + other`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn sub(self, other: Self) -> Self;

    /// `self * other`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn mul(self, other: Self) -> Self;

    /// `self / other`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn div(self, other: Self) -> Self;

    /// `self` where it is greater than `other`, else `other`: a NaN of `other` stays.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn max(self, other: Self) -> Self;

    /// `self` where it is less than `other`, else `other`: a NaN of `other` stays.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn min(self, other: Self) -> Self;

    /// `2^n`, where the lowest 9 bits of the lanes, read as integers, hold `n` from -126 to 127.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn two_to_low_bits(self) -> Self;

    /// The nearest bf16 values, of two the one whose last bit is 0. NaN stays NaN.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn to_bf16(self) -> Self;
}

/// The values in a precision.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn in_precision<V: Vector>(precision: Precision, values: V) -> V {
    match precision {
        Precision::F32 => values,
        // SAFETY: the caller's promise.
        Precision::Bf16 => unsafe { values.to_bf16() },
    }
}

/// Asks for the cache line of an address, so that a later write need not wait for it. Any address will do: it is a hint.
#[inline(always)]
pub(crate) fn prefetch_to_write(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: nothing is read or written.
    unsafe {
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: nothing is read or written.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Lanes that the compiler maps to what the instruction set has.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<const N: usize, const FMA: bool>(pub(crate) [f32; N]);

impl<const N: usize, const FMA: bool> Lanes<N, FMA> {
    #[inline(always)]
    fn with(mut self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for lane in 0..N {
            self.0[lane] = f(self.0[lane], other.0[lane]);
        }
        self
    }
}

impl<const N: usize, const FMA: bool> Vector for Lanes<N, FMA> {
    const LANES: usize = N;
    const FUSED: bool = FMA;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Lanes([value; N])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Lanes(unsafe { from.cast::<[f32; N]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; N]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        let mut sum = term.0;
        for lane in 0..N {
            sum[lane] = mul_add::<FMA>(self.0[lane], factor.0[lane], sum[lane]);
        }
        Lanes(sum)
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn two_to_low_bits(self) -> Self {
        self.with(self, |a, _| f32::from_bits(a.to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    unsafe fn to_bf16(self) -> Self {
        Lanes(self.0.map(nearest_bf16))
    }
}

/// Several vectors that go through a long computation side by side: each step is done for all of them before the next,
/// so that the steps of one fill the time that those of another take.
#[derive(Clone, Copy)]
pub(crate) struct Several<V, const N: usize>(pub(crate) [V; N]);

impl<V: Vector, const N: usize> Several<V, N> {
    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(V, V) -> V) -> Self {
        let mut result = self.0;
        for index in 0..N {
            result[index] = f(self.0[index], other.0[index]);
        }
        Several(result)
    }
}

impl<V: Vector, const N: usize> Vector for Several<V, N> {
    const LANES: usize = N * V::LANES;
    const FUSED: bool = V::FUSED;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's promise, as in the functions below.
        Several([unsafe { V::splat(value) }; N])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Several(std::array::from_fn(|index| unsafe { V::load(from.add(index * V::LANES)) }))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for index in 0..N {
            // SAFETY: as above.
            unsafe { self.0[index].store(to.add(index * V::LANES)) }
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        let mut sum = term.0;
        for index in 0..N {
            // SAFETY: as above.
            sum[index] = unsafe { self.0[index].mul_add(factor.0[index], sum[index]) };
        }
        Several(sum)
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.add(b) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.sub(b) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.mul(b) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.div(b) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.max(b) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        self.with(other, |a, b| unsafe { a.min(b) })
    }

    #[inline(always)]
    unsafe fn two_to_low_bits(self) -> Self {
        // SAFETY: as above.
        self.with(self, |a, _| unsafe { a.two_to_low_bits() })
    }

    #[inline(always)]
    unsafe fn to_bf16(self) -> Self {
        // SAFETY: as above.
        self.with(self, |a, _| unsafe { a.to_bf16() })
    }
}

/// Implements [`Vector`] with one intrinsic a function; first the list of those of two vectors, then those of integers, and
/// what takes the first vector where the second is NaN, else the second.
#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    (
        $register:ty, $lanes:literal, $fused:literal, $splat:ident, $load:ident, $store:ident, $mul_add:ident,
        [$($two:ident = $intrinsic:ident),*],
        [
            $to_integers:ident, $splat_integers:ident, $add_integers:ident, $and_integers:ident, $left:ident, $right:ident,
            $to_floats:ident
        ],
        $nan_or:ident
    ) => {
        impl Vector for $register {
            const LANES: usize = $lanes;
            const FUSED: bool = $fused;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller's promise, as in the functions below.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: as above.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: as above.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul_add(self, factor, term) }
            }

            $(
                #[inline(always)]
                unsafe fn $two(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $intrinsic(self, other) }
                }
            )*

            #[inline(always)]
            unsafe fn two_to_low_bits(self) -> Self {
                // SAFETY: as above.
                unsafe { $to_floats($left::<23>($add_integers($to_integers(self), $splat_integers(127)))) }
            }

            #[inline(always)]
            unsafe fn to_bf16(self) -> Self {
                // SAFETY: as above.
                unsafe {
                    let bits = $to_integers(self);
                    let last = $and_integers($right::<16>(bits), $splat_integers(1));
                    let half = $add_integers(last, $splat_integers(0x7fff));
                    let upper = $splat_integers(BF16_BITS.cast_signed());
                    $nan_or(self, $to_floats($and_integers($add_integers(bits, half), upper)))
                }
            }
        }
    };
}
/// Unfused, as every x86-64 CPU has it. Safety: none is needed; it takes the place of an intrinsic.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn multiply_then_add(a: __m128, b: __m128, c: __m128) -> __m128 {
    // SAFETY: SSE is part of the architecture.
    unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
}
/// `value`, or NaN where `from` is NaN.
#[cfg(target_arch = "x86_64")]
macro_rules! nan_or {
    ($name:ident, $register:ty, $feature:literal, |$from:ident, $value:ident| $body:expr) => {
        #[inline]
        #[target_feature(enable = $feature)]
        fn $name($from: $register, $value: $register) -> $register {
            $body
        }
    };
}
#[cfg(target_arch = "x86_64")]
nan_or!(nan_or_128, __m128, "sse2", |from, value| _mm_or_ps(_mm_cmpunord_ps(from, from), value));
#[cfg(target_arch = "x86_64")]
nan_or!(nan_or_256, __m256, "avx2", |from, value| {
    _mm256_or_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(from, from), value)
});
#[cfg(target_arch = "x86_64")]
nan_or!(nan_or_512, __m512, "avx512f", |from, value| {
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(from, from), value, from)
});
#[cfg(target_arch = "x86_64")]
vector!(
    __m128,
    4,
    false,
    _mm_set1_ps,
    _mm_loadu_ps,
    _mm_storeu_ps,
    multiply_then_add,
    [
        add = _mm_add_ps,
        sub = _mm_sub_ps,
        mul = _mm_mul_ps,
        div = _mm_div_ps,
        max = _mm_max_ps,
        min = _mm_min_ps
    ],
    [
        _mm_castps_si128,
        _mm_set1_epi32,
        _mm_add_epi32,
        _mm_and_si128,
        _mm_slli_epi32,
        _mm_srli_epi32,
        _mm_castsi128_ps
    ],
    nan_or_128
);
#[cfg(target_arch = "x86_64")]
vector!(
    __m256,
    8,
    true,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    [
        add = _mm256_add_ps,
        sub = _mm256_sub_ps,
        mul = _mm256_mul_ps,
        div = _mm256_div_ps,
        max = _mm256_max_ps,
        min = _mm256_min_ps
    ],
    [
        _mm256_castps_si256,
        _mm256_set1_epi32,
        _mm256_add_epi32,
        _mm256_and_si256,
        _mm256_slli_epi32,
        _mm256_srli_epi32,
        _mm256_castsi256_ps
    ],
    nan_or_256
);
#[cfg(target_arch = "x86_64")]
vector!(
    __m512,
    16,
    true,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    [
        add = _mm512_add_ps,
        sub = _mm512_sub_ps,
        mul = _mm512_mul_ps,
        div = _mm512_div_ps,
        max = _mm512_max_ps,
        min = _mm512_min_ps
    ],
    [
        _mm512_castps_si512,
        _mm512_set1_epi32,
        _mm512_add_epi32,
        _mm512_and_si512,
        _mm512_slli_epi32,
        _mm512_srli_epi32,
        _mm512_castsi512_ps
    ],
    nan_or_512
);

/// The vectors of an instruction set: wide ones for most channels, narrow ones for what remains of a wide one. What
/// remains of a narrow one is left to single channels.
pub(crate) trait Level {
    /// For most channels.
    type Wide: Vector;
    /// For what remains of a wide one.
    type Narrow: Vector;
    /// One channel.
    type Single: Vector;
}

/// Four values on every CPU of the architecture.
#[cfg(target_arch = "x86_64")]
pub(crate) type Four = __m128;
/// Four values on every CPU of the architecture; the fused instruction is part of the base of aarch64.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Four = Lanes<4, { cfg!(target_arch = "aarch64") }>;

/// Defines a [`Level`].
macro_rules! level {
    ($name:ident, $fma:literal, $wide:ty, $narrow:ty) => {
        struct $name;

        impl Level for $name {
            type Wide = $wide;
            type Narrow = $narrow;
            type Single = Lanes<1, $fma>;
        }
    };
}
#[cfg(target_arch = "x86_64")]
level!(Portable, false, __m128, __m128);
#[cfg(not(target_arch = "x86_64"))]
level!(Portable, false, Lanes<4, false>, Lanes<4, false>);
#[cfg(target_arch = "aarch64")]
level!(Neon, true, float32x4_t, float32x4_t);
#[cfg(target_arch = "x86_64")]
level!(Avx2, true, __m256, __m256);
#[cfg(target_arch = "x86_64")]
level!(Avx512, true, __m512, __m256);

/// Code that exists once for every instruction set.
pub(crate) trait Kernel {
    /// Runs on level `L`; `#[inline(always)]`, so that it is compiled with the instructions of its caller.
    ///
    /// # Safety
    /// The CPU has the instructions of `L`; and what the kernel itself asks for.
    unsafe fn run<L: Level>(self);
}

/// Runs a kernel with the instructions of `isa`.
///
/// # Safety
/// What the kernel itself asks for.
pub(crate) unsafe fn run_kernel(isa: Isa, kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(kernel: impl Kernel) {
        // SAFETY: this function has these features.
        unsafe { kernel.run::<Avx2>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn avx512(kernel: impl Kernel) {
        // SAFETY: this function has these features.
        unsafe { kernel.run::<Avx512>() }
    }
    // SAFETY: an `Isa` of a kind exists only where the CPU has its features.
    unsafe {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512 => avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => avx2(kernel),
            #[cfg(target_arch = "aarch64")]
            IsaKind::Neon => kernel.run::<Neon>(),
            _ => kernel.run::<Portable>(),
        }
    }
}

/// What is done with each vector of channels.
pub(crate) trait PerVector {
    /// Works on the channels from `channel` on that `V` holds.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels exist.
    unsafe fn at<V: Vector>(&mut self, channel: usize);
}

/// Covers `channels` with the widest vectors that fit, and returns those that remain after the narrow ones.
///
/// # Safety
/// The CPU has the instructions of `L`, and the channels exist.
#[inline(always)]
pub(crate) unsafe fn over_vectors<L: Level>(
    channels: Range<usize>,
    work: &mut impl PerVector,
) -> Range<usize> {
    let mut channel = channels.start;
    // SAFETY: the caller's promise; every vector ends within `channels`.
    unsafe {
        while channel + L::Wide::LANES <= channels.end {
            work.at::<L::Wide>(channel);
            channel += L::Wide::LANES;
        }
        while L::Narrow::LANES < L::Wide::LANES && channel + L::Narrow::LANES <= channels.end {
            work.at::<L::Narrow>(channel);
            channel += L::Narrow::LANES;
        }
    }
    channel..channels.end
}

/// Covers all `channels`: [`over_vectors`], then one by one.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn over_channels<L: Level>(channels: Range<usize>, work: &mut impl PerVector) {
    // SAFETY: the caller's promise.
    unsafe {
        for channel in over_vectors::<L>(channels, work) {
            work.at::<L::Single>(channel);
        }
    }
}

/// Repeats the body with a constant index, so that what depends on it is settled when it is compiled.
macro_rules! unroll {
    ($index:ident < $count:expr, $body:block) => {
        $crate::vector::unroll!(@ $index, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
    (@ $index:ident, $count:expr, $body:block, $($value:literal)*) => {{
        const { assert!($count <= 19) };
        $({
            let $index: usize = $value;
            if $index < $count $body
        })*
    }};
}
pub(crate) use unroll;
