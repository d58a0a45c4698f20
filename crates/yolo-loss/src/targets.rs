//! Ground truth of a batch.

use crate::LossError;
use box_geometry::{CxCyWh, Size, Xyxy};

/// One labelled object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundTruth {
    /// Class index.
    pub class: usize,
    /// Its box in network-input pixels.
    pub xyxy: Xyxy,
}

/// The labelled objects of a batch, image by image. An image without objects is a valid negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    images: Vec<Vec<GroundTruth>>,
}

impl Targets {
    /// The objects of each image.
    pub fn new(images: Vec<Vec<GroundTruth>>) -> Self {
        Targets { images }
    }

    /// From rows (image, class, box normalised by the size of the network input), in any order.
    ///
    /// # Errors
    /// When a row names an image outside the batch.
    pub fn from_normalised(
        images: usize,
        input: Size,
        rows: impl IntoIterator<Item = (usize, usize, CxCyWh)>,
    ) -> Result<Self, LossError> {
        let mut targets = Targets { images: vec![Vec::new(); images] };
        for (row, (image, class, bbox)) in rows.into_iter().enumerate() {
            let objects = targets.images.get_mut(image).ok_or(LossError::Image { row, image, images })?;
            objects.push(GroundTruth { class, xyxy: bbox.denormalise(input).to_xyxy() });
        }
        Ok(targets)
    }

    /// The objects, image by image.
    pub fn images(&self) -> &[Vec<GroundTruth>] {
        &self.images
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True if the batch has no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    pub(crate) fn check(&self, classes: usize) -> Result<(), LossError> {
        for (image, objects) in self.images.iter().enumerate() {
            if let Some(index) = objects.iter().position(|object| object.class >= classes) {
                return Err(LossError::Class { image, index, class: objects[index].class, classes });
            }
        }
        Ok(())
    }
}
