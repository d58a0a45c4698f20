//! Boxes, IoU, anchor points, letterbox transform and non-maximum suppression.
//!
//! Everything here is arithmetic on `f32` slices and small types: no tensors, no files, no threads.
//!
//! Frames used throughout the project:
//! - *original pixels*: the image as it was read;
//! - *network-input pixels*: the letterboxed image that the network sees;
//! - *grid units*: network-input pixels divided by the stride of a level;
//! - *normalised*: network-input pixels divided by the input's width and height.
//!
//! Pixel `(i, j)` covers `[j, j + 1) x [i, i + 1)`; x grows to the right, y downwards.
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
