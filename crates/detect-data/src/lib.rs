#![doc = include_str!("../README.md")]
//! # How it fits together
//!
//! The way of a training image: a [`Dataset`] (such as [`FileDataset`]) decodes it, a [`LoadedImages`] brings its long
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
mod coco;
mod coco_files;
mod colour;
mod dataset;
mod dataset_files;
mod error;
mod flip;
mod generator;
mod image_file;
mod image_files;
mod labels;
mod letterbox;
mod loaded;
mod matrix;
mod mosaic;
mod prefetch;
mod problem;
mod regular_file;
mod resize;
mod rgb;
mod train_loader;
mod validation_loader;
mod warp;

pub use affine::{AffineRanges, RandomAffine};
pub use augmentation::{Augmentation, TrainPipeline};
pub use coco::{AnnotationProblem, CocoError, CocoImage, CocoInstances, parse_coco};
pub use coco_files::{CocoSource, coco_image_folders};
pub use colour::{ColourJitter, HueRule};
pub use dataset::{Dataset, LabelledBox, NormalisedBox, Sample, Transform};
pub use dataset_files::{FileDataset, ImageCheck, OpenOptions};
pub use error::DataError;
pub use flip::RandomFlip;
pub use generator::Generator;
pub use image_file::{DEFAULT_MAX_PIXELS, ImageHeader, ImageProblem};
pub use image_files::{IMAGE_EXTENSIONS, find_images, label_path};
pub use labels::{LabelFileProblem, LabelProblem, Labels, parse_labels};
pub use letterbox::{BORDER, letterbox};
pub use loaded::LoadedImages;
pub use matrix::Matrix;
pub use mosaic::Mosaic;
pub use prefetch::{MakeBatch, Prefetch, Stop};
pub use problem::{Note, NoteKind, Place, Problem, ProblemKind, Report};
pub use regular_file::FileProblem;
pub use resize::{loading_size, resize};
pub use rgb::RgbImage;
pub use train_loader::{Batch, LoaderOptions, TrainBatches, TrainLoader};
pub use validation_loader::{
    InputMapping, ValidationBatch, ValidationBatches, ValidationImage, ValidationLoader, ValidationOptions,
};
pub use warp::warp;
