//! Average precision by COCO's and by Ultralytics' rules.
//!
//! Three rules are in use, and they give different numbers for the same detections; [`Rule`] names them. An
//! [`Evaluator`] collects detections and ground truths image by image and answers for any rule:
//!
//! ```
//! use box_geometry::{Detection, Xyxy};
//! use detect_eval::{Evaluator, GroundTruth, Rule};
//!
//! let xyxy = Xyxy::new(10.0, 20.0, 40.0, 60.0);
//! let mut evaluator = Evaluator::new(1);
//! evaluator.update(
//!     0,
//!     &[Detection { xyxy, score: 0.9, class: 0 }],
//!     &[GroundTruth { xyxy, class: 0, crowd: false }],
//! )?;
//! assert_eq!(evaluator.finish(Rule::Coco).map50_95, 1.0);
//! # Ok::<(), detect_eval::EvalError>(())
//! ```
//!
//! The crate knows no network and no file. Sums run in `f64` and in an order that does not depend on the order of the
//! updates, so the same detections give the same bits.

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
