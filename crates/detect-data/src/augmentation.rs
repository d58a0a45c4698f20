//! The training pipeline: from an index to an augmented square sample.

use crate::{
    AffineRanges, ColourJitter, DataError, Generator, HueRule, LoadedImages, Mosaic, RandomAffine,
    RandomFlip, Sample, Transform, letterbox,
};
use box_geometry::{Letterbox, LetterboxOptions, Size};
use std::sync::Arc;

/// Shape of the distribution of a mixup's blend.
const MIXUP_BETA: usize = 32;

/// Strengths and probabilities of the augmentations of one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Probability of a mosaic; other samples are letterboxed.
    pub mosaic: f64,
    /// Ranges of the affine map.
    pub affine: AffineRanges,
    /// Probability of blending in a second sample.
    pub mixup: f64,
    /// Changes of colour.
    pub colour: ColourJitter,
    /// Mirror images.
    pub flip: RandomFlip,
}

impl Augmentation {
    /// Nothing at all: images are letterboxed.
    pub const NONE: Augmentation = Augmentation {
        mosaic: 0.0,
        affine: AffineRanges { degrees: 0.0, translate: 0.0, scale: 0.0, shear: 0.0, perspective: 0.0 },
        mixup: 0.0,
        colour: ColourJitter { hue: 0.0, saturation: 0.0, value: 0.0, rule: HueRule::Multiplicative },
        flip: RandomFlip { up_down: 0.0, left_right: 0.0 },
    };

    fn check(&self) -> Result<(), DataError> {
        let shares = [
            ("mosaic", self.mosaic),
            ("mixup", self.mixup),
            ("flip up-down", self.flip.up_down),
            ("flip left-right", self.flip.left_right),
            ("hue", self.colour.hue),
            ("saturation", self.colour.saturation),
            ("value", self.colour.value),
            ("translate", self.affine.translate),
        ];
        for (setting, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(DataError::Setting { setting, expected: "0 to 1", got: value.to_string() });
            }
        }
        if !(0.0..1.0).contains(&self.affine.scale) {
            let got = self.affine.scale.to_string();
            return Err(DataError::Setting { setting: "scale", expected: "0 to below 1", got });
        }
        Ok(())
    }
}

/// Makes training samples of one augmentation.
#[derive(Clone)]
pub struct TrainPipeline {
    images: Arc<LoadedImages>,
    augmentation: Augmentation,
    further: Vec<Arc<dyn Transform>>,
}

impl TrainPipeline {
    /// A pipeline over images; samples are squares of the images' long side.
    ///
    /// # Errors
    /// When a probability or strength lies outside its range.
    pub fn new(images: Arc<LoadedImages>, augmentation: Augmentation) -> Result<Self, DataError> {
        augmentation.check()?;
        Ok(TrainPipeline { images, augmentation, further: Vec::new() })
    }

    /// Adds a transform at the end, after the flips; it must keep the size of the image.
    pub fn then(mut self, transform: Arc<dyn Transform>) -> Self {
        self.further.push(transform);
        self
    }

    /// The images it draws from.
    pub fn images(&self) -> &LoadedImages {
        &self.images
    }

    /// The augmented sample of image `index`: mosaic or letterbox, affine, mixup, colour, flips, further transforms.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn sample(&self, index: usize, generator: &mut Generator) -> Result<Sample, DataError> {
        let mut sample = self.base(index, generator)?;
        if generator.chance(self.augmentation.mixup) {
            let other = generator.below(self.images.len());
            let other = self.base(other, generator)?;
            sample = blend(sample, other, generator.symmetric_beta(MIXUP_BETA));
        }
        sample = self.augmentation.colour.apply(sample, generator);
        sample = self.augmentation.flip.apply(sample, generator);
        Ok(self.further.iter().fold(sample, |sample, transform| transform.apply(sample, generator)))
    }

    /// Mosaic or letterbox, then the affine map.
    fn base(&self, index: usize, generator: &mut Generator) -> Result<Sample, DataError> {
        let side = self.images.image_size();
        let canvas = if generator.chance(self.augmentation.mosaic) {
            self.mosaic(index, generator)?
        } else {
            letterboxed(&*self.images.get(index)?, side)?
        };
        Ok(RandomAffine { ranges: self.augmentation.affine, output: side }.apply(canvas, generator))
    }

    fn mosaic(&self, index: usize, generator: &mut Generator) -> Result<Sample, DataError> {
        let first = self.images.get(index)?;
        let mut partner = || self.images.get(generator.below(self.images.len()));
        let others = [partner()?, partner()?, partner()?];
        let mosaic = Mosaic::draw(self.images.image_size(), generator);
        Ok(mosaic.compose([&*first, &*others[0], &*others[1], &*others[2]]))
    }
}

fn letterboxed(sample: &Sample, side: usize) -> Result<Sample, DataError> {
    let options = LetterboxOptions { auto_stride: None, scale_up: true, scale_fill: false };
    let transform = Letterbox::new(sample.image.size(), Size { height: side, width: side }, &options)?;
    let mut boxes = sample.boxes.clone();
    for labelled in &mut boxes {
        labelled.xyxy = transform.forward(&labelled.xyxy);
    }
    Ok(Sample { id: sample.id.clone(), image: letterbox(&sample.image, &transform), boxes })
}

/// `share` of the first image and the rest of the second, truncated; the boxes of both.
fn blend(mut first: Sample, second: Sample, share: f64) -> Sample {
    for (a, b) in first.image.data_mut().iter_mut().zip(second.image.data()) {
        *a = (*a as f64 * share + *b as f64 * (1.0 - share)) as u8;
    }
    first.boxes.extend(second.boxes);
    first
}
