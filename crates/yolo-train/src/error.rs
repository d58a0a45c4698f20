use crate::LoadReport;
use net_cpu::NetError;
use net_graph::GraphError;
use std::io;
use std::path::PathBuf;

/// What can go wrong when a network is trained, validated or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the message names.
pub enum TrainError {
    #[error("reading {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("writing {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{origin}: expected a safetensors file")]
    Safetensors { origin: String, source: safetensors::SafeTensorError },
    #[error("{origin}: {reason}")]
    WeightsFormat { origin: String, reason: String },
    #[error("{origin}: the weights do not fit this model: {report}")]
    WeightsMismatch { origin: String, report: Box<LoadReport> },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(
        "epoch {epoch}, batch {batch}: the loss is {loss}; lower the learning rate (lr0) or check the labels"
    )]
    Diverged { epoch: usize, batch: usize, loss: f32 },
}
