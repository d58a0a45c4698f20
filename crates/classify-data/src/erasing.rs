//! Random erasing.

use detect_data::{Generator, RgbImage};

/// Share of the area that is erased.
const AREA: (f64, f64) = (0.02, 1.0 / 3.0);
/// Height over width of what is erased.
const ASPECT: (f64, f64) = (0.3, 3.3);
/// Tries to find a rectangle that fits; then nothing is erased.
const TRIES: usize = 10;

/// Fills a rectangle with noise (Zhong et al., Random erasing data augmentation, arXiv 1708.04896).
pub fn erase(image: &mut RgbImage, generator: &mut Generator) {
    let size = image.size();
    let whole = (size.height * size.width) as f64;
    for _ in 0..TRIES {
        let area = whole * generator.uniform(AREA.0, AREA.1);
        let aspect = generator.uniform(ASPECT.0.ln(), ASPECT.1.ln()).exp();
        let (height, width) = ((area * aspect).sqrt().round(), (area / aspect).sqrt().round());
        let (height, width) = (height as usize, width as usize);
        if (1..size.height).contains(&height) && (1..size.width).contains(&width) {
            let (top, left) =
                (generator.below(size.height - height + 1), generator.below(size.width - width + 1));
            for y in top..top + height {
                let row = &mut image.row_mut(y)[3 * left..3 * (left + width)];
                row.iter_mut().for_each(|value| *value = generator.below(256) as u8);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::Size;

    #[test]
    fn one_rectangle_of_a_bounded_share_is_erased() {
        let grey = RgbImage::filled(Size { height: 40, width: 30 }, 7);
        for seed in 0..50 {
            let mut image = grey.clone();
            erase(&mut image, &mut Generator::for_sample(seed, 0, 0));
            let changed: Vec<(usize, usize)> = (0..40)
                .flat_map(|y| (0..30).map(move |x| (y, x)))
                .filter(|&(y, x)| image.row(y)[3 * x..][..3] != [7; 3])
                .collect();
            let (ys, xs): (Vec<usize>, Vec<usize>) = changed.iter().copied().unzip();
            let extent = |v: &[usize]| v.iter().max().unwrap() - v.iter().min().unwrap() + 1;
            let area = extent(&ys) * extent(&xs);
            assert!((12..=460).contains(&area), "seed {seed}: {area} of 1200");
            assert_eq!(changed.len(), area, "seed {seed}: all of the rectangle");
        }
    }
}
