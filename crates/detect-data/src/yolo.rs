//! Data sets in YOLO's layout: `images/..` beside `labels/..`, a text file an image.

use crate::{DataError, Dataset, LabelProblem, LabelledBox, NormalisedBox, RgbImage, Sample};
use crate::{find_images, label_path, parse_labels};
use box_geometry::Size;
use std::path::{Path, PathBuf};

/// Images with a shorter side are not used.
const MIN_SIDE: usize = 10;

/// How thoroughly images are checked when a data set is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCheck {
    /// Headers only: a file that is cut short is an error when it is loaded.
    Header,
    /// Every image is decoded once.
    Decode,
}

/// What is wrong in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The image or label file.
    pub file: PathBuf,
    /// Row of a label file, from 1.
    pub row: Option<usize>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with an image or a row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// The image cannot be read or decoded; it is left out.
    #[error("image left out: {0}")]
    Unreadable(String),
    /// A side of the image is too short; it is left out.
    #[error("image left out: expected sides of at least 10 pixels, found {} x {}", .0.width, .0.height)]
    TooSmall(Size),
    /// A row of labels is left out.
    #[error("row left out: {0}")]
    Row(#[from] LabelProblem),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.row.map(|row| format!(":{row}")).unwrap_or_default();
        write!(f, "{}{row}: {}", self.file.display(), self.kind)
    }
}

/// What was found when a data set was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Images with a label file.
    pub found: usize,
    /// Images without a label file: they count as background.
    pub missing: usize,
    /// Label files without a row: background too.
    pub empty: usize,
    /// Label files from which a row was left out, other than a repeated one.
    pub corrupt: usize,
    /// Rows left out, repeated ones not counted.
    pub bad_rows: usize,
    /// Rows left out because they repeat an earlier one.
    pub duplicate_rows: usize,
    /// Images left out.
    pub bad_images: usize,
    /// Everything that was left out, by file and row.
    pub problems: Vec<Problem>,
}

/// One image and its labels.
#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    size: Size,
    boxes: Vec<NormalisedBox>,
}

/// A data set in YOLO's layout.
#[derive(Debug, Clone)]
pub struct YoloDataset {
    class_names: Vec<String>,
    entries: Vec<Entry>,
    report: Report,
}

impl YoloDataset {
    /// Finds the images of `sources` (see [`find_images`]), reads all labels and checks everything, on `threads`
    /// threads. Images and rows that cannot be used are left out and listed in the [`report`](Self::report); images
    /// are in the order of their paths.
    ///
    /// # Errors
    /// When a source or label file cannot be read, or no image is left.
    pub fn open(
        sources: &[PathBuf],
        class_names: Vec<String>,
        check: ImageCheck,
        threads: usize,
    ) -> Result<Self, DataError> {
        let images = find_images(sources)?;
        let mut dataset = YoloDataset { class_names, entries: Vec::new(), report: Report::default() };
        for examined in examine_all(&images, dataset.class_names.len(), check, threads) {
            dataset.add(examined?);
        }
        if dataset.entries.is_empty() {
            let skipped = dataset.report.bad_images;
            return Err(DataError::NoImages { sources: sources.to_vec(), skipped });
        }
        Ok(dataset)
    }

    fn add(&mut self, examined: Examined) {
        let report = &mut self.report;
        match examined.size {
            Err(kind) => {
                report.bad_images += 1;
                report.problems.push(Problem { file: examined.path, row: None, kind });
            }
            Ok(size) => {
                let label_file = label_path(&examined.path);
                let entry = report.add_labels(label_file, examined.labels);
                self.entries.push(Entry { path: examined.path, size, boxes: entry });
            }
        }
    }

    /// What was found and what was left out.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Path of image `index`.
    ///
    /// # Panics
    /// When the index is out of range.
    pub fn path(&self, index: usize) -> &Path {
        &self.entries[index].path
    }

    /// Labels of image `index`.
    ///
    /// # Panics
    /// When the index is out of range.
    pub fn labels(&self, index: usize) -> &[NormalisedBox] {
        &self.entries[index].boxes
    }

    /// Number of labelled boxes.
    pub fn box_count(&self) -> usize {
        self.entries.iter().map(|entry| entry.boxes.len()).sum()
    }
}

impl Report {
    /// Counts a label file (`None`: there is none) and gives its boxes.
    fn add_labels(&mut self, file: PathBuf, labels: Option<crate::Labels>) -> Vec<NormalisedBox> {
        let Some(labels) = labels else {
            self.missing += 1;
            return Vec::new();
        };
        self.found += 1;
        self.empty += usize::from(labels.boxes.is_empty() && labels.problems.is_empty());
        let is_duplicate = |(_, problem): &&(usize, LabelProblem)| *problem == LabelProblem::Duplicate;
        let duplicates = labels.problems.iter().filter(is_duplicate).count();
        let bad = labels.problems.len() - duplicates;
        self.duplicate_rows += duplicates;
        self.bad_rows += bad;
        self.corrupt += usize::from(bad > 0);
        let problem = |(row, problem): (usize, LabelProblem)| Problem {
            file: file.clone(),
            row: Some(row),
            kind: problem.into(),
        };
        self.problems.extend(labels.problems.into_iter().map(problem));
        labels.boxes
    }
}

impl Dataset for YoloDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn size(&self, index: usize) -> Size {
        self.entries[index].size
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let entry = self.entries.get(index).ok_or(DataError::IndexOutOfRange { index, len: self.len() })?;
        let image = RgbImage::open(&entry.path)?;
        if image.size() != entry.size {
            return Err(DataError::SizeChanged {
                path: entry.path.clone(),
                expected: entry.size,
                got: image.size(),
            });
        }
        let in_pixels = |labelled: &NormalisedBox| LabelledBox {
            class: labelled.class,
            xyxy: labelled.cxcywh.denormalise(entry.size).to_xyxy(),
        };
        let boxes = entry.boxes.iter().map(in_pixels).collect();
        Ok(Sample { id: entry.path.display().to_string(), image, boxes })
    }
}

/// An image file, its size or what is wrong with it, and its labels if it has a label file.
struct Examined {
    path: PathBuf,
    size: Result<Size, ProblemKind>,
    labels: Option<crate::Labels>,
}

fn examine_all(
    images: &[PathBuf],
    classes: usize,
    check: ImageCheck,
    threads: usize,
) -> Vec<Result<Examined, DataError>> {
    let share = images.len().div_ceil(threads.max(1)).max(1);
    let examine_part = |part: &[PathBuf]| -> Vec<Result<Examined, DataError>> {
        part.iter().map(|path| examine(path, classes, check)).collect()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            images.chunks(share).map(|part| scope.spawn(move || examine_part(part))).collect();
        let joined = parts.into_iter().map(|part| part.join());
        joined.flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn examine(path: &Path, classes: usize, check: ImageCheck) -> Result<Examined, DataError> {
    let size = match check {
        ImageCheck::Header => RgbImage::size_in_file(path),
        ImageCheck::Decode => RgbImage::open(path).map(|image| image.size()),
    };
    let size = match size {
        Err(error) => Err(ProblemKind::Unreadable(error.to_string())),
        Ok(size) if size.height.min(size.width) < MIN_SIDE => Err(ProblemKind::TooSmall(size)),
        Ok(size) => Ok(size),
    };
    let label_file = label_path(path);
    let labels = match std::fs::read(&label_file) {
        Ok(bytes) => Some(parse_labels(&bytes, classes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(DataError::Io { path: label_file, source }),
    };
    Ok(Examined { path: path.to_path_buf(), size, labels })
}
