use std::path::PathBuf;
use yolo_neck_head::DetectorError;

/// What can be wrong with a configuration. `file` is the name the text was read under.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{file}: a configuration of {bytes} bytes; expected at most {limit}. Is this a YAML configuration?"
    )]
    TooLarge { file: String, bytes: usize, limit: usize },
    #[error("{file}: no valid YAML: {source}")]
    Yaml { file: String, source: serde_yaml::Error },
    #[error("{file}: `{path}`: there is no such key; {advice}")]
    UnknownKey { file: String, path: String, advice: String },
    #[error("{file}: `{path}` is missing; expected {expected}")]
    Missing { file: String, path: String, expected: String },
    #[error("{file}: `{path}`: expected {expected}, got {got}")]
    Value { file: String, path: String, expected: String, got: String },
    #[error("{setting:?}: expected `key=value`, such as `lr0=0.001`")]
    Setting { setting: String },
    #[error("a classifier: expected an EfficientNet as backbone, got YOLOv8's")]
    Classifier,
    #[error("a network of these parts cannot be built: {0}")]
    Build(#[from] DetectorError),
}
