//! Rows of f32 values as rows of pairs of bf16 values.

use std::cell::Cell;

use crate::conv::direct::Gate;
use crate::isa::multiversion;
use crate::{Isa, MapMut, MapRef, scratch};

/// The nearest bf16 value, of two the one whose last bit is 0, in the upper half of the bits. NaN stays NaN.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let to_nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    (if value.is_nan() { bits | 0x0040_0000 } else { to_nearest }) & 0xffff_0000
}

/// A pair in the bits of an f32.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits((rounded(first) >> 16) | rounded(second))
}

/// Pairs that `channels` values make.
pub(super) fn count(channels: usize) -> usize {
    channels.div_ceil(2)
}

/// Writes the rows of `x` from `start` on, times their gate, as pairs into `pairs`, as many as that has.
pub(in crate::conv) fn fill(isa: Isa, x: MapRef, gate: Option<&Gate>, start: usize, pairs: &mut MapMut) {
    assert_eq!(pairs.channels(), count(x.channels()), "pairs of the channels");
    match gate {
        None => fill_plain(isa, x, start, pairs),
        Some(gate) => {
            assert_eq!(x.channels(), gate.factors.channels(), "channels of the gate");
            fill_gated(isa, x, gate.factors, gate.area, start, pairs);
        }
    }
}

multiversion! {
    fn fill_plain(x: MapRef<'_>, start: usize, pairs: &mut MapMut<'_>) {
        for position in 0..pairs.positions() {
            let (x, to) = (x.row(start + position), pairs.row_mut(position));
            let (halves, last) = x.as_chunks::<2>();
            to.iter_mut().zip(halves).for_each(|(to, &[a, b])| *to = pair(a, b));
            if let [a] = last {
                to[halves.len()] = pair(*a, 0.0);
            }
        }
    }
}

multiversion! {
    fn fill_gated(x: MapRef<'_>, factors: MapRef<'_>, area: usize, start: usize, pairs: &mut MapMut<'_>) {
        for position in 0..pairs.positions() {
            let (x, to) = (x.row(start + position), pairs.row_mut(position));
            let ((halves, last), (by, by_last)) =
                (x.as_chunks::<2>(), factors.row((start + position) / area).as_chunks::<2>());
            for ((to, &[a, b]), &[by_a, by_b]) in to.iter_mut().zip(halves).zip(by) {
                *to = pair(a * by_a, b * by_b);
            }
            if let ([a], [by]) = (last, by_last) {
                to[halves.len()] = pair(a * by, 0.0);
            }
        }
    }
}

thread_local! {
    static PAIRS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's buffer as a map of `positions` rows of pairs of `channels` values.
pub(in crate::conv) fn with_pairs(positions: usize, channels: usize, work: impl FnOnce(MapMut)) {
    scratch::with(&PAIRS, |buffer: &mut Vec<f32>| {
        let channels = count(channels);
        work(MapMut::dense(scratch::at_least(buffer, positions * channels), channels));
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference;

    /// Bits of any number, and of those that lie at or beside the middle between two bf16 values.
    fn bits() -> impl Strategy<Value = u32> {
        let beside_middle =
            (any::<u16>(), 0x7ffeu32..0x8003).prop_map(|(high, low)| (u32::from(high) << 16) + low);
        prop_oneof![any::<u32>(), beside_middle]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn rounding_equals_reference(bits in bits()) {
            let (value, rounded) = (f32::from_bits(bits), f32::from_bits(rounded(f32::from_bits(bits))));
            let expected = reference::bf16::round(value);
            prop_assert!(rounded.to_bits() & 0xffff == 0);
            prop_assert!(
                (rounded.is_nan() && expected.is_nan()) || f64::from(rounded) == expected,
                "{value:e}: {rounded:e}, expected {expected:e}"
            );
        }
    }

    #[test]
    fn ties_go_to_even_and_the_largest_to_infinity() {
        for (value, expected) in [
            (1.0 + 0.5f32.powi(8), 1.0),
            (1.0 + 3.0 * 0.5f32.powi(8), 1.0 + 0.5f32.powi(6)),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (f32::from_bits(0x8000), 0.0),
            (-0.0, -0.0),
        ] {
            assert_eq!(rounded(value), expected.to_bits(), "{value:e}");
        }
        // A NaN whose only bit of payload is cut off.
        assert!(f32::from_bits(rounded(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn the_first_channel_is_in_the_lower_half() {
        assert_eq!(pair(1.0, -2.0).to_bits(), 0xc000_3f80);
    }
}
