use std::path::PathBuf;

/// Why a file gave no arrays.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// No reader knows the bytes.
    #[error(
        "expected weights as PyTorch (.pth, .pt), safetensors, TensorFlow checkpoint, Keras HDF5 or ONNX, \
         got a file that starts with {start}"
    )]
    UnknownFormat {
        /// The first bytes, readable.
        start: String,
    },
    /// The bytes break the rules of their format, or end too early.
    #[error(
        "{format} file, {place}: {problem}; the file is damaged or incomplete, copy or download it again"
    )]
    Damaged {
        /// Format of the file.
        format: &'static str,
        /// Where in the file.
        place: String,
        /// What was expected and what came.
        problem: String,
    },
    /// A pickle names a class or function outside the list of harmless ones. Nothing was run.
    #[error("PyTorch file: the pickle needs `{name}`, which is not loaded; {advice}")]
    RefusedGlobal {
        /// Module and name.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// Well formed, but of a kind that is not read.
    #[error("{format} file, {place}: {problem}")]
    Unsupported {
        /// Format of the file.
        format: &'static str,
        /// Where in the file.
        place: String,
        /// What was found, and what to do.
        problem: String,
    },
    /// Reading on would take more memory or time than such a file may.
    #[error("{format} file, {place}: {what} exceed the limit of {limit}; the file is damaged or hostile")]
    Limit {
        /// Format of the file.
        format: &'static str,
        /// Where in the file.
        place: String,
        /// What there is too much of.
        what: &'static str,
        /// How much would be read.
        limit: u64,
    },
    /// The system could not read or write a file.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// Another error, with the file it is about.
    #[error("{}: {reason}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<FormatError>,
    },
}

impl FormatError {
    pub(crate) fn damaged(
        format: &'static str,
        place: impl Into<String>,
        problem: impl Into<String>,
    ) -> FormatError {
        FormatError::Damaged { format, place: place.into(), problem: problem.into() }
    }

    pub(crate) fn unsupported(
        format: &'static str,
        place: impl Into<String>,
        problem: impl Into<String>,
    ) -> FormatError {
        FormatError::Unsupported { format, place: place.into(), problem: problem.into() }
    }
}
