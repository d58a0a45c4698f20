//! The YOLOv8 detection loss: task-aligned assigner, CIoU, DFL and class loss.
//!
//! [`DetectionLoss`] works on slices: values and the analytic gradient in one pass, parallel over images, with the same
//! bits for any number of threads. With the feature `candle` the same loss is composed of candle operations
//! (`DetectionLoss::forward`) and joins the caller's tape, on any device and in `f64`.
//!
//! Dimension letters: B images, A anchor points, R distribution bins a side, K classes.
#![forbid(unsafe_code)]

mod assigner;
mod class_loss;
mod detection;
mod dfl;
mod error;
mod exponential;
mod iou;
mod targets;
#[cfg(feature = "candle")]
mod tensor;

pub use assigner::{Assigner, DecodedPredictions, Match, Predictions, Rules, TaskAligned};
pub use detection::{Assignments, DetectionLoss, Gains, LossParts, LossValue};
pub use dfl::{dfl_loss, expected_distances};
pub use error::LossError;
pub use iou::{BoxLoss, Overlap, PairOverlap};
pub use targets::{GroundTruth, Targets};
#[cfg(feature = "candle")]
pub use tensor::{TensorBoxLoss, TensorLoss};
