//! Bilinear scaling without antialiasing, as OpenCV's `INTER_LINEAR` does it: half-pixel centres, borders repeated.

use crate::RgbImage;
use box_geometry::Size;

/// Bits of a weight.
const BITS: u32 = 11;
const ONE: i32 = 1 << BITS;

/// Size that an image has after loading: the long side becomes `image_size`, the other keeps the proportion, rounded
/// up.
pub fn loading_size(original: Size, image_size: usize) -> Size {
    let long = original.height.max(original.width);
    if long == image_size {
        return original;
    }
    let ratio = image_size as f64 / long as f64;
    let side = |side: usize| ((side as f64 * ratio).ceil() as usize).clamp(1, image_size);
    Size { height: side(original.height), width: side(original.width) }
}

/// The image scaled to `size`; a value differs from exact bilinear interpolation by less than one grey level.
pub fn resize(image: &RgbImage, size: Size) -> RgbImage {
    if image.size() == size {
        return image.clone();
    }
    let columns = taps(image.size().width, size.width);
    let rows = taps(image.size().height, size.height);
    let mut output = RgbImage::filled(size, 0);
    let mut line = vec![[0; 3]; image.size().width];
    for (y, tap) in rows.iter().enumerate() {
        blend_rows(image.row(tap.first), image.row(tap.second), tap.weight, line.as_flattened_mut());
        scale_line(&line, &columns, output.row_mut(y));
    }
    output
}

/// Two neighbours of a source line or column, and the weight of the second.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: i32,
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let first = at as usize;
        let weight = ((at - first as f64) * ONE as f64).round_ties_even() as i32;
        Tap { first, second: (first + 1).min(from - 1), weight }
    };
    (0..to).map(tap).collect()
}

/// A line between two rows; values carry [`BITS`] more bits.
fn blend_rows(first: &[u8], second: &[u8], weight: i32, line: &mut [i32]) {
    for ((out, first), second) in line.iter_mut().zip(first).zip(second) {
        *out = *first as i32 * (ONE - weight) + *second as i32 * weight;
    }
}

fn scale_line(line: &[[i32; 3]], columns: &[Tap], row: &mut [u8]) {
    let (pixels, _) = row.as_chunks_mut::<3>();
    for (pixel, tap) in pixels.iter_mut().zip(columns) {
        let (first, second) = (&line[tap.first], &line[tap.second]);
        for channel in 0..3 {
            let value = first[channel] * (ONE - tap.weight) + second[channel] * tap.weight;
            pixel[channel] = ((value + (1 << (2 * BITS - 1))) >> (2 * BITS)) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: Size) -> RgbImage {
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        RgbImage::new(size, (0..size.height * size.width * 3).map(byte).collect())
    }

    fn exact(image: &RgbImage, size: Size, y: usize, x: usize, channel: usize) -> f64 {
        let at = |i: usize, from: usize, to: usize| {
            ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64)
        };
        let (height, width) = (image.size().height, image.size().width);
        let (sy, sx) = (at(y, height, size.height), at(x, width, size.width));
        let pixel = |y: usize, x: usize| image.row(y.min(height - 1))[x.min(width - 1) * 3 + channel] as f64;
        let (y0, x0) = (sy as usize, sx as usize);
        let (fy, fx) = (sy - y0 as f64, sx - x0 as f64);
        (pixel(y0, x0) * (1.0 - fx) + pixel(y0, x0 + 1) * fx) * (1.0 - fy)
            + (pixel(y0 + 1, x0) * (1.0 - fx) + pixel(y0 + 1, x0 + 1) * fx) * fy
    }

    #[test]
    fn close_to_exact_interpolation_up_and_down() {
        let image = noise(Size { height: 37, width: 53 });
        for (height, width) in [(18, 26), (37, 20), (80, 131), (1, 1), (36, 53)] {
            let size = Size { height, width };
            let scaled = resize(&image, size);
            for (i, got) in scaled.data().iter().enumerate() {
                let want = exact(&image, size, i / 3 / width, i / 3 % width, i % 3);
                assert!((*got as f64 - want).abs() < 1.0, "{size:?} value {i}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn halving_averages_four_pixels() {
        let image =
            RgbImage::new(Size { height: 2, width: 2 }, [[10; 3], [20; 3], [30; 3], [40; 3]].concat());
        assert_eq!(resize(&image, Size { height: 1, width: 1 }).data(), [25, 25, 25]);
    }

    #[test]
    fn loading_rounds_the_short_side_up() {
        let size = |height, width| Size { height, width };
        assert_eq!(loading_size(size(480, 640), 320), size(240, 320));
        assert_eq!(loading_size(size(641, 481), 320), size(320, 241));
        assert_eq!(loading_size(size(100, 50), 320), size(320, 160));
        assert_eq!(loading_size(size(320, 17), 320), size(320, 17));
        assert_eq!(loading_size(size(1, 5000), 320), size(1, 320));
    }
}
