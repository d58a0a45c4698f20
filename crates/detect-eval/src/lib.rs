#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod curve;
mod evaluator;
mod matching;
mod metrics;
mod operating_point;

pub use evaluator::{EvalError, Evaluator, GroundTruth, Rule};
pub use metrics::{ClassMetrics, CocoSummary, Metrics};

/// Number of IoU thresholds.
pub const THRESHOLD_COUNT: usize = 10;

/// IoU thresholds .50, .55 .. .95; a pair matches at `IoU >= threshold`.
pub fn iou_thresholds() -> [f64; THRESHOLD_COUNT] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|i| if i == 9 { 0.95 } else { 0.5 + i as f64 * step })
}
