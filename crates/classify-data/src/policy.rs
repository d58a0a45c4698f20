//! Which operations a picture goes through: AutoAugment's learned pairs or RandAugment's draws.

use crate::operations as op;
use detect_data::{Generator, RgbImage};

/// Side for which moves in pixels are meant; smaller pictures are moved in proportion.
const SIDE: f64 = 224.0;
/// Largest move of AutoAugment and of RandAugment in pixels.
const TRANSLATE: (f64, f64) = (250.0, 100.0);
/// Range that RandAugment draws the probability of an operation from.
const PROBABILITY: (f64, f64) = (0.2, 0.8);

/// A policy of whole-picture operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AutoAugment {
    /// None.
    None,
    /// The policy learned on ImageNet (Cubuk et al., AutoAugment, arXiv 1805.09501), in the form v0 that EfficientNet
    /// was trained with: one of 25 pairs a picture.
    AutoAugment,
    /// Random operations of one strength (Cubuk et al., RandAugment, arXiv 1909.13719).
    RandAugment {
        /// Operations a picture, drawn with replacement.
        layers: usize,
        /// Strength; 10 is the full one of AutoAugment's scale.
        magnitude: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Cutout,
}

use Operation::*;

const RANDOM: [Operation; 16] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Cutout,
];

/// Operation, probability and magnitude.
type Step = (Operation, f64, f64);

#[rustfmt::skip]
const PAIRS: [[Step; 2]; 25] = [
    [(Equalize, 0.8, 1.0), (ShearY, 0.8, 4.0)],
    [(Color, 0.4, 9.0), (Equalize, 0.6, 3.0)],
    [(Color, 0.4, 1.0), (Rotate, 0.6, 8.0)],
    [(Solarize, 0.8, 3.0), (Equalize, 0.4, 7.0)],
    [(Solarize, 0.4, 2.0), (Solarize, 0.6, 2.0)],
    [(Color, 0.2, 0.0), (Equalize, 0.8, 8.0)],
    [(Equalize, 0.4, 8.0), (SolarizeAdd, 0.8, 3.0)],
    [(ShearX, 0.2, 9.0), (Rotate, 0.6, 8.0)],
    [(Color, 0.6, 1.0), (Equalize, 1.0, 2.0)],
    [(Invert, 0.4, 9.0), (Rotate, 0.6, 0.0)],
    [(Equalize, 1.0, 9.0), (ShearY, 0.6, 3.0)],
    [(Color, 0.4, 7.0), (Equalize, 0.6, 0.0)],
    [(Posterize, 0.4, 6.0), (AutoContrast, 0.4, 7.0)],
    [(Solarize, 0.6, 8.0), (Color, 0.6, 9.0)],
    [(Solarize, 0.2, 4.0), (Rotate, 0.8, 9.0)],
    [(Rotate, 1.0, 7.0), (TranslateY, 0.8, 9.0)],
    [(ShearX, 0.0, 0.0), (Solarize, 0.8, 4.0)],
    [(ShearY, 0.8, 0.0), (Color, 0.6, 4.0)],
    [(Color, 1.0, 0.0), (Rotate, 0.6, 2.0)],
    [(Equalize, 0.8, 4.0), (Equalize, 0.0, 8.0)],
    [(Equalize, 1.0, 4.0), (AutoContrast, 0.6, 2.0)],
    [(ShearY, 0.4, 7.0), (SolarizeAdd, 0.6, 7.0)],
    [(Posterize, 0.8, 2.0), (Solarize, 0.6, 10.0)],
    [(Solarize, 0.6, 8.0), (Equalize, 0.6, 1.0)],
    [(Color, 0.8, 6.0), (Rotate, 0.4, 5.0)],
];

