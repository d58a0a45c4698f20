//! Precision, recall and F1 at the score that is best for all classes together.

use crate::curve::{Curve, grid, interpolate};

/// Scores at which the curves are read.
const SAMPLES: usize = 1000;
/// Width of the box that smooths the mean F1.
const BOX: usize = 101;

/// Precision, recall and F1 of one class at the common score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OperatingPoint {
    pub(crate) precision: f64,
    pub(crate) recall: f64,
    pub(crate) f1: f64,
}

impl OperatingPoint {
    /// A class's values at a score: recall and precision are interpolated between detections; above the highest
    /// score recall is 0 and precision 1. A class without detections has zeros.
    fn at(score: f64, curve: &Curve, falling: &[f64]) -> Self {
        if falling.is_empty() {
            return OperatingPoint { precision: 0.0, recall: 0.0, f1: 0.0 };
        }
        let recall = interpolate(-score, falling, &curve.recall, 0.0);
        let precision = interpolate(-score, falling, &curve.precision, 1.0);
        OperatingPoint { precision, recall, f1: 2.0 * precision * recall / (precision + recall + 1e-16) }
    }
}

/// The score of the highest smoothed mean F1, and each class there; `curves` are those at IoU .5.
pub(crate) fn best_f1(curves: &[Curve]) -> (f64, Vec<OperatingPoint>) {
    let falling: Vec<Vec<f64>> =
        curves.iter().map(|curve| curve.score.iter().map(|score| -score).collect()).collect();
    let points = |score: f64| -> Vec<OperatingPoint> {
        curves
            .iter()
            .zip(&falling)
            .map(|(curve, falling)| OperatingPoint::at(score, curve, falling))
            .collect()
    };
    let mean_f1: Vec<f64> = grid(SAMPLES)
        .map(|score| points(score).iter().map(|point| point.f1).sum::<f64>() / curves.len().max(1) as f64)
        .collect();
    let smooth = smooth(&mean_f1);
    let best = (0..SAMPLES).fold(0, |best, i| if smooth[i] > smooth[best] { i } else { best });
    let score = grid(SAMPLES).nth(best).expect("an index of the grid");
    (score, points(score))
}

/// Moving average over [`BOX`] points, the ends repeated.
fn smooth(values: &[f64]) -> Vec<f64> {
    let half = (BOX / 2) as isize;
    let last = values.len() as isize - 1;
    let value = |i: isize| values[i.clamp(0, last) as usize];
    (0..=last).map(|i| (i - half..=i + half).map(value).sum::<f64>() / BOX as f64).collect()
}
