//! Training, validation and prediction.
#![forbid(unsafe_code)]

mod checkpoint;
mod ema;
mod error;
mod files;
mod optim;
mod random;
mod results;
mod schedule;

pub use checkpoint::{LoadReport, ModelCard, NamedValues, RunState, WeightsFile, save_weights};
pub use ema::Ema;
pub use error::TrainError;
pub use files::{new_run_folder, read, write_atomically};
pub use optim::{Moments, Optimizer, OptimizerSettings, Segment, clip_gradient};
pub use random::{initial_params, step_stream};
pub use results::{EpochRow, write_results};
pub use schedule::{Rates, Schedule, full_accumulate};
