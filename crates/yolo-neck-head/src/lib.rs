#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod blocks;
mod csp;
mod detect;
mod detector;
mod error;
mod head;
mod names;
mod neck;
mod scale;

pub use blocks::{bottleneck, c2f, conv_init, conv_norm_act, sppf};
pub use csp::CspBackbone;
pub use detect::{DetectOptions, Detector, LetterboxedImages};
pub use detector::{DetectorGraph, build_detector, yolov8};
pub use error::DetectorError;
pub use head::{DflHead, Head, HeadNodes};
pub use names::LayerNames;
pub use neck::{Neck, PanNeck};
pub use scale::{NeckFactors, NeckScale};
