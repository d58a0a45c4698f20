//! Where the images of a COCO instances file lie.

use crate::dataset_files::{Candidate, coco_labels};
use crate::regular_file::read_regular;
use crate::{CocoError, CocoInstances, DataError, Place, Problem, parse_coco};
use std::path::{Path, PathBuf};

/// No instances file is longer; that of COCO's own training set has 450 MB.
const MAX_BYTES: u64 = 4 << 30;
/// Images that are looked for to find their folder.
const PROBED: usize = 100;

/// A COCO instances file and its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoSource {
    /// The JSON file.
    pub instances: PathBuf,
    /// Folder that `file_name` is relative to; looked for by [`coco_image_folders`], unless given.
    pub images: Option<PathBuf>,
}

/// What a source yields: images, not yet opened, and what is wrong apart from them.
pub(crate) struct CocoImages {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) problems: Vec<Problem>,
}

/// Folders in which the images of an instances file are looked for, in this order. For
/// `set/annotations/instances_train.json`: `set/images/train`, `set/train`, `set/images`, `set`; then the folder of the
/// file itself.
pub fn coco_image_folders(instances: &Path) -> Vec<PathBuf> {
    let own = instances.parent().unwrap_or(Path::new(""));
    let is_annotations = own.file_name().is_some_and(|name| name == "annotations");
    let root = if is_annotations { own.parent().unwrap_or(Path::new("")) } else { own };
    let stem = instances.file_stem().unwrap_or_default().to_string_lossy();
    let split = stem.rsplit('_').next().unwrap_or(&stem);
    let mut folders = vec![root.join("images").join(split), root.join(split), root.join("images")];
    for folder in [root.to_path_buf(), own.to_path_buf()] {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

pub(crate) fn coco_images(source: &CocoSource, class_names: &[String]) -> Result<CocoImages, DataError> {
    let file = &source.instances;
    let instances =
        read(file, class_names).map_err(|problem| DataError::Coco { path: file.clone(), problem })?;
    let folder = image_folder(source, &instances)?;
    let mut problems = Vec::new();
    let mut add = |place: Place, kind| problems.push(Problem { file: file.clone(), place, kind });
    for (place, problem) in instances.image_problems {
        add(place, crate::ProblemKind::ImageEntry(problem));
    }
    for (place, problem) in instances.stray_problems {
        add(place, crate::ProblemKind::Annotation(problem));
    }
    let candidate = |image: crate::CocoImage| Candidate {
        path: folder.join(&image.file_name),
        labelled_size: Some(image.size),
        labels: coco_labels(file, image.boxes, image.problems),
        crowds: image.crowds,
    };
    Ok(CocoImages { candidates: instances.images.into_iter().map(candidate).collect(), problems })
}

fn read(file: &Path, class_names: &[String]) -> Result<CocoInstances, CocoError> {
    let instances = parse_coco(&read_regular(file, MAX_BYTES)?)?;
    if instances.categories != class_names {
        let (expected, got) = (class_names.to_vec(), instances.categories);
        return Err(CocoError::OtherClasses { expected, got });
    }
    Ok(instances)
}

/// The first folder that has one of the first images.
fn image_folder(source: &CocoSource, instances: &CocoInstances) -> Result<PathBuf, DataError> {
    if let Some(folder) = &source.images {
        return Ok(folder.clone());
    }
    let tried = coco_image_folders(&source.instances);
    let names: Vec<&String> = instances.images.iter().take(PROBED).map(|image| &image.file_name).collect();
    let has_image = |folder: &&PathBuf| names.iter().any(|name| folder.join(name).exists());
    if let Some(folder) = tried.iter().find(has_image) {
        return Ok(folder.clone());
    }
    let example = names.first().map(|name| name.to_string()).unwrap_or_default();
    Err(DataError::CocoImages { path: source.instances.clone(), example, tried })
}
