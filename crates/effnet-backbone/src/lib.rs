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
mod naming;
mod resnet;
mod staged;
mod weight_map;

pub use config::{EfficientNetConfig, InputNormalization};
pub use efficientnet::{Classifier, EfficientNet, Endpoints};
pub use effnet_scaling::{NetworkSpec, Variant};
pub use graph_cost::{GraphCost, GraphOf, classifier_graph, graph_footprint};
pub use naming::Naming;
pub use net_graph::Padding;
pub use staged::{StagedConfig, StagedNetwork};
pub use weight_map::{Layout, MappedWeight, Section, weight_map};
