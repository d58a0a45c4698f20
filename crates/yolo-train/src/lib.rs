#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod classify;
mod detection;
mod ema;
mod engine;
mod error;
mod files;
mod learner;
mod optim;
mod planned;
mod predict;
mod progress;
mod random;
mod results;
mod run;
mod run_state;
mod safetensors_file;
mod schedule;
mod stages;
mod stepper;
mod task;
mod trainable;
mod validate;
mod weights;

pub use classify::{
    ClassValidation, ClassificationObjective, ClassificationSetup, ClassificationTask, CpuClassifier,
    CpuClassifierNetwork, JudgedImage, SoftTargets, class_loader, classify_image, cross_entropy,
    validate_classifier,
};
pub use detection::{DetectionObjective, DetectionSetup, DetectionTask, validation_options};
pub use ema::{Ema, Ramp};
pub use engine::{CpuDetector, CpuNetwork};
pub use error::TrainError;
pub use files::{new_run_folder, read, write_atomically};
pub use learner::Learner;
pub use optim::{Moments, Optimizer, OptimizerSettings, Segment, clip_gradient};
pub use planned::UntrainedNetwork;
pub use predict::predict;
pub use progress::{BatchProgress, EpochProgress, Observer, Progress, RunningEpoch, Silent};
pub use random::{InitialWeights, initial_params, step_stream};
pub use results::{EpochRow, write_results};
pub use run::{RunEnd, RunFiles, RunSetup, TrainingRun};
pub use run_state::{LearnerState, RunState};
pub use schedule::{Rates, Schedule, full_accumulate};
pub use task::{Judgement, LearnedBatch, Rehearsal, Task};
pub use trainable::{HeadLogits, ImageBatch, Objective, Trainable};
pub use validate::{Speed, Validation, nms_options, validate};
pub use weights::{LoadReport, ModelCard, NamedValues, WeightsFile, save_weights};
pub use yolo_loss::Targets;
