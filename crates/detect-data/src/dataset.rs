//! What a data set and a transform are.

use crate::{DataError, Generator, RgbImage};
use box_geometry::{CxCyWh, Size, Xyxy};

/// An object in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledBox {
    /// Class id from 0.
    pub class: usize,
    /// Corners in pixels of the image that the box comes with.
    pub xyxy: Xyxy,
}

/// An object in an image of any size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalisedBox {
    /// Class id from 0.
    pub class: usize,
    /// Centre and size as shares of the image's width and height.
    pub cxcywh: CxCyWh,
}

/// An image and the objects in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which image it is, for messages; a path where there is one.
    pub id: String,
    /// The pixels.
    pub image: RgbImage,
    /// The objects, in pixels of `image`.
    pub boxes: Vec<LabelledBox>,
}

/// Images with labelled boxes.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// True without any image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the classes; a box's class is an index into it.
    fn class_names(&self) -> &[String];

    /// Size of image `index`, as [`get`](Self::get) gives it, without decoding it.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    fn size(&self, index: usize) -> Size;

    /// Regions of image `index` that hold many objects, in pixels of the original image (`iscrowd` of COCO). Training does
    /// not see them; an evaluation neither rewards nor punishes detections in them.
    ///
    /// # Panics
    /// May panic when `index` is not below [`len`](Self::len).
    fn crowds(&self, _index: usize) -> Vec<LabelledBox> {
        Vec::new()
    }

    /// Image `index`, decoded, in its original size.
    ///
    /// # Errors
    /// When the index is out of range or the image cannot be read.
    fn get(&self, index: usize) -> Result<Sample, DataError>;
}

/// A random change of a sample.
pub trait Transform: Send + Sync {
    /// The changed sample; all randomness comes from `generator`.
    fn apply(&self, sample: Sample, generator: &mut Generator) -> Sample;
}
