//! Loops over the channels of one position, shaped so that the compiler makes SIMD of them even where the channels are
//! few: whole groups of lanes first, then what remains.

/// Values of a group: one register of AVX2.
const LANES: usize = 8;

/// Values of a group in [`change`]: some registers, so that long computations of several values overlap.
const MANY_LANES: usize = 32;

/// `f(&mut a[i])` for every `i`; what remains after whole groups is worked on as a group, too.
#[inline(always)]
pub(crate) fn change(a: &mut [f32], f: impl Fn(&mut f32)) {
    let (groups, tail) = a.as_chunks_mut::<MANY_LANES>();
    for group in groups {
        for lane in 0..MANY_LANES {
            f(&mut group[lane]);
        }
    }
    if !tail.is_empty() {
        let mut group = [0.0; MANY_LANES];
        group[..tail.len()].copy_from_slice(tail);
        for lane in 0..MANY_LANES {
            f(&mut group[lane]);
        }
        tail.copy_from_slice(&group[..tail.len()]);
    }
}

/// `f(&mut a[i], b[i])` for every `i`.
#[inline(always)]
pub(crate) fn update(a: &mut [f32], b: &[f32], f: impl Fn(&mut f32, f32)) {
    assert_eq!(a.len(), b.len());
    let ((groups, tail), (b_groups, b_tail)) = (a.as_chunks_mut::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in groups.iter_mut().zip(b_groups) {
        for lane in 0..LANES {
            f(&mut a[lane], b[lane]);
        }
    }
    for (a, &b) in tail.iter_mut().zip(b_tail) {
        f(a, b);
    }
}

/// `f(&mut a[i], b[i], c[i])` for every `i`.
#[inline(always)]
pub(crate) fn update_by_two(a: &mut [f32], b: &[f32], c: &[f32], f: impl Fn(&mut f32, f32, f32)) {
    assert!(a.len() == b.len() && a.len() == c.len());
    let (groups, tail) = a.as_chunks_mut::<LANES>();
    let ((b_groups, b_tail), (c_groups, c_tail)) = (b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    for ((a, b), c) in groups.iter_mut().zip(b_groups).zip(c_groups) {
        for lane in 0..LANES {
            f(&mut a[lane], b[lane], c[lane]);
        }
    }
    for ((a, &b), &c) in tail.iter_mut().zip(b_tail).zip(c_tail) {
        f(a, b, c);
    }
}
