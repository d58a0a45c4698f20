#![doc = include_str!("../README.md")]
//! # How it fits together
//!
//! The way of a training image: a [`ClassFolder`] decodes it and keeps it in memory where it fits, a [`ClassPipeline`]
//! crops it at random, scales it to a square, flips it, and puts it through AutoAugment or RandAugment and random
//! erasing; then a [`ClassLoader`] gathers samples into [`ClassBatch`]es
//! on its own threads, blending pairs where mixup or cutmix is asked for. Validation images are cropped in the centre.
//!
//! Images are RGB, one byte a channel, rows from the top, channels interleaved (HWC). All randomness comes from a
//! [`detect_data::Generator`] made of (seed, epoch, index).
#![forbid(unsafe_code)]

mod batch;
mod crop;
mod erasing;
mod error;
mod folder;
mod loader;
pub mod operations;
mod pipeline;
mod policy;

pub use batch::ClassBatch;
pub use crop::{Crop, centre_crop, crop_and_scale, random_crop};
pub use erasing::erase;
pub use error::ClassDataError;
pub use folder::{ClassFolder, FolderProblem};
pub use loader::{ClassBatches, ClassLoader, ClassLoaderOptions};
pub use pipeline::{ClassAugmentation, ClassPipeline};
pub use policy::AutoAugment;
