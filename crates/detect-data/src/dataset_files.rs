//! Data sets on disk, in YOLO's layout or COCO's: what is found, checked and left out.

use crate::coco_files::{CocoSource, coco_images};
use crate::image_file::read_image;
use crate::regular_file::read_regular;
use crate::{
    AnnotationProblem, DataError, Dataset, FileProblem, ImageHeader, ImageProblem, LabelFileProblem,
    LabelledBox, Labels, NormalisedBox, Note, NoteKind, Place, Problem, ProblemKind, Report, RgbImage,
    Sample, find_images, label_path, parse_labels,
};
use box_geometry::Size;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Images with a shorter side are not used.
const MIN_SIDE: usize = 10;
/// No label file is longer.
const MAX_LABEL_BYTES: u64 = 16 << 20;

/// How thoroughly images are checked when a data set is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCheck {
    /// Headers only: a file that is cut short is an error when it is loaded.
    Header,
    /// Every image is decoded once.
    Decode,
}

/// How a data set is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// How thoroughly images are checked.
    pub check: ImageCheck,
    /// Images with more pixels are left out before they are decoded; see [`crate::DEFAULT_MAX_PIXELS`].
    pub max_pixels: usize,
    /// Threads that check, at least 1.
    pub threads: usize,
}

/// One image and its labels.
#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    size: Size,
    boxes: Vec<NormalisedBox>,
    crowds: Vec<NormalisedBox>,
}

/// Image files with their labels.
#[derive(Debug, Clone)]
pub struct FileDataset {
    class_names: Vec<String>,
    max_pixels: usize,
    entries: Vec<Entry>,
    report: Report,
}

impl FileDataset {
    /// Opens a set in YOLO's layout: finds the images of `sources` (see [`find_images`]), reads all label files and
    /// checks everything. Images and rows that cannot be used are left out and listed in the
    /// [`report`](Self::report); images are in the order of their paths.
    ///
    /// # Errors
    /// When a source cannot be read, or no image is left.
    pub fn open_yolo(
        sources: &[PathBuf],
        class_names: Vec<String>,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        let images = find_images(sources)?;
        let classes = class_names.len();
        let mut dataset = Self::empty(class_names, options);
        for candidate in in_parallel(&images, options.threads, |path| yolo_candidate(path, classes, options))
        {
            dataset.add(candidate);
        }
        dataset.report.notes.extend(shared_labels(&images));
        dataset.unless_empty(sources)
    }

    /// Opens a set in COCO's layout: reads the instances files and checks all images and boxes. Entries that cannot be
    /// used are left out and listed in the [`report`](Self::report); images are in the order of their paths.
    ///
    /// # Errors
    /// When an instances file cannot be read, its categories by rising id are not `class_names`, its images are nowhere
    /// to be found, or no image is left.
    pub fn open_coco(
        sources: &[CocoSource],
        class_names: Vec<String>,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        let mut dataset = Self::empty(class_names, options);
        let mut candidates = Vec::new();
        for source in sources {
            let found = coco_images(source, &dataset.class_names)?;
            found.problems.into_iter().for_each(|problem| dataset.report.add(problem));
            candidates.extend(found.candidates);
        }
        candidates.sort_by(|a, b| a.path.cmp(&b.path));
        let check = |candidate: &Candidate| candidate.clone().checked(options);
        for candidate in in_parallel(&candidates, options.threads, check) {
            dataset.add(candidate);
        }
        let files: Vec<PathBuf> = sources.iter().map(|source| source.instances.clone()).collect();
        dataset.unless_empty(&files)
    }

    fn empty(class_names: Vec<String>, options: &OpenOptions) -> Self {
        let max_pixels = options.max_pixels;
        FileDataset { class_names, max_pixels, entries: Vec::new(), report: Report::default() }
    }

    fn add(&mut self, candidate: Candidate) {
        let Candidate { path, image, labels, crowds, is_animated, .. } = candidate;
        let size = match image {
            Checked::Usable(size) => size,
            Checked::Unusable(kind) => {
                return self.report.add(Problem { file: path, place: Place::Whole, kind });
            }
        };
        let Some(boxes) = self.report.add_labels(&path, labels, !crowds.is_empty()) else { return };
        if is_animated {
            self.report.notes.push(Note { file: path.clone(), kind: NoteKind::Animated });
        }
        self.report.crowds += crowds.len();
        self.entries.push(Entry { path, size, boxes, crowds });
    }

    fn unless_empty(self, sources: &[PathBuf]) -> Result<Self, DataError> {
        if !self.entries.is_empty() {
            return Ok(self);
        }
        let first = self.report.problems.iter().find(|problem| problem.kind.is_image());
        let first = first.cloned().map(Box::new);
        Err(DataError::NoImages { sources: sources.to_vec(), skipped: self.report.bad_images, first })
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
    /// Counts and lists an image's labels and gives its boxes; `None` where the image is left out for them.
    fn add_labels(
        &mut self,
        image: &Path,
        labels: CandidateLabels,
        has_crowds: bool,
    ) -> Option<Vec<NormalisedBox>> {
        let CandidateLabels::Read { file, boxes, problems } = labels else {
            self.missing += 1;
            return Some(Vec::new());
        };
        self.found += 1;
        self.empty += usize::from(boxes.is_empty() && problems.is_empty() && !has_crowds);
        let bad = problems.iter().filter(|(_, kind)| !kind.is_duplicate()).count();
        self.corrupt += usize::from(bad > 0);
        for (place, kind) in problems {
            self.add(Problem { file: file.clone(), place, kind });
        }
        if bad > 0 && boxes.is_empty() && !has_crowds {
            let kind = ProblemKind::NoUsableLabel { labels: bad };
            self.add(Problem { file: image.to_path_buf(), place: Place::Whole, kind });
            return None;
        }
        Some(boxes)
    }
}

impl Dataset for FileDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn size(&self, index: usize) -> Size {
        self.entries[index].size
    }