impl AutoAugment {
    /// Puts a picture through the policy.
    pub fn apply(&self, image: &mut RgbImage, generator: &mut Generator) {
        match *self {
            AutoAugment::None => {}
            AutoAugment::AutoAugment => {
                for (operation, probability, magnitude) in PAIRS[generator.below(PAIRS.len())] {
                    if generator.chance(probability) {
                        operation.apply(image, magnitude / 10.0, TRANSLATE.0, generator);
                    }
                }
            }
            AutoAugment::RandAugment { layers, magnitude } => {
                for _ in 0..layers {
                    let operation = RANDOM[generator.below(RANDOM.len())];
                    let probability = generator.uniform(PROBABILITY.0, PROBABILITY.1);
                    if generator.chance(probability) {
                        operation.apply(image, magnitude / 10.0, TRANSLATE.1, generator);
                    }
                }
            }
        }
    }
}

impl Operation {
    /// `strength` is 1 at magnitude 10; `translate` is the largest move in pixels.
    fn apply(self, image: &mut RgbImage, strength: f64, translate: f64, generator: &mut Generator) {
        let size = image.size();
        let share = (size.height.min(size.width) as f64 / SIDE).min(1.0);
        let signed =
            |generator: &mut Generator, value: f64| if generator.chance(0.5) { -value } else { value };
        let blend = 0.1 + 1.8 * strength;
        match self {
            AutoContrast => op::auto_contrast(image),
            Equalize => op::equalize(image),
            Invert => op::invert(image),
            Rotate => op::rotate(image, signed(generator, 30.0 * strength)),
            Posterize => op::posterize(image, (4.0 * strength) as u32),
            Solarize => op::solarize(image, (256.0 * strength) as u32),
            SolarizeAdd => op::solarize_add(image, (110.0 * strength) as u32),
            Color => op::color(image, blend),
            Contrast => op::contrast(image, blend),
            Brightness => op::brightness(image, blend),
            Sharpness => op::sharpness(image, blend),
            ShearX => op::shear_x(image, signed(generator, 0.3 * strength)),
            ShearY => op::shear_y(image, signed(generator, 0.3 * strength)),
            TranslateX => op::translate_x(image, signed(generator, translate * share * strength)),
            TranslateY => op::translate_y(image, signed(generator, translate * share * strength)),
            Cutout => {
                let (x, y) = (generator.below(size.width), generator.below(size.height));
                op::cutout(image, (40.0 * strength * share) as usize, x, y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::Size;

    fn noise(side: usize) -> RgbImage {
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        RgbImage::new(Size { height: side, width: side }, (0..side * side * 3).map(byte).collect())
    }

    fn applied(policy: AutoAugment, seed: u64) -> RgbImage {
        let mut image = noise(24);
        policy.apply(&mut image, &mut Generator::for_sample(seed, 0, 0));
        image
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_most_pictures_change() {
        for policy in [AutoAugment::AutoAugment, AutoAugment::RandAugment { layers: 2, magnitude: 28.0 }] {
            let changed = (0..40).filter(|&seed| applied(policy, seed) != noise(24)).count();
            assert!(changed > 20, "{policy:?}: {changed}");
            (0..40).for_each(|seed| assert_eq!(applied(policy, seed), applied(policy, seed)));
        }
        assert_eq!(applied(AutoAugment::None, 3), noise(24));
    }

    #[test]
    fn magnitudes_mean_what_the_papers_say() {
        let mut generator = Generator::for_sample(0, 0, 0);
        let mut after = |operation: Operation, magnitude: f64, value: u8| {
            let mut image = RgbImage::filled(Size { height: 1, width: 1 }, value);
            operation.apply(&mut image, magnitude / 10.0, 100.0, &mut generator);
            image.data()[0]
        };
        assert_eq!(after(Posterize, 6.0, 255), 0b1100_0000, "int(2.4) bits");
        assert_eq!(after(Solarize, 3.0, 76), 179, "from int(76.8) on");
        assert_eq!(after(Solarize, 3.0, 75), 75);
        assert_eq!(after(Solarize, 10.0, 255), 255);
        assert_eq!(after(SolarizeAdd, 7.0, 10), 87, "int(77.0)");
        assert_eq!(after(Brightness, 5.0, 200), 200, "a factor of 1 changes nothing");
        assert_eq!(after(Brightness, 0.0, 200), 20, "a factor of 0.1");
    }
}
