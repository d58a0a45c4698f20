//! From an index to a square picture.

use crate::crop::{centre_crop, crop_and_scale, random_crop};
use crate::{AutoAugment, ClassDataError, ClassFolder, erase};
use detect_data::{DataError, Generator, RgbImage};
use std::sync::Arc;

/// Strengths and probabilities of the augmentations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassAugmentation {
    /// Least share of the image's area that a random crop keeps; 1 for the centre crop of validation.
    pub crop_area: f64,
    /// Probability of a left-right flip.
    pub flip_left_right: f64,
    /// Probability of an upside-down flip.
    pub flip_up_down: f64,
    /// Operations on the whole picture.
    pub auto_augment: AutoAugment,
    /// Probability of erasing a rectangle.
    pub erasing: f64,
    /// Probability of pasting parts of a batch's pictures into each other, in pairs; the batch is then not blended.
    pub cutmix: f64,
    /// Probability of blending a batch's pictures in pairs.
    pub mixup: f64,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
}

impl ClassAugmentation {
    /// Nothing at all: centre crops and hard targets.
    pub const NONE: Self = ClassAugmentation {
        crop_area: 1.0,
        flip_left_right: 0.0,
        flip_up_down: 0.0,
        auto_augment: AutoAugment::None,
        erasing: 0.0,
        cutmix: 0.0,
        mixup: 0.0,
        label_smoothing: 0.0,
    };

    fn check(&self) -> Result<(), ClassDataError> {
        let shares = [
            ("crop area", self.crop_area),
            ("flip left-right", self.flip_left_right),
            ("flip up-down", self.flip_up_down),
            ("erasing", self.erasing),
            ("cutmix", self.cutmix),
            ("mixup", self.mixup),
            ("label smoothing", self.label_smoothing),
        ];
        match shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            None => Ok(()),
            Some((setting, got)) => {
                Err(ClassDataError::Setting { setting, expected: "0 to 1", got: got.to_string() })
            }
        }
    }
}

/// Makes pictures of `side * side` pixels.
#[derive(Clone)]
pub struct ClassPipeline {
    images: Arc<ClassFolder>,
    side: usize,
    augmentation: ClassAugmentation,
}

impl ClassPipeline {
    /// A pipeline over images.
    ///
    /// # Errors
    /// When a probability or share lies outside 0 to 1, or `side` is 0.
    pub fn new(
        images: Arc<ClassFolder>,
        side: usize,
        augmentation: ClassAugmentation,
    ) -> Result<Self, ClassDataError> {
        augmentation.check()?;
        if side == 0 {
            return Err(ClassDataError::Setting {
                setting: "image size",
                expected: "at least 1",
                got: "0".into(),
            });
        }
        Ok(ClassPipeline { images, side, augmentation })
    }

    /// The images it draws from.
    pub fn images(&self) -> &ClassFolder {
        &self.images
    }

    /// Side of the pictures in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Its augmentation.
    pub fn augmentation(&self) -> &ClassAugmentation {
        &self.augmentation
    }

    /// The picture of image `index`.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn sample(&self, index: usize, generator: &mut Generator) -> Result<RgbImage, DataError> {
        let image = self.images.get(index)?;
        let ClassAugmentation { crop_area, flip_left_right, flip_up_down, .. } = self.augmentation;
        let crop = if crop_area < 1.0 {
            random_crop(image.size(), crop_area..=1.0, generator)
        } else {
            centre_crop(image.size(), self.side)
        };
        let mut picture = crop_and_scale(&image, crop, self.side);
        if generator.chance(flip_left_right) {
            picture.flip_left_right();
        }
        if generator.chance(flip_up_down) {
            picture.flip_up_down();
        }
        self.augmentation.auto_augment.apply(&mut picture, generator);
        if generator.chance(self.augmentation.erasing) {
            erase(&mut picture, generator);
        }
        Ok(picture)
    }
}
