use std::path::PathBuf;
use yolo_neck_head::DetectorError;

/// What can be wrong with a configuration. `file` is the name the text was read under.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: expected a file, found a folder, pipe or device", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: expected text in UTF-8, found {found}; save the file as UTF-8", path.display())]
    NotUtf8 { path: PathBuf, found: String },
    #[error(
        "{file}: longer than the {limit} bytes that a configuration may have; is this a YAML configuration?"
    )]
    TooLarge { file: String, limit: usize },
    #[error("{file}: brackets nested deeper than {limit}; is this a YAML configuration?")]
    TooDeep { file: String, limit: usize },
    #[error(
        "{file}: line {line}: {tag}... asks for an object of another language; only plain values are read, nothing is executed"
    )]
    ForeignTag { file: String, line: usize, tag: &'static str },
    #[error("{}: expected a COCO instances file (JSON with `categories`)", path.display())]
    Coco { path: PathBuf, source: serde_json::Error },
    #[error("{file}: `{path}`: {problem}")]
    Row { file: String, path: String, problem: String },
    #[error("{file}: no valid YAML: {reason}")]
    Yaml { file: String, reason: serde_yaml::Error },
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
