//! Maps for property tests: random values, and gaps between rows that kernels must leave alone.

use proptest::prelude::*;

use crate::{MapMut, MapRef, reference};

/// Value between rows.
const GAP: f32 = -777.0;

/// A map and its memory.
#[derive(Debug, Clone)]
pub(crate) struct TestMap {
    data: Vec<f32>,
    positions: usize,
    channels: usize,
    stride: usize,
}

/// Sizes of a map, the gaps of two maps, and a seed.
pub(crate) type Shape = (usize, usize, [usize; 2], u64);

/// Single rows, small maps of odd sizes, and maps that are worth several threads; gaps in none, one or both maps.
pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = prop_oneof![
        1 => (Just(1usize), 1usize..150),
        4 => (2usize..60, 1usize..80),
        1 => (2000usize..2500, 33usize..50),
    ];
    let gap = || prop_oneof![Just(0usize), 1usize..9];
    (sizes, [gap(), gap()], any::<u64>())
        .prop_map(|((positions, channels), gaps, seed)| (positions, channels, gaps, seed))
}

/// Evenly distributed values, `[-limit, limit)`.
pub(crate) fn values(count: usize, limit: f32, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * limit
    };
    (0..count).map(|_| next()).collect()
}

impl TestMap {
    /// A map of the given values.
    pub(crate) fn new(values: &[f32], channels: usize, gap: usize) -> Self {
        let (positions, stride) = (values.len() / channels, channels + gap);
        let mut data = vec![GAP; positions * stride];
        data.chunks_exact_mut(stride)
            .zip(values.chunks_exact(channels))
            .for_each(|(d, v)| d[..channels].copy_from_slice(v));
        TestMap { data, positions, channels, stride }
    }

    /// A map of random values in `[-limit, limit)`.
    pub(crate) fn random(positions: usize, channels: usize, gap: usize, limit: f32, seed: u64) -> Self {
        TestMap::new(&values(positions * channels, limit, seed), channels, gap)
    }

    pub(crate) fn map(&self) -> MapRef<'_> {
        MapRef::new(&self.data, self.positions, self.channels, self.stride)
    }

    pub(crate) fn map_mut(&mut self) -> MapMut<'_> {
        MapMut::new(&mut self.data, self.positions, self.channels, self.stride)
    }

    /// Panics unless the values are those of `exact`, rounded to bf16, and the gaps are as they were.
    #[track_caller]
    pub(crate) fn assert_rounded(&self, exact: &TestMap, context: &str) {
        let expected: Vec<f64> = exact.map().to_vec().into_iter().map(reference::bf16::round).collect();
        self.assert_close(&expected, 0.0, &format!("{context}, rounded"));
    }

    /// The values, row after row, in f64.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        self.map().to_vec().into_iter().map(f64::from).collect()
    }

    /// Panics unless the values equal `expected` within `tolerance * (1 + |expected|)` and the gaps are as they were.
    #[track_caller]
    pub(crate) fn assert_close(&self, expected: &[f64], tolerance: f64, context: &str) {
        assert_close(&self.map().to_vec(), expected, tolerance, context);
        for row in self.data.chunks_exact(self.stride) {
            assert!(row[self.channels..].iter().all(|&gap| gap == GAP), "{context}: wrote between rows");
        }
    }
}

/// Panics unless `actual` equals `expected` within `tolerance * (1 + |expected|)`.
#[track_caller]
pub(crate) fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, context: &str) {
    assert_eq!(actual.len(), expected.len(), "{context}: length");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let close = (f64::from(a) - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(close, "{context}: value {i} is {a}, expected {e}");
    }
}

/// Slices as f64.
pub(crate) fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}
