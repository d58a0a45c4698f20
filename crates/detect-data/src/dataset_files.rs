//! Data sets on disk, in YOLO's layout or COCO's: what is found, checked and left out.

use crate::coco_files::{CocoSource, coco_images};
use crate::image_file::read_image;
use crate::regular_file::read_regular;
use crate::{
    AnnotationProblem, DataError, Dataset, FileProblem, ImageHeader, ImageProblem, LabelFileProblem,
    LabelProblem, LabelledBox, Labels, NormalisedBox, Note, NoteKind, Place, Problem, ProblemKind, Report,
    RgbImage, Sample, find_images, label_path, parse_labels,
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
        let examine = |path: &PathBuf| (examine(path, None, options), yolo_labels(path, classes));
        for (path, (image, labels)) in images.iter().zip(in_parallel(&images, options.threads, examine)) {
            let crowds = Vec::new();
            dataset.add(Candidate { path: path.clone(), labelled_size: None, labels, crowds }, image);
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
        let examine = |one: &Candidate| examine(&one.path, one.labelled_size, options);
        let images = in_parallel(&candidates, options.threads, examine);
        candidates.into_iter().zip(images).for_each(|(candidate, image)| dataset.add(candidate, image));
        let files: Vec<PathBuf> = sources.iter().map(|source| source.instances.clone()).collect();
        dataset.unless_empty(&files)
    }

    fn empty(class_names: Vec<String>, options: &OpenOptions) -> Self {
        let max_pixels = options.max_pixels;
        FileDataset { class_names, max_pixels, entries: Vec::new(), report: Report::default() }
    }

    fn add(&mut self, candidate: Candidate, image: Result<ImageHeader, ProblemKind>) {
        let Candidate { path, labels, crowds, .. } = candidate;
        let added = image.and_then(|image| {
            let boxes = self.report.add_labels(labels, !crowds.is_empty())?;
            Ok((image, boxes))
        });
        let (ImageHeader { size, is_animated }, boxes) = match added {
            Ok(added) => added,
            Err(kind) => return self.report.add(Problem { file: path, place: Place::Whole, kind }),
        };
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
    /// Counts and lists an image's labels and gives its boxes, or the reason to leave the image out.
    fn add_labels(
        &mut self,
        labels: CandidateLabels,
        has_crowds: bool,
    ) -> Result<Vec<NormalisedBox>, ProblemKind> {
        let (file, boxes, problems) = match labels {
            CandidateLabels::None => {
                self.missing += 1;
                return Ok(Vec::new());
            }
            CandidateLabels::Unreadable(problem) => return Err(problem.into()),
            CandidateLabels::Read { file, boxes, problems } => (file, boxes, problems),
        };
        self.found += 1;
        self.empty += usize::from(boxes.is_empty() && problems.is_empty() && !has_crowds);
        let bad = problems.iter().filter(|(_, kind)| !kind.is_duplicate()).count();
        self.corrupt += usize::from(bad > 0);
        for (place, kind) in problems {
            self.add(Problem { file: file.clone(), place, kind });
        }
        if bad > 0 && boxes.is_empty() && !has_crowds {
            return Err(ProblemKind::NoUsableLabel { labels: bad });
        }
        Ok(boxes)
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
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    /// Size that the labels refer to, where they say.
    pub(crate) labelled_size: Option<Size>,
    pub(crate) labels: CandidateLabels,
    pub(crate) crowds: Vec<NormalisedBox>,
}

/// The labels of a candidate.
#[derive(Debug)]
pub(crate) enum CandidateLabels {
    /// There is no label file.
    None,
    Unreadable(LabelFileProblem),
    Read {
        file: PathBuf,
        boxes: Vec<NormalisedBox>,
        problems: Vec<(Place, ProblemKind)>,
    },
}

/// The header of an image that can be used.
fn examine(
    path: &Path,
    labelled_size: Option<Size>,
    options: &OpenOptions,
) -> Result<ImageHeader, ProblemKind> {
    let header = read_header(path, options)?;
    let got = header.size;
    if got.height.min(got.width) < MIN_SIDE {
        return Err(ProblemKind::TooSmall(got));
    }
    match labelled_size.filter(|expected| *expected != got) {
        Some(expected) => Err(ProblemKind::OtherSize { expected, got }),
        None => Ok(header),
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

fn yolo_labels(image: &Path, classes: usize) -> CandidateLabels {
    let file = label_path(image);
    let labels = read_regular(&file, MAX_LABEL_BYTES)
        .map_err(LabelFileProblem::from)
        .and_then(|bytes| parse_labels(&bytes, classes));
    match labels {
        Ok(Labels { boxes, problems }) => {
            let row = |(row, problem): (usize, LabelProblem)| (Place::Row(row), problem.into());
            CandidateLabels::Read { file, boxes, problems: problems.into_iter().map(row).collect() }
        }
        Err(LabelFileProblem::File(FileProblem::Missing)) => CandidateLabels::None,
        Err(problem) => CandidateLabels::Unreadable(problem),
    }
}

/// Pairs such as a.jpg and a.png, where they have a label file.
fn shared_labels(images: &[PathBuf]) -> Vec<Note> {
    let mut first: HashMap<PathBuf, &PathBuf> = HashMap::new();
    let mut notes = Vec::new();
    for image in images.iter().filter(|image| label_path(image).exists()) {
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
