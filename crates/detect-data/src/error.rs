//! Errors.

use box_geometry::Size;
use std::path::PathBuf;

/// What can go wrong with a data set.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is no image that can be decoded.
    #[error("{}: expected an image (jpg, png, bmp, webp, tiff), but decoding failed: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// A file was replaced after the data set was opened.
    #[error(
        "{}: expected {}x{} pixels as when the data set was opened, got {}x{}; restart with the new files",
        path.display(), expected.width, expected.height, got.width, got.height
    )]
    SizeChanged {
        /// The file.
        path: PathBuf,
        /// Size when the data set was opened.
        expected: Size,
        /// Size now.
        got: Size,
    },
    /// Nothing to work with.
    #[error(
        "expected images in {sources:?}, found none that can be used ({skipped} were skipped as unreadable); \
         check the paths in the data file"
    )]
    NoImages {
        /// The folders, lists and files that were searched.
        sources: Vec<PathBuf>,
        /// Images that were found but not usable.
        skipped: usize,
    },
    /// An index that the data set does not have.
    #[error("image {index}: the data set has only {len} images (0 to {})", len.saturating_sub(1))]
    IndexOutOfRange {
        /// The index asked for.
        index: usize,
        /// Length of the data set.
        len: usize,
    },
    /// A setting of a loader or pipeline that cannot work.
    #[error("{setting}: expected {expected}, got {got}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// Sizes that do not fit together.
    #[error(transparent)]
    Geometry(#[from] box_geometry::GeometryError),
    /// A thread of a loader ended by a panic: a bug, in this crate or in a data set or transform of the caller.
    #[error("a loader thread panicked while making batch {batch}: {message}")]
    WorkerPanicked {
        /// Number of the batch within its epoch.
        batch: usize,
        /// The panic's message.
        message: String,
    },
}
