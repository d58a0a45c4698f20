//! Training, validation and prediction.
#![forbid(unsafe_code)]

mod checkpoint;
mod ema;
mod engine;
mod error;
mod files;
mod learner;
mod optim;
mod predict;
mod progress;
mod random;
mod results;
mod run;
mod schedule;
mod trainable;
mod validate;

pub use checkpoint::{LearnerState, LoadReport, ModelCard, NamedValues, RunState, WeightsFile, save_weights};
pub use ema::Ema;
pub use engine::{CpuDetector, CpuNetwork};
pub use error::TrainError;
pub use files::{new_run_folder, read, write_atomically};
pub use learner::{Learner, detection_loss};
pub use optim::{Moments, Optimizer, OptimizerSettings, Segment, clip_gradient};
pub use predict::predict;
pub use progress::{BatchProgress, EpochProgress, Observer, Silent};
pub use random::{initial_params, step_stream};
pub use results::{EpochRow, write_results};
pub use run::{RunFiles, RunSetup, TrainingRun, UntrainedNetwork, validation_options};
pub use schedule::{Rates, Schedule, full_accumulate};
pub use trainable::{HeadLogits, ImageBatch, Trainable};
pub use validate::{Speed, Validation, nms_options, validate};
pub use yolo_loss::Targets;
