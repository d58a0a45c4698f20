use net_candle::CandleNetError;
use std::path::PathBuf;

/// What can go wrong when a network is made, loaded or run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum EfficientNetError {
    #[error("reductions: expected increasing numbers in 1..={available}, got {got:?}")]
    Reductions { available: usize, got: Vec<usize> },
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: not a safetensors file: {source}")]
    Format { path: PathBuf, source: Box<candle_core::Error> },
    #[error(
        "{path}: the file's metadata has no `{key}`, so its variant, padding and batch-norm epsilon are not known; give a configuration with `load_with`"
    )]
    NoMetadata { path: PathBuf, key: &'static str },
    #[error("{path}: metadata `{key}`: {reason}")]
    Metadata { path: PathBuf, key: &'static str, reason: String },
    #[error("{path}: not the weights of this network: {problems}")]
    Weights { path: PathBuf, problems: String },
    #[error(transparent)]
    Net(#[from] CandleNetError),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