    fn crowds(&self, index: usize) -> Vec<LabelledBox> {
        let Entry { crowds, size, .. } = &self.entries[index];
        in_pixels(crowds, *size)
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let entry = self.entries.get(index).ok_or(DataError::IndexOutOfRange { index, len: self.len() })?;
        let image = RgbImage::open_within(&entry.path, self.max_pixels)?;
        if image.size() != entry.size {
            return Err(DataError::SizeChanged {
                path: entry.path.clone(),
                expected: entry.size,
                got: image.size(),
            });
        }
        let boxes = in_pixels(&entry.boxes, entry.size);
        Ok(Sample { id: entry.path.display().to_string(), image, boxes })
    }
}

fn in_pixels(boxes: &[NormalisedBox], size: Size) -> Vec<LabelledBox> {
    let scaled = |labelled: &NormalisedBox| LabelledBox {
        class: labelled.class,
        xyxy: labelled.cxcywh.denormalise(size).to_xyxy(),
    };
    boxes.iter().map(scaled).collect()
}

/// An image that may join a data set.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    /// Size that the labels refer to, where they say.
    pub(crate) labelled_size: Option<Size>,
    pub(crate) image: Checked,
    pub(crate) labels: CandidateLabels,
    pub(crate) crowds: Vec<NormalisedBox>,
    pub(crate) is_animated: bool,
}

/// Whether an image can be used; `Unusable` carries the reason.
#[derive(Debug, Clone)]
pub(crate) enum Checked {
    Usable(Size),
    Unusable(ProblemKind),
}

/// The labels of a candidate.
#[derive(Debug, Clone)]
pub(crate) enum CandidateLabels {
    /// There is no label file.
    None,
    Read {
        file: PathBuf,
        boxes: Vec<NormalisedBox>,
        problems: Vec<(Place, ProblemKind)>,
    },
}

impl Candidate {
    /// Reads the image.
    pub(crate) fn checked(mut self, options: &OpenOptions) -> Self {
        let header = match read_header(&self.path, options) {
            Ok(header) => header,
            Err(problem) => {
                self.image = Checked::Unusable(problem.into());
                return self;
            }
        };
        let size = header.size;
        self.is_animated = header.is_animated;
        self.image = match self.labelled_size {
            _ if size.height.min(size.width) < MIN_SIDE => Checked::Unusable(ProblemKind::TooSmall(size)),
            Some(expected) if expected != size => {
                Checked::Unusable(ProblemKind::OtherSize { expected, got: size })
            }
            _ => Checked::Usable(size),
        };
        self
    }
}

fn read_header(path: &Path, options: &OpenOptions) -> Result<ImageHeader, ImageProblem> {
    let bytes = read_image(path, options.max_pixels)?;
    let header = ImageHeader::read(&bytes, options.max_pixels)?;
    if options.check == ImageCheck::Decode {
        RgbImage::decode(&bytes, options.max_pixels)?;
    }
    Ok(header)
}

fn yolo_candidate(path: &Path, classes: usize, options: &OpenOptions) -> Candidate {
    let candidate = Candidate {
        path: path.to_path_buf(),
        labelled_size: None,
        image: Checked::Unusable(FileProblem::Missing.into()),
        labels: CandidateLabels::None,
        crowds: Vec::new(),
        is_animated: false,
    };
    let mut candidate = candidate.checked(options);
    match read_labels(&label_path(path), classes) {
        Ok(labels) => candidate.labels = labels,
        Err(problem) => {
            if let Checked::Usable(_) = candidate.image {
                candidate.image = Checked::Unusable(problem.into());
            }
        }
    }
    candidate
}

fn read_labels(file: &Path, classes: usize) -> Result<CandidateLabels, LabelFileProblem> {
    let bytes = match read_regular(file, MAX_LABEL_BYTES) {
        Ok(bytes) => bytes,
        Err(FileProblem::Missing) => return Ok(CandidateLabels::None),
        Err(problem) => return Err(problem.into()),
    };
    let Labels { boxes, problems } = parse_labels(&bytes, classes)?;
    let problems = problems.into_iter().map(|(row, problem)| (Place::Row(row), problem.into())).collect();
    Ok(CandidateLabels::Read { file: file.to_path_buf(), boxes, problems })
}

impl From<FileProblem> for ProblemKind {
    fn from(problem: FileProblem) -> Self {
        ProblemKind::Image(problem.into())
    }
}

/// Pairs such as a.jpg and a.png.
fn shared_labels(images: &[PathBuf]) -> Vec<Note> {
    let mut first: HashMap<PathBuf, &PathBuf> = HashMap::new();
    let mut notes = Vec::new();
    for image in images {
        if let Some(with) = first.get(&label_path(image)) {
            let kind = NoteKind::SharedLabels { with: with.to_path_buf() };
            notes.push(Note { file: image.clone(), kind });
        } else {
            first.insert(label_path(image), image);
        }
    }
    notes
}

/// Results in the order of the items; each thread does one run of neighbours.
fn in_parallel<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<R>>()))
            .collect();
        let joined = parts.into_iter().map(|part| part.join());
        joined.flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The labels of an image of a COCO file.
pub(crate) fn coco_labels(
    file: &Path,
    boxes: Vec<NormalisedBox>,
    problems: Vec<(Place, AnnotationProblem)>,
) -> CandidateLabels {
    let problems = problems.into_iter().map(|(place, problem)| (place, problem.into())).collect();
    CandidateLabels::Read { file: file.to_path_buf(), boxes, problems }
}
