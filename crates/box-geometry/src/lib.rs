#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod anchors;
mod boxes;
mod error;
mod letterbox;
mod nms;
mod rectangular;

pub use anchors::{AnchorGrid, GridLevel, bbox2dist, dist2bbox};
pub use boxes::{CxCyWh, Size, Xyxy};
pub use error::GeometryError;
pub use letterbox::{InverseRule, Letterbox, LetterboxOptions, Padding};
pub use nms::{Detection, NmsOptions, nms, postprocess};
pub use rectangular::{RectangularBatch, rectangular_batches};
