#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod block;
#[cfg(feature = "candle")]
pub mod candle;
mod config;
mod efficientnet;
mod graph_cost;
mod init;
mod mobilenet;
mod resnet;
mod staged;

pub use config::{EfficientNetConfig, InputNormalization};
pub use efficientnet::{Classifier, EfficientNet, Endpoints};
pub use effnet_scaling::{NetworkSpec, Variant};
pub use net_graph::Padding;
pub use graph_cost::{GraphCost, classifier_graph, graph_footprint};
pub use staged::{StagedConfig, StagedNetwork};
