//! YOLOv8's parts as graph builders: C2f, SPPF, PAN neck, decoupled head, CSP backbone.
//!
//! [`build_detector`] puts any [`net_graph::Backbone`] under any [`Neck`] and [`Head`]; [`yolov8`] builds the stock
//! network. [`Detector`] is whatever runs one on images.
//!
//! Parameter names: the stock network uses Ultralytics' (`model.<row>.<module's own name>`). In a composed network the
//! neck's layers are `neck.sppf`, `neck.p4_top_down` ..., and the head's are `head.cv2.<level>` (boxes),
//! `head.cv3.<level>` (classes) and `head.dfl.conv`: below its first part the head is named alike in both, so its
//! weights move between the two by a change of prefix. A node has the name of its module; convolution, batch norm and
//! activation of a module are `<module>.conv`, `.bn`, `.act`.
//!
//! Batch norm is that of YOLOv8 everywhere: epsilon 1e-3, momentum 0.03.
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
pub use scale::NeckScale;
