#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod block;
#[cfg(feature = "candle")]
pub mod candle;
mod config;
mod efficientnet;
mod init;

pub use config::{EfficientNetConfig, InputNormalization};
pub use efficientnet::{Classifier, EfficientNet, Endpoints};
pub use effnet_scaling::{NetworkSpec, Variant};
pub use net_graph::Padding;
