//! Classification: a network with one vector of logits an image.

mod cross_entropy;
mod network;
mod task;
mod validate;

pub use cross_entropy::{ClassificationObjective, SoftTargets, cross_entropy};
pub use network::{CpuClassifier, CpuClassifierNetwork, classify_image};
pub use task::{ClassificationSetup, ClassificationTask, class_loader};
pub use validate::{ClassValidation, JudgedImage, validate_classifier};
