#![doc = include_str!("../README.md")]
//! [`ModelSpec::build`] makes the graph. Below this crate nothing has a default.
#![forbid(unsafe_code)]

mod backbone;
mod coco_names;
mod conventions;
mod data;
mod document;
mod error;
mod model;
mod model_yaml;
mod row_reader;
mod rows;
mod rows_graph;
mod rows_scale;
mod rows_yaml;
mod section;
mod suggest;
mod train;
mod train_keys;
mod weights;

pub use backbone::{BackboneSpec, Conventions, CspSpec, EfficientNetSpec, Normalization};
pub use data::DataSpec;
pub use error::ConfigError;
pub use model::{Model, ModelSpec, NeckSpec, Outputs, Task};
pub use rows::{Module, Row, RowsSpec, ScaledVariant};
pub use train::{Augmentation, AutoAugment, Decay, EmaRamp, LossGains, Optimizer, Rules, TrainSpec};
pub use weights::{FetchedFile, HubFile, PublishedWeights, WeightsLock, WeightsManifest};
