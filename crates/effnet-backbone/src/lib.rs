//! The EfficientNet family as graph builders.
//!
//! [`EfficientNet`] appends its nodes to a [`net_graph::Builder`]: as a [`net_graph::Backbone`] it yields feature
//! levels and stops at the last one asked for; [`EfficientNet::build_classifier`] adds head, pooling and classifier.
//!
//! Parameters are named `<prefix>.<timm name>`, such as `backbone.blocks.1.0.conv_dw.weight`; an empty prefix gives
//! plain timm names. A node has the name of its module, an activation the name of its batch norm and `.act`.
//!
//! Source: Tan and Le, EfficientNet (arXiv 1905.11946); initialisation and drop-path rates as in the official builder.
#![forbid(unsafe_code)]

mod block;
mod config;
mod efficientnet;
mod init;
mod naming;
mod weight_map;

pub use config::{EfficientNetConfig, InputNormalization};
pub use efficientnet::{Classifier, EfficientNet, Endpoints};
pub use naming::Naming;
pub use weight_map::{Layout, MappedWeight, Section, weight_map};
