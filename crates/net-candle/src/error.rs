use candle_core::DType;
use net_cpu::NetError;
use net_graph::GraphError;

/// What can go wrong when a graph is run on candle tensors.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum CandleNetError {
    #[error("number type: expected f32 or f64, got {got:?}")]
    NumberType { got: DType },
    #[error(
        "parameter `{param}`: expected {expected:?}, got {got}; are the values those of another network?"
    )]
    Values { param: String, expected: Vec<usize>, got: String },
    #[error("parameter `{param}`: the network has none of that name")]
    UnknownParam { param: String },
    #[error("images: expected [B, {channels}, H, W] of {dtype:?}, got {got}")]
    Images { channels: usize, dtype: DType, got: String },
    #[error("compiled graph: {0}")]
    Compiled(#[from] NetError),
    #[error("compiled graph: {0}")]
    Candle(candle_core::Error),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("node `{node}` ({kind}): {source}")]
    Node { node: String, kind: &'static str, source: Box<candle_core::Error> },
    #[error("parameter `{param}`: {source}")]
    Param { param: String, source: Box<candle_core::Error> },
}
