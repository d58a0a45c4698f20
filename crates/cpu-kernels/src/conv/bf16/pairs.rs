//! Rows of f32 values as rows of pairs of bf16 values.

use std::cell::Cell;

use crate::conv::direct::Gate;
use crate::isa::multiversion;
use crate::precision::nearest_bf16;
use crate::{Isa, MapMut, MapRef, scratch};

/// Two values, rounded, in the bits of an f32.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits((nearest_bf16(first).to_bits() >> 16) | nearest_bf16(second).to_bits())
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
    use super::*;

    #[test]
    fn the_first_channel_is_in_the_lower_half() {
        assert_eq!(pair(1.0, -2.0).to_bits(), 0xc000_3f80);
    }
}
