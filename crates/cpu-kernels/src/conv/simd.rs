//! Vectors of the instruction sets, as far as the micro-kernels need them.

/// Lanes of the widest vector.
pub(super) const MAX_LANES: usize = 16;

/// A vector of [`Simd::LANES`] floats.
///
/// # Safety
/// The functions may run only on a CPU that has the instruction set, `load` and `store` only where `LANES` values may
/// be read or written (at any alignment). They are inlined into functions that have the instruction set enabled.
pub(super) trait Simd: Copy {
    /// The register.
    type Vector: Copy;
    /// Values in a vector.
    const LANES: usize;

    /// The same value in every lane.
    unsafe fn splat(value: f32) -> Self::Vector;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Writes a vector.
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// What the compiler makes of arrays of `N` floats.
#[derive(Clone, Copy)]
pub(super) struct Portable<const N: usize>;

impl<const N: usize> Simd for Portable<N> {
    type Vector = [f32; N];
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; N] {
        [value; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; N] {
        // SAFETY: the caller may read `N` values; the read needs no alignment.
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: [f32; N]) {
        // SAFETY: the caller may write `N` values; the write needs no alignment.
        unsafe { to.cast::<[f32; N]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn add(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
        for lane in 0..N {
            a[lane] += b[lane];
        }
        a
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; N], b: [f32; N], mut c: [f32; N]) -> [f32; N] {
        // The fused instruction is part of the base of aarch64, not of x86-64.
        const FMA: bool = cfg!(target_arch = "aarch64");
        for lane in 0..N {
            c[lane] = crate::isa::mul_add::<FMA>(a[lane], b[lane], c[lane]);
        }
        c
    }
}

/// Implements [`Simd`] by five intrinsics of the same shape.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($(#[$meta:meta])* $name:ident: $vector:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $mul_add:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Simd for $name {
            type Vector = $vector;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(value: f32) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and for the values.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut f32, vector: $vector) {
                // SAFETY: as in `load`.
                unsafe { $store(to, vector) }
            }

            #[inline(always)]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                // SAFETY: as in `splat`.
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: as in `splat`.
                unsafe { $mul_add(a, b, c) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

#[cfg(target_arch = "x86_64")]
x86!(
    /// AVX2 and FMA.
    Avx2: __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
    _mm256_fmadd_ps
);

#[cfg(target_arch = "x86_64")]
x86!(
    /// AVX-512 F.
    Avx512: __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
    _mm512_fmadd_ps
);
