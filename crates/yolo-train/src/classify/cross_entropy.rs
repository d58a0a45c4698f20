//! The loss of a classifier.

use crate::{Objective, TrainError};
use box_geometry::Size;

/// Probability of each class, `[B, K]`; every row sums to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftTargets {
    /// The probabilities.
    pub probabilities: Vec<f32>,
    /// Number of classes K.
    pub classes: usize,
}

/// Mean cross-entropy of logits `[B, K]` against the targets' probabilities; writes its gradient.
///
/// # Panics
/// When the lengths differ.
pub fn cross_entropy(logits: &[f32], targets: &SoftTargets, gradient: &mut [f32]) -> f64 {
    let SoftTargets { probabilities, classes } = targets;
    assert_eq!(
        (logits.len(), gradient.len()),
        (probabilities.len(), probabilities.len()),
        "one target a logit"
    );
    let images = (logits.len() / classes) as f64;
    let rows = logits.chunks_exact(*classes).zip(probabilities.chunks_exact(*classes));
    let mut loss = 0.0;
    for ((logits, targets), gradient) in rows.zip(gradient.chunks_exact_mut(*classes)) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let log_sum = largest + logits.iter().map(|&z| (z as f64 - largest).exp()).sum::<f64>().ln();
        for ((&z, &target), gradient) in logits.iter().zip(targets).zip(gradient) {
            let log_probability = z as f64 - log_sum;
            loss -= target as f64 * log_probability;
            *gradient = ((log_probability.exp() - target as f64) / images) as f32;
        }
    }
    loss / images
}

/// Cross-entropy as what a network learns.
#[derive(Debug, Clone, Copy)]
pub struct ClassificationObjective;

impl Objective for ClassificationObjective {
    type Logits = Vec<f32>;
    type Targets = SoftTargets;
    type Value = f64;

    fn value_and_gradient(
        &self,
        logits: &Vec<f32>,
        _: Size,
        targets: &SoftTargets,
    ) -> Result<(f64, Vec<f32>), TrainError> {
        let mut gradient = vec![0.0; logits.len()];
        Ok((cross_entropy(logits, targets, &mut gradient), gradient))
    }

    fn total(value: &f64) -> f64 {
        *value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_equals_finite_differences() {
        let targets = SoftTargets { probabilities: vec![0.1, 0.9, 0.0, 0.3, 0.3, 0.4], classes: 3 };
        let logits = [0.5, -1.0, 2.0, 30.0, 29.0, -4.0];
        let mut gradient = [0.0; 6];
        cross_entropy(&logits, &targets, &mut gradient);
        for index in 0..6 {
            let moved = |by: f32| {
                let mut logits = logits;
                logits[index] += by;
                cross_entropy(&logits, &targets, &mut [0.0; 6])
            };
            let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (numeric - gradient[index] as f64).abs() < 1e-4,
                "{index}: {numeric} {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn an_undecided_network_loses_the_logarithm_of_the_classes() {
        let targets = SoftTargets { probabilities: vec![0.0, 1.0, 0.0, 0.0], classes: 4 };
        assert!((cross_entropy(&[7.0; 4], &targets, &mut [0.0; 4]) - 4f64.ln()).abs() < 1e-12);
    }
}
