//! Errors.

use crate::regular_file::Shown;
use crate::{CocoError, FileProblem, ImageProblem, Problem};
use box_geometry::Size;
use std::path::PathBuf;

/// What can go wrong with a data set.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {problem}", Shown(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: FileProblem,
    },
    /// An image cannot be used.
    #[error("{}: {problem}", Shown(path))]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ImageProblem,
    },
    /// A COCO file cannot be used at all.
    #[error("{}: {problem}", Shown(path))]
    Coco {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: CocoError,
    },
    /// The images of a COCO file are nowhere to be found.
    #[error(
        "{}: none of its first images ({}) is in any of {}; say where they are with `images` in the data file",
        Shown(path), .example.escape_debug(), .tried.iter().map(|folder| Shown(folder).to_string()).collect::<Vec<_>>().join(", ")
    )]
    CocoImages {
        /// The COCO file.
        path: PathBuf,
        /// `file_name` of an image.
        example: String,
        /// The folders that were searched.
        tried: Vec<PathBuf>,
    },
    /// A file was replaced after the data set was opened.
    #[error(
        "{}: expected {}x{} pixels as when the data set was opened, got {}x{}; restart with the new files",
        Shown(path), expected.width, expected.height, got.width, got.height
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
        "expected images in {sources:?}, found none that can be used ({skipped} {} left out{}); \
         check the paths in the data file",
        if *skipped == 1 { "was" } else { "were" },
        .first.as_ref().map(|problem| format!(", such as {problem}")).unwrap_or_default()
    )]
    NoImages {
        /// The folders, lists and files that were searched.
        sources: Vec<PathBuf>,
        /// Images that were found but not usable.
        skipped: usize,
        /// What is wrong with the first of them.
        first: Option<Box<Problem>>,
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
