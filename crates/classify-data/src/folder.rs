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
    /// images), their places there. Images whose header cannot be read are left out and listed; the others keep up to
    /// `byte_limit` bytes in memory once they are decoded.
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
        let checked: Vec<_> = paths.par_iter().map(|(path, _)| RgbImage::size_in_file(path)).collect();
        let (mut images, mut problems, mut bytes) = (Vec::new(), Vec::new(), 0);
        for ((path, class), size) in paths.into_iter().zip(checked) {
            match size {
                Ok(size) => {
                    bytes += size.height * size.width * 3;
                    images.push((path, class));
                }
                Err(error) => problems.push(FolderProblem { path, error }),
            }
        }
        if images.is_empty() {
            let (path, skipped) = (folder.to_path_buf(), problems.len());
            return Err(ClassDataError::NoImages { path, skipped });
        }
        let cache = images.iter().map(|_| OnceLock::new()).collect();
        Ok(ClassFolder { names, images, problems, cache, bytes_left: AtomicUsize::new(byte_limit), bytes })
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
        let image = Arc::new(RgbImage::open(self.path(index))?);
        let take = |left: usize| left.checked_sub(image.data().len());
        if self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            // Another thread may have been first; both images are equal.
            let _ = self.cache[index].set(image.clone());
        }
        Ok(image)
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
