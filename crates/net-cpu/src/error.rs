use net_graph::GraphError;

/// What can go wrong when a graph is compiled or run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum NetError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("node `{node}` ({kind}): {reason}; run this graph with net-candle instead")]
    Unsupported { node: String, kind: &'static str, reason: &'static str },
    #[error("images: expected {expected} values for {batch}x{channels}x{height}x{width}, got {got}")]
    ImageLength { expected: usize, batch: usize, channels: usize, height: usize, width: usize, got: usize },
    #[error("parameter `{name}`: no parameter of that name in this network")]
    UnknownParam { name: String },
    #[error("parameter `{name}`: expected {expected} values ({dims:?}), got {got}")]
    ParamLength { name: String, expected: usize, dims: Vec<usize>, got: usize },
}
