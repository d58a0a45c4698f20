//! What is wrong in the files of a data set, and how it is told.

use crate::regular_file::Shown;
use crate::{AnnotationProblem, FileProblem, ImageProblem, LabelFileProblem, LabelProblem};
use box_geometry::Size;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Something that is left out of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The image, label or COCO file.
    pub file: PathBuf,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// A row of a label file, from 1.
    Row(usize),
    /// An annotation of a COCO file, by its id.
    Annotation(i64),
    /// An annotation without a usable id, by its position from 0.
    AnnotationAt(usize),
    /// An image of a COCO file, by its id.
    Image(i64),
    /// An image without a usable id, by its position from 0.
    ImageAt(usize),
}

/// What is wrong with an image or a label.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// The image cannot be read or decoded.
    #[error("image left out: {0}")]
    Image(#[from] ImageProblem),
    /// A side of the image is too short.
    #[error("image left out: expected sides of at least 10 pixels, found {} x {}", .0.width, .0.height)]
    TooSmall(Size),
    /// The label file cannot be read. Its image is left out: nobody knows what is on it.
    #[error("image left out, since its labels cannot be read: {0}")]
    LabelFile(#[from] LabelFileProblem),
    /// There are labels, but all of them are wrong. As background the image would teach that its objects are none.
    #[error("image left out: none of its {labels} labels can be used")]
    NoUsableLabel {
        /// Labels of the image.
        labels: usize,
    },
    /// The image does not have the size that its boxes refer to.
    #[error(
        "image left out: the COCO file says {} x {}, the image has {} x {} with its orientation applied; \
         are the boxes those of the picture before it was turned or scaled?",
        .expected.width, .expected.height, .got.width, .got.height
    )]
    OtherSize {
        /// Size in the COCO file.
        expected: Size,
        /// Size of the image.
        got: Size,
    },
    /// An entry of a COCO file's `images` cannot be used.
    #[error("image left out: {0}")]
    ImageEntry(AnnotationProblem),
    /// A row of a label file.
    #[error("row left out: {0}")]
    Row(#[from] LabelProblem),
    /// An annotation of a COCO file.
    #[error("annotation left out: {0}")]
    Annotation(#[from] AnnotationProblem),
}

impl ProblemKind {
    /// A short name of the kind, to count by.
    pub fn name(&self) -> &'static str {
        match self {
            ProblemKind::Image(problem) => image_problem_name(problem),
            ProblemKind::TooSmall(_) => "image too small",
            ProblemKind::LabelFile(LabelFileProblem::File(_)) => "unreadable label file",
            ProblemKind::LabelFile(_) => "label file that is no text",
            ProblemKind::NoUsableLabel { .. } => "image without a usable label",
            ProblemKind::OtherSize { .. } => "image of another size",
            ProblemKind::ImageEntry(_) => "wrong image entry",
            ProblemKind::Row(LabelProblem::Duplicate) => "repeated row",
            ProblemKind::Row(_) => "wrong row",
            ProblemKind::Annotation(AnnotationProblem::Duplicate) => "repeated annotation",
            ProblemKind::Annotation(_) => "wrong annotation",
        }
    }

    /// True where a whole image is left out, not only a label.
    pub fn is_image(&self) -> bool {
        !matches!(self, ProblemKind::Row(_) | ProblemKind::Annotation(_))
    }

    /// True for a label that repeats an earlier one.
    pub fn is_duplicate(&self) -> bool {
        matches!(
            self,
            ProblemKind::Row(LabelProblem::Duplicate) | ProblemKind::Annotation(AnnotationProblem::Duplicate)
        )
    }
}

fn image_problem_name(problem: &ImageProblem) -> &'static str {
    match problem {
        ImageProblem::File(FileProblem::Missing) => "missing image",
        ImageProblem::File(FileProblem::NotAFile(_)) => "image that is no file",
        ImageProblem::File(FileProblem::Unreadable(_) | FileProblem::TooLong { .. }) => "unreadable image",
        ImageProblem::TooManyPixels { .. } => "image too large",
        ImageProblem::Decode(_) => "image that cannot be decoded",
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.file))?;
        match self.place {
            Place::Whole => {}
            Place::Row(row) => write!(f, ":{row}")?,
            Place::Annotation(id) => write!(f, ": annotation {id}")?,
            Place::AnnotationAt(position) => write!(f, ": annotations[{position}]")?,
            Place::Image(id) => write!(f, ": image {id}")?,
            Place::ImageAt(position) => write!(f, ": images[{position}]")?,
        }
        write!(f, ": {}", self.kind)
    }
}

/// Something that is used, though perhaps not as its owner expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The image.
    pub file: PathBuf,
    /// What there is to say.
    pub kind: NoteKind,
}

/// What there is to say about an image that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteKind {
    /// It has several pictures.
    Animated,
    /// Another image has the same label file.
    SharedLabels {
        /// The first image with that label file.
        with: PathBuf,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Shown(&self.file))?;
        match &self.kind {
            NoteKind::Animated => write!(f, "several pictures; the first is used"),
            NoteKind::SharedLabels { with } => {
                write!(f, "has the same label file as {}; both images are used", Shown(with))
            }
        }
    }
}

/// What was found when a data set was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Images with labels of their own: a label file, or in a COCO file any entry.
    pub found: usize,
    /// Images without a label file: they count as background.
    pub missing: usize,
    /// Images whose label file has no row, or for which a COCO file has no annotation: background too.
    pub empty: usize,
    /// Images of which a label was left out, other than a repeated one.
    pub corrupt: usize,
    /// Labels left out, repeated ones not counted.
    pub bad_rows: usize,
    /// Labels left out because they repeat an earlier one.
    pub duplicate_rows: usize,
    /// Images left out.
    pub bad_images: usize,
    /// Regions of many objects.
    pub crowds: usize,
    /// Everything that was left out, by file and place.
    pub problems: Vec<Problem>,
    /// What is used but worth a word.
    pub notes: Vec<Note>,
}

impl Report {
    /// Number of problems of each kind, by [`ProblemKind::name`].
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.problems.iter().for_each(|problem| *counts.entry(problem.kind.name()).or_default() += 1);
        counts
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        let kind = &problem.kind;
        self.bad_images += usize::from(kind.is_image());
        self.duplicate_rows += usize::from(kind.is_duplicate());
        self.bad_rows += usize::from(!kind.is_image() && !kind.is_duplicate());
        self.problems.push(problem);
    }
}
