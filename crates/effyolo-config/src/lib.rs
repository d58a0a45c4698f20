//! YAML configuration to a resolved, checked specification.
//!
//! [`ModelSpec`] is a network and how it is trained, [`DataSpec`] the images and class names. Both are read from YAML
//! text in which a misspelt key, a wrong type or a value out of range is an error that names the file, the key's path,
//! what was expected and what came. [`ModelSpec::build`] makes the graph. Below this crate nothing has a default.
#![forbid(unsafe_code)]

mod backbone;
mod coco_names;
mod data;
mod document;
mod error;
mod model;
mod model_yaml;
mod rows;
mod rows_graph;
mod rows_yaml;
mod section;
mod suggest;
mod train;
mod train_keys;

pub use backbone::{BackboneSpec, CspSpec, EfficientNetSpec, Normalization};
pub use data::DataSpec;
pub use error::ConfigError;
pub use model::{Model, ModelSpec, Outputs, Task};
pub use rows::{Module, Row, RowsSpec, ScaledVariant};
pub use train::{Augmentation, Decay, LossGains, Optimizer, Rules, TrainSpec};
