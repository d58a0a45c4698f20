//! Checks of an answer before it is timed. All panic with the name of the case.

/// Panics unless every value is within `tolerance * (1 + |expected|)`.
pub fn assert_close(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let close = (f64::from(a) - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(close, "{name}: value {i} is {a}, expected {e}");
    }
}

/// Panics unless every value is within `tolerance` times the largest expected one, which must not be 0.
pub fn assert_close_to_max(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0.0f64, |max, e| max.max(e.abs()));
    assert!(largest > 0.0, "{name}: nothing is expected");
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let close = (f64::from(a) - e).abs() <= tolerance * largest;
        assert!(close, "{name}: value {i} is {a}, expected {e}; the largest is {largest}");
    }
}

/// Panics unless the vectors differ by at most `tolerance` times the length of the expected one, which must not be 0.
pub fn assert_close_by_length(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    let length = expected.iter().map(|e| e * e).sum::<f64>().sqrt();
    let apart = actual.iter().zip(expected).map(|(&a, e)| (f64::from(a) - e).powi(2)).sum::<f64>().sqrt();
    assert!(length > 0.0, "{name}: nothing is expected");
    assert!(apart <= tolerance * length, "{name}: {apart} apart, expected a vector of length {length}");
}
