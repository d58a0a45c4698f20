//! A split of a data set: a folder with a folder of images for each class.

use crate::ClassDataError;
use detect_data::{DataError, RgbImage, find_images};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// An image that is left out.
#[derive(Debug)]
pub struct FolderProblem {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: DataError,
}

/// The images of a split with the class of each. Decoded images stay in memory until they fill a limit.
pub struct ClassFolder {
    names: Vec<String>,
    images: Vec<(PathBuf, usize)>,
    problems: Vec<FolderProblem>,
    cache: Vec<OnceLock<Arc<RgbImage>>>,
    bytes_left: AtomicUsize,
    bytes: usize,
}

impl ClassFolder {
    /// Opens `folder`. Classes are the names of its folders, sorted, or, where `names` is given (those of the training
    /// images), their places there. Every image is decoded; those that cannot be are left out and listed, and the others
    /// stay in memory up to `byte_limit` bytes.
    ///
    /// # Errors
    /// When there is no class, no readable image, or a class that `names` lacks.
    pub fn open(folder: &Path, names: Option<&[String]>, byte_limit: usize) -> Result<Self, ClassDataError> {
        let found = class_folders(folder)?;
        let names = names.map_or_else(|| found.clone(), <[String]>::to_vec);
        let mut paths = Vec::new();
        for class in &found {
            let index =
                names.iter().position(|name| name == class).ok_or_else(|| ClassDataError::UnknownClass {
                    path: folder.to_path_buf(),
                    class: class.clone(),
                    known: names.clone(),
                })?;
            paths.extend(find_images(&[folder.join(class)])?.into_iter().map(|path| (path, index)));
        }
        let mut opened = ClassFolder {
            names,
            images: Vec::new(),
            problems: Vec::new(),
            cache: Vec::new(),
            bytes_left: AtomicUsize::new(byte_limit),
            bytes: 0,
        };
        let decoded: Vec<_> = paths.par_iter().map(|(path, _)| opened.examine(path)).collect();
        for ((path, class), examined) in paths.into_iter().zip(decoded) {
            match examined {
                Ok((bytes, slot)) => {
                    opened.bytes += bytes;
                    opened.images.push((path, class));
                    opened.cache.push(slot);
                }
                Err(error) => opened.problems.push(FolderProblem { path, error }),
            }
        }
        if opened.images.is_empty() {
            let (path, skipped) = (folder.to_path_buf(), opened.problems.len());
            return Err(ClassDataError::NoImages { path, skipped });
        }
        Ok(opened)
    }

    /// Decodes an image; its bytes, and the image itself where there is room for it.
    fn examine(&self, path: &Path) -> Result<(usize, OnceLock<Arc<RgbImage>>), DataError> {
        let image = RgbImage::open(path)?;
        let bytes = image.data().len();
        let slot = if self.reserve(bytes) { OnceLock::from(Arc::new(image)) } else { OnceLock::new() };
        Ok((bytes, slot))
    }

    fn reserve(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Keeps the first `count` images of each class alone: a smaller set for a shorter training.
    pub fn truncate(&mut self, count: usize) {
        let mut seen = vec![0; self.names.len()];
        self.images.retain(|(_, class)| {
            seen[*class] += 1;
            seen[*class] <= count
        });
        self.cache.truncate(self.images.len());
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of images, at least 1.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Class of image `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn class(&self, index: usize) -> usize {
        self.images[index].1
    }

    /// File of image `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn path(&self, index: usize) -> &Path {
        &self.images[index].0
    }

    /// What was left out.
    pub fn problems(&self) -> &[FolderProblem] {
        &self.problems
    }

    /// Bytes of all images, decoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Image `index`, decoded.
    ///
    /// # Errors
    /// When it cannot be read.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> Result<Arc<RgbImage>, DataError> {
        if let Some(image) = self.cache[index].get() {
            return Ok(image.clone());
        }
        Ok(Arc::new(RgbImage::open(self.path(index))?))
    }
}

/// Names of the folders in `folder`, sorted.
fn class_folders(folder: &Path) -> Result<Vec<String>, ClassDataError> {
    let failed = |source| ClassDataError::Io { path: folder.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(ClassDataError::NoClasses { path: folder.to_path_buf() });
    }
    Ok(names)
}
