//! Every vector type computes what its lanes would alone.

use super::*;
use crate::reference;

/// Pairs of ordinary, infinite and undefined values and of zeros of both signs.
fn pairs() -> Vec<(f32, f32)> {
    let values = [0.0, -0.0, 1.5, -2.25, 3e-39, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    values.iter().flat_map(|a| values.map(|b| (*a, b))).collect()
}

/// Fails unless the vectors give the bits that are expected, or NaN for NaN.
fn check<V: Vector>(
    what: &str,
    pairs: &[(f32, f32)],
    vector: impl Fn(V, V) -> V,
    lane: impl Fn(f32, f32) -> f32,
) {
    for pairs in pairs.chunks(V::LANES) {
        let of = |f: fn(&(f32, f32)) -> f32| -> Vec<f32> {
            (0..V::LANES).map(|lane| f(&pairs[lane.min(pairs.len() - 1)])).collect()
        };
        let (a, b, mut got) = (of(|pair| pair.0), of(|pair| pair.1), vec![0.0; V::LANES]);
        // SAFETY: the vectors have as many values as each of the buffers; the caller has the instructions.
        unsafe { vector(V::load(a.as_ptr()), V::load(b.as_ptr())).store(got.as_mut_ptr()) };
        for ((a, b), got) in a.iter().zip(&b).zip(got) {
            let want = lane(*a, *b);
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            assert!(same, "{what}({a:e}, {b:e}) = {got:e}, expected {want:e}, {} lanes", V::LANES);
        }
    }
}

struct Check;

impl Kernel for Check {
    unsafe fn run<L: Level>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            check_all::<L::Wide>();
            check_all::<L::Narrow>();
            check_all::<L::Single>();
            check_all::<Several<L::Narrow, 3>>();
        }
    }
}

/// # Safety
/// The CPU has the instructions of `V`.
unsafe fn check_all<V: Vector>() {
    let pairs = pairs();
    // SAFETY: the caller's promise, here and below.
    check::<V>("splat", &pairs, |_, _| unsafe { V::splat(1.75) }, |_, _| 1.75);
    // SAFETY: as above.
    check::<V>("add", &pairs, |a, b| unsafe { a.add(b) }, |a, b| a + b);
    // SAFETY: as above.
    check::<V>("sub", &pairs, |a, b| unsafe { a.sub(b) }, |a, b| a - b);
    // SAFETY: as above.
    check::<V>("mul", &pairs, |a, b| unsafe { a.mul(b) }, |a, b| a * b);
    // SAFETY: as above.
    check::<V>("div", &pairs, |a, b| unsafe { a.div(b) }, |a, b| a / b);
    // SAFETY: as above.
    check::<V>("max", &pairs, |a, b| unsafe { a.max(b) }, |a, b| if a > b { a } else { b });
    // SAFETY: as above.
    check::<V>("min", &pairs, |a, b| unsafe { a.min(b) }, |a, b| if a < b { a } else { b });
    // Exact in both ways of rounding.
    let exact: Vec<_> = (-20..20).map(|i| (i as f32, 0.5 - i as f32)).collect();
    // SAFETY: as above.
    check::<V>("mul_add", &exact, |a, b| unsafe { a.mul_add(b, V::splat(0.25)) }, |a, b| a * b + 0.25);
    // Bits above the lowest nine must not matter.
    let powers: Vec<_> =
        (-126..=127).map(|n| (f32::from_bits((n as u32 & 0x1ff) | 0x4b00_0000), n as f32)).collect();
    // SAFETY: as above.
    check::<V>("two_to_low_bits", &powers, |a, _| unsafe { a.two_to_low_bits() }, |_, n| n.exp2());
    // Those of `pairs`, values in the middle between two bf16 values and beside it, and a NaN that rounding up would end.
    let halves = [0x3f80_8000u32, 0x3f81_8000, 0xbf81_7fff, 0x8000_8001, 0x7f7f_ffff, 0x7fff_ffff];
    let values: Vec<_> = pairs.into_iter().chain(halves.map(|bits| (f32::from_bits(bits), 0.0))).collect();
    // SAFETY: as above.
    check::<V>("to_bf16", &values, |a, _| unsafe { a.to_bf16() }, |a, _| reference::bf16::round(a) as f32);
}

#[test]
fn vectors_of_all_levels_compute_what_their_lanes_would_alone() {
    for &isa in Isa::available() {
        // SAFETY: the kernel asks for nothing but the instructions.
        unsafe { run_kernel(isa, Check) };
    }
}
