//! Crops of an image, scaled to a square.

use box_geometry::Size;
use detect_data::{Generator, RgbImage};
use image::imageops::{self, FilterType};
use std::ops::RangeInclusive;

/// Tries of a random crop before the centre is taken.
const TRIES: usize = 10;
/// Range of the aspect ratio of a random crop.
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Share of the short side that validation sees.
const CENTRE: f64 = 0.875;

/// Part of an image: left, top, width and height in pixels.
pub type Crop = [usize; 4];

/// A crop whose area is a share of the image's from `area`, with an aspect ratio from 3/4 to 4/3 (Szegedy et al., Going
/// deeper with convolutions, section 6, as in the usual training of ImageNet).
pub fn random_crop(size: Size, area: RangeInclusive<f64>, generator: &mut Generator) -> Crop {
    let whole = (size.height * size.width) as f64;
    for _ in 0..TRIES {
        let share = generator.uniform(*area.start(), *area.end());
        let aspect = generator.uniform(ASPECT.0.ln(), ASPECT.1.ln()).exp();
        let width = (whole * share * aspect).sqrt().round() as usize;
        let height = (whole * share / aspect).sqrt().round() as usize;
        if (1..=size.width).contains(&width) && (1..=size.height).contains(&height) {
            let left = generator.below(size.width - width + 1);
            let top = generator.below(size.height - height + 1);
            return [left, top, width, height];
        }
    }
    central(size, size.height.min(size.width))
}

/// The square that validation sees of an image that is scaled to `side`: `side / (side + pad)` of the short side, with
/// `pad = round(side * (1 / 0.875 - 1))`. Images not larger than `side` are seen whole.
pub fn centre_crop(size: Size, side: usize) -> Crop {
    let short = size.height.min(size.width);
    if short <= side {
        return central(size, short);
    }
    let pad = (side as f64 * (1.0 / CENTRE - 1.0)).round();
    let seen = (short as f64 * side as f64 / (side as f64 + pad)).round() as usize;
    central(size, seen.clamp(1, short))
}

fn central(size: Size, side: usize) -> Crop {
    [(size.width - side) / 2, (size.height - side) / 2, side, side]
}

/// The crop, scaled to `side * side` with a bicubic filter that widens when it scales down.
pub fn crop_and_scale(image: &RgbImage, crop: Crop, side: usize) -> RgbImage {
    let [left, top, width, height] = crop;
    let mut cut = RgbImage::filled(Size { height, width }, 0);
    cut.paste(image, -(left as isize), -(top as isize));
    if width == side && height == side {
        return cut;
    }
    let buffer = image::RgbImage::from_raw(width as u32, height as u32, cut.into_data());
    let buffer = buffer.expect("as many bytes as the size says");
    let scaled = imageops::resize(&buffer, side as u32, side as u32, FilterType::CatmullRom);
    RgbImage::new(Size { height: side, width: side }, scaled.into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_random_crop_lies_inside_and_has_its_share(height in 1usize..300, width in 1usize..300, seed: u64) {
            let mut generator = Generator::for_sample(seed, 0, 0);
            let [left, top, w, h] = random_crop(Size { height, width }, 0.25..=1.0, &mut generator);
            prop_assert!(w > 0 && h > 0 && left + w <= width && top + h <= height);
            if height.min(width) > 40 && height * 4 > width * 3 && width * 4 > height * 3 {
                let share = (w * h) as f64 / (width * height) as f64;
                prop_assert!((0.2..=1.0).contains(&share), "{share}");
            }
        }

        #[test]
        fn a_centre_crop_lies_inside(height in 1usize..300, width in 1usize..300, side in 1usize..300) {
            let [left, top, w, h] = centre_crop(Size { height, width }, side);
            prop_assert!(w == h && w > 0 && left + w <= width && top + h <= height);
        }
    }

    #[test]
    fn the_centre_of_a_large_image_is_seven_eighths_of_its_short_side() {
        assert_eq!(centre_crop(Size { height: 256, width: 512 }, 224), [144, 16, 224, 224]);
        assert_eq!(centre_crop(Size { height: 32, width: 32 }, 32), [0, 0, 32, 32]);
    }

    #[test]
    fn a_crop_takes_the_right_pixels() {
        let mut image = RgbImage::filled(Size { height: 4, width: 6 }, 0);
        image.paste(&RgbImage::filled(Size { height: 2, width: 2 }, 200), 3, 1);
        let crop = crop_and_scale(&image, [3, 1, 2, 2], 2);
        assert!(crop.data().iter().all(|&value| value == 200));
        let scaled = crop_and_scale(&image, [3, 1, 2, 2], 5);
        assert!(scaled.data().iter().all(|&value| value == 200) && scaled.size().height == 5);
    }
}
