use net_graph::GraphError;

/// What can be wrong with a detector that is to be put together.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum DetectorError {
    #[error("{part}: expected {expected}, got {got}")]
    Levels { part: &'static str, expected: &'static str, got: String },
    #[error("{what}: expected at least 1, got 0")]
    Zero { what: &'static str },
    #[error(transparent)]
    Graph(#[from] GraphError),
}
