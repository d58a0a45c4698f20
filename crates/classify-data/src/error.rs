use detect_data::DataError;
use std::path::PathBuf;

/// Why a classification data set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the message names.
pub enum ClassDataError {
    #[error("{}: cannot be read", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: expected a folder for each class (train/cat/1.jpg, train/dog/2.jpg ...), got none", path.display())]
    NoClasses { path: PathBuf },
    #[error("{}: expected images in the folders of the classes, got none that can be read ({skipped} cannot)", path.display())]
    NoImages { path: PathBuf, skipped: usize },
    #[error("{}: expected only the classes of the training images, {}; got `{class}`", path.display(), known.join(", "))]
    UnknownClass { path: PathBuf, class: String, known: Vec<String> },
    #[error("{setting}: expected {expected}, got {got}")]
    Setting { setting: &'static str, expected: &'static str, got: String },
    #[error(transparent)]
    Data(#[from] DataError),
}
