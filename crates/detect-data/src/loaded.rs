//! Images at the size of training and validation, kept in memory where they fit.

use crate::{DataError, Dataset, Sample, loading_size, resize};
use box_geometry::Size;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A data set whose images have the long side `image_size`.
///
/// Scaled images stay in memory until they fill `byte_limit`; those that come later are decoded every time. A sample is
/// the same either way.
pub struct LoadedImages {
    dataset: Arc<dyn Dataset>,
    image_size: usize,
    cache: Vec<OnceLock<Arc<Sample>>>,
    bytes_left: AtomicUsize,
}

impl LoadedImages {
    /// Wraps a data set; nothing is read yet. A limit of 0 keeps nothing.
    ///
    /// # Errors
    /// When the data set is empty or `image_size` is 0.
    pub fn new(dataset: Arc<dyn Dataset>, image_size: usize, byte_limit: usize) -> Result<Self, DataError> {
        if image_size == 0 {
            return Err(DataError::Setting {
                setting: "image size",
                expected: "at least 1",
                got: "0".into(),
            });
        }
        if dataset.is_empty() {
            return Err(DataError::NoImages { sources: Vec::new(), skipped: 0, first: None });
        }
        let cache = (0..dataset.len()).map(|_| OnceLock::new()).collect();
        Ok(LoadedImages { dataset, image_size, cache, bytes_left: AtomicUsize::new(byte_limit) })
    }

    /// The data set behind it.
    pub fn dataset(&self) -> &dyn Dataset {
        &*self.dataset
    }

    /// Number of images, at least 1.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Length of the long side in pixels.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Bytes that hold all images at this size: the limit at which nothing is decoded twice.
    pub fn bytes(&self) -> usize {
        let bytes = |index| {
            let size = loading_size(self.dataset.size(index), self.image_size);
            size.height * size.width * 3
        };
        (0..self.len()).map(bytes).sum()
    }

    /// Image `index` with its boxes, scaled.
    ///
    /// # Errors
    /// When the index is out of range or the image cannot be read.
    pub fn get(&self, index: usize) -> Result<Arc<Sample>, DataError> {
        let slot = self.cache.get(index).ok_or(DataError::IndexOutOfRange { index, len: self.len() })?;
        if let Some(sample) = slot.get() {
            return Ok(sample.clone());
        }
        let sample = Arc::new(scaled(self.dataset.get(index)?, self.image_size));
        if self.reserve(sample.image.data().len()) {
            // Another thread may have been first; both samples are equal.
            let _ = slot.set(sample.clone());
        }
        Ok(sample)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

fn scaled(mut sample: Sample, image_size: usize) -> Sample {
    let original = sample.image.size();
    let size = loading_size(original, image_size);
    if size != original {
        sample.image = resize(&sample.image, size);
        let [x, y] = scale_between(original, size);
        for labelled in &mut sample.boxes {
            labelled.xyxy = labelled.xyxy.scale(x, y);
        }
    }
    sample
}

/// Factors `[x, y]` from pixels of one size to those of another.
pub(crate) fn scale_between(from: Size, to: Size) -> [f32; 2] {
    [(to.width as f64 / from.width as f64) as f32, (to.height as f64 / from.height as f64) as f32]
}
