#![doc = include_str!("../README.md")]
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
pub use box_geometry::{AnchorGrid, CxCyWh, Size, Xyxy};
pub use detection::{Assignments, DetectionLoss, Gains, LossParts, LossValue};
pub use dfl::{dfl_loss, expected_distances};
pub use error::LossError;
pub use iou::{BoxLoss, Overlap, PairOverlap};
pub use targets::{GroundTruth, Targets};
#[cfg(feature = "candle")]
pub use tensor::{TensorBoxLoss, TensorLoss};
