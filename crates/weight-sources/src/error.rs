use effnet_scaling::ScalingError;
use effyolo_config::ConfigError;
use net_formats::{FormatError, InfoError};
use yolo_neck_head::DetectorError;

/// Why it cannot be said which network a file holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the message names.
pub enum SourceError {
    #[error(
        "expected an EfficientNet or a stock YOLOv8{below}, recognised by {markers}; got {arrays} arrays{found}"
    )]
    Unrecognised { below: String, markers: String, arrays: usize, found: String },
    #[error("the file holds {count} networks; choose one with --prefix: {prefixes}")]
    Several { count: usize, prefixes: String },
    #[error(
        "the names are {names}'s, but the arrays are not those of a known network: the closest, {closest}, has {params} \
         parameters and {fitting} of them fit; give --variant, or --width and --depth, if it is another one"
    )]
    OtherNetwork { names: String, closest: String, params: usize, fitting: usize },
    #[error("{names}'s names are not those of `{variant}`")]
    OtherNames { names: String, variant: String },
    #[error("metadata `effyolo`: expected the card of a model that `effyolo train` wrote")]
    Card(#[from] serde_json::Error),
    #[error("{count} parameters of `{variant}` are missing or have other dimensions; {first}")]
    Incomplete { variant: String, count: usize, first: String },
    #[error(transparent)]
    Write(#[from] FormatError),
    #[error(transparent)]
    Variant(#[from] ScalingError),
    #[error(transparent)]
    Model(#[from] ConfigError),
    #[error(transparent)]
    Info(#[from] InfoError),
    #[error("the stock detector cannot be built: {0}")]
    Detector(#[from] DetectorError),
}
