//! Detection data sets, label checks, augmentation and the prefetching loader.
//!
//! The way of a training image: a [`Dataset`] (such as [`YoloDataset`]) decodes it, a [`LoadedImages`] brings its long
//! side to the image size and keeps it in memory where it fits, a [`TrainPipeline`] turns it into a square sample
//! ([`Mosaic`], [`RandomAffine`], mixup, [`ColourJitter`], [`RandomFlip`]), and a [`TrainLoader`] gathers samples into
//! [`Batch`]es on its own threads. [`ValidationLoader`] makes rectangular letterboxed batches without randomness.
//!
//! Images are RGB, one byte a channel, rows from the top, channels interleaved (HWC). Boxes are [`LabelledBox`]es in
//! pixels of the image that they come with; [`NormalisedBox`]es, of label files and of finished batches, are shares of its sides.
//!
//! Nothing here reads a clock, the environment or a global generator: all randomness comes from a [`Generator`] made of
//! (seed, epoch, index), so that a sample does not depend on the number of threads or on what was loaded before.

#![forbid(unsafe_code)]

mod affine;
mod augmentation;
mod colour;
mod dataset;
mod error;
mod flip;
mod generator;
mod image_files;
mod labels;
mod letterbox;
mod loaded;
mod matrix;
mod mosaic;
mod prefetch;
mod resize;
mod rgb;
mod train_loader;
mod validation_loader;
mod warp;
mod yolo;

pub use affine::{AffineRanges, RandomAffine};
pub use augmentation::{Augmentation, TrainPipeline};
pub use colour::{ColourJitter, HueRule};
pub use dataset::{Dataset, LabelledBox, NormalisedBox, Sample, Transform};
pub use error::DataError;
pub use flip::RandomFlip;
pub use generator::Generator;
pub use image_files::{IMAGE_EXTENSIONS, find_images, label_path};
pub use labels::{LabelProblem, Labels, parse_labels};
pub use letterbox::{BORDER, letterbox};
pub use loaded::LoadedImages;
pub use matrix::Matrix;
pub use mosaic::Mosaic;
pub use prefetch::{MakeBatch, Prefetch, Stop};
pub use resize::{loading_size, resize};
pub use rgb::RgbImage;
pub use train_loader::{Batch, LoaderOptions, TrainBatches, TrainLoader};
pub use validation_loader::{
    InputMapping, ValidationBatch, ValidationBatches, ValidationImage, ValidationLoader, ValidationOptions,
};
pub use warp::warp;
pub use yolo::{ImageCheck, Problem, ProblemKind, Report, YoloDataset};
