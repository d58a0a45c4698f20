//! Rectangular letterboxed batches, with the way back to the original images.

use crate::loaded::scale_between;
use crate::prefetch::{Prefetch, Stop};
use crate::{DataError, LabelledBox, LoadedImages, letterbox};
use box_geometry::{
    InverseRule, Letterbox, LetterboxOptions, RectangularBatch, Size, Xyxy, rectangular_batches,
};
use std::sync::Arc;

/// How a validation loader works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationOptions {
    /// Images a batch, at least 1.
    pub batch: usize,
    /// Largest stride of the network; sides of the input are multiples of it.
    pub stride: usize,
    /// Padding of each side in strides (0.5 in YOLOv8).
    pub pad: f64,
    /// True for inputs that fit the batch, false for squares.
    pub rectangular: bool,
    /// Threads that make batches, at least 1.
    pub threads: usize,
    /// Batches that each thread may have ready, at least 1.
    pub queue: usize,
}

/// From network-input pixels back to the original image: the letterbox of the loaded image, then the scale of loading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputMapping {
    /// Size of the original image.
    pub original: Size,
    /// From the loaded image to the network input.
    pub letterbox: Letterbox,
}

impl InputMapping {
    /// A box from network-input pixels to original pixels, clipped to the original image.
    pub fn to_original(&self, xyxy: &Xyxy, rule: InverseRule) -> Xyxy {
        let [x, y] = scale_between(self.letterbox.original(), self.original);
        self.letterbox.inverse(xyxy, rule).scale(x, y).clip(self.original)
    }

    /// A box from original pixels to network-input pixels.
    pub fn to_input(&self, xyxy: &Xyxy) -> Xyxy {
        let [x, y] = scale_between(self.original, self.letterbox.original());
        self.letterbox.forward(&xyxy.scale(x, y))
    }
}

/// What belongs to one image of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationImage {
    /// Index in the data set.
    pub index: usize,
    /// The id that the data set gave.
    pub id: String,
    /// The way back to original pixels.
    pub mapping: InputMapping,
    /// The objects, in pixels of the original image.
    pub ground_truths: Vec<LabelledBox>,
    /// Regions of many objects, in pixels of the original image.
    pub crowds: Vec<LabelledBox>,
}

/// Images that go through the network together.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationBatch {
    /// Number from 0.
    pub number: usize,
    /// RGB bytes, `[B, H, W, 3]`.
    pub pixels: Vec<u8>,
    /// Height of the network input in pixels.
    pub height: usize,
    /// Width of the network input in pixels.
    pub width: usize,
    /// The images, in the order of `pixels`.
    pub images: Vec<ValidationImage>,
}

/// Starts passes over a validation set.
#[derive(Clone)]
pub struct ValidationLoader {
    images: Arc<LoadedImages>,
    options: ValidationOptions,
    batches: Arc<Vec<RectangularBatch>>,
}

impl ValidationLoader {
    /// Plans the batches: images by rising height / width, cut in that order, each batch with the smallest input that
    /// holds it (square ones keep the order of the data set).
    ///
    /// # Errors
    /// When a number is 0.
    pub fn new(images: Arc<LoadedImages>, options: ValidationOptions) -> Result<Self, DataError> {
        for (setting, value) in [("loader threads", options.threads), ("loader queue", options.queue)] {
            if value == 0 {
                return Err(DataError::Setting { setting, expected: "at least 1", got: "0".into() });
            }
        }
        let square = Size { height: 1, width: 1 };
        let shape = |index| if options.rectangular { images.dataset().size(index) } else { square };
        let shapes: Vec<Size> = (0..images.len()).map(shape).collect();
        let pad = if options.rectangular { options.pad } else { 0.0 };
        let batches = rectangular_batches(&shapes, options.batch, images.image_size(), options.stride, pad)?;
        Ok(ValidationLoader { images, options, batches: Arc::new(batches) })
    }

    /// The images.
    pub fn images(&self) -> &LoadedImages {
        &self.images
    }

    /// Number of batches.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The distinct sizes of the network input, in the order of their first batch.
    pub fn input_sizes(&self) -> Vec<Size> {
        let mut sizes = Vec::new();
        for batch in self.batches.iter() {
            if !sizes.contains(&batch.size) {
                sizes.push(batch.size);
            }
        }
        sizes
    }

    /// Starts a pass over all images.
    pub fn start(&self) -> ValidationBatches {
        let ValidationOptions { threads, queue, .. } = self.options;
        let (images, batches) = (self.images.clone(), self.batches.clone());
        let make = move |number: usize, stop: &Stop| make_batch(&images, number, &batches[number], stop);
        ValidationBatches(Prefetch::start(0..self.batches.len(), threads, queue, make))
    }
}

fn make_batch(
    images: &LoadedImages,
    number: usize,
    plan: &RectangularBatch,
    stop: &Stop,
) -> Option<Result<ValidationBatch, DataError>> {
    let Size { height, width } = plan.size;
    let pixels = Vec::with_capacity(plan.images.len() * height * width * 3);
    let mut batch = ValidationBatch { number, pixels, height, width, images: Vec::new() };
    for index in &plan.images {
        if stop.is_set() {
            return None;
        }
        if let Err(error) = add_image(images, *index, &mut batch) {
            return Some(Err(error));
        }
    }
    Some(Ok(batch))
}

fn add_image(images: &LoadedImages, index: usize, batch: &mut ValidationBatch) -> Result<(), DataError> {
    let sample = images.get(index)?;
    let input = Size { height: batch.height, width: batch.width };
    let options = LetterboxOptions { auto_stride: None, scale_up: false, scale_fill: false };
    let mapping = InputMapping {
        original: images.dataset().size(index),
        letterbox: Letterbox::new(sample.image.size(), input, &options)?,
    };
    batch.pixels.extend_from_slice(letterbox(&sample.image, &mapping.letterbox).data());
    let [x, y] = scale_between(sample.image.size(), mapping.original);
    let original = |labelled: &LabelledBox| LabelledBox { xyxy: labelled.xyxy.scale(x, y), ..*labelled };
    let ground_truths = sample.boxes.iter().map(original).collect();
    let crowds = images.dataset().crowds(index);
    batch.images.push(ValidationImage { index, id: sample.id.clone(), mapping, ground_truths, crowds });
    Ok(())
}

/// The batches of a pass, in order. The threads end when it is dropped; after an error it is over.
pub struct ValidationBatches(Prefetch<ValidationBatch>);

impl ValidationBatches {
    /// Batches that are still to come.
    pub fn remaining(&self) -> usize {
        self.0.remaining()
    }
}

impl Iterator for ValidationBatches {
    type Item = Result<ValidationBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
