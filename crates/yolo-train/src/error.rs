use crate::LoadReport;
use box_geometry::GeometryError;
use classify_data::ClassDataError;
use detect_data::DataError;
use detect_eval::EvalError;
use net_cpu::NetError;
use net_graph::GraphError;
use std::io;
use std::path::PathBuf;
use yolo_loss::LossError;

/// What can go wrong when a network is trained, validated or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the message names.
pub enum TrainError {
    #[error("{}: cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{origin}: expected a safetensors file")]
    Safetensors { origin: String, source: safetensors::SafeTensorError },
    #[error("{origin}: {reason}")]
    WeightsFormat { origin: String, reason: String },
    #[error(
        "{origin}: the file is damaged: expected the checksum {expected} that it was written with, got {found}; \
         use another copy or checkpoint"
    )]
    Damaged { origin: String, expected: String, found: String },
    #[error("{origin}: the weights do not fit this model: {report}")]
    WeightsMismatch { origin: String, report: Box<LoadReport> },
    #[error(
        "saved state: expected vectors of {expected:?} values, got {got:?}; it belongs to another model or optimizer"
    )]
    StateMismatch { expected: Vec<usize>, got: Vec<usize> },
    #[error(
        "batch {batch} of the run: the loss is {loss}; lower the learning rate (lr0) or check the labels"
    )]
    Diverged { batch: usize, loss: f64 },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Loss(#[from] LossError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    ClassData(#[from] ClassDataError),
    #[error(transparent)]
    Eval(#[from] EvalError),
}
