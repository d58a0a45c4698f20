//! Numbers to compute with.

/// Smooth values of mixed sign, `[-amplitude, amplitude]`.
pub fn wave(count: usize, phase: f32, amplitude: f32) -> Vec<f32> {
    (0..count).map(|i| amplitude * (i as f32 * 0.37 + phase).sin()).collect()
}

/// Numbers in `[0, 1)` that look random (Knuth's linear congruential generator); the same ones every time.
pub fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The same values in double precision, as the references take them.
pub fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}
