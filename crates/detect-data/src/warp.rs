//! An image seen through a projective map.

use crate::{BORDER, Matrix, RgbImage};
use box_geometry::Size;

/// Bits of an interpolation weight.
const BITS: u32 = 10;
const ONE: i32 = 1 << BITS;

/// The image of size `output` whose pixel `matrix(p)` shows pixel `p` of `image`: bilinear, whole coordinates are pixel
/// centres, outside lies [`BORDER`] grey. A map without inverse shows nothing but grey.
pub fn warp(image: &RgbImage, matrix: &Matrix, output: Size) -> RgbImage {
    let mut warped = RgbImage::filled(output, BORDER);
    let Some(back) = matrix.inverse() else { return warped };
    let sampler = Sampler { image, width: image.size().width, height: image.size().height };
    let Matrix([mx, my, mw]) = back;
    let is_affine = mw[0] == 0.0 && mw[1] == 0.0;
    for y in 0..output.height {
        let at = |row: &[f64; 3], x: f64| row[0] * x + row[1] * y as f64 + row[2];
        for (x, pixel) in warped.row_mut(y).chunks_exact_mut(3).enumerate() {
            let w = if is_affine { 1.0 / mw[2] } else { 1.0 / at(&mw, x as f64) };
            sampler.sample(at(&mx, x as f64) * w, at(&my, x as f64) * w, pixel);
        }
    }
    warped
}

struct Sampler<'a> {
    image: &'a RgbImage,
    width: usize,
    height: usize,
}

impl Sampler<'_> {
    /// Writes the colour at `(x, y)`; leaves `pixel`, which is grey, alone outside the image.
    #[inline]
    fn sample(&self, x: f64, y: f64, pixel: &mut [u8]) {
        let inside = x > -1.0 && y > -1.0 && x < self.width as f64 && y < self.height as f64;
        if !inside {
            return;
        }
        // Moved by one so that the cast, which truncates, rounds down.
        let (x0, y0) = ((x + 1.0) as usize, (y + 1.0) as usize);
        let weight = |at: f64, floor: usize| ((at + 1.0 - floor as f64) * ONE as f64 + 0.5) as i32;
        let (fx, fy) = (weight(x, x0), weight(y, y0));
        if x0 >= 1 && y0 >= 1 && x0 < self.width && y0 < self.height {
            let stride = self.width * 3;
            let start = (y0 - 1) * stride + (x0 - 1) * 3;
            let top = &self.image.data()[start..start + 6];
            let bottom = &self.image.data()[start + stride..start + stride + 6];
            for c in 0..3 {
                pixel[c] = blend([top[c], top[c + 3], bottom[c], bottom[c + 3]], fx, fy);
            }
        } else {
            for c in 0..3 {
                let corners = [(x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)];
                pixel[c] = blend(corners.map(|(x, y)| self.or_border(x, y, c)), fx, fy);
            }
        }
    }

    /// A value at coordinates that are moved by one.
    fn or_border(&self, x: usize, y: usize, channel: usize) -> u8 {
        let inside = (1..=self.width).contains(&x) && (1..=self.height).contains(&y);
        if inside { self.image.data()[((y - 1) * self.width + x - 1) * 3 + channel] } else { BORDER }
    }
}

#[inline]
fn blend(corners: [u8; 4], fx: i32, fy: i32) -> u8 {
    let [a, b, c, d] = corners.map(i32::from);
    let top = a * (ONE - fx) + b * fx;
    let bottom = c * (ONE - fx) + d * fx;
    ((top * (ONE - fy) + bottom * fy + (1 << (2 * BITS - 1))) >> (2 * BITS)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: Size) -> RgbImage {
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
        RgbImage::new(size, (0..size.height * size.width * 3).map(byte).collect())
    }

    fn exact(image: &RgbImage, x: f64, y: f64, channel: usize) -> f64 {
        let (height, width) = (image.size().height as i64, image.size().width as i64);
        let pixel = |x: i64, y: i64| {
            let inside = (0..width).contains(&x) && (0..height).contains(&y);
            if inside { image.row(y as usize)[x as usize * 3 + channel] as f64 } else { BORDER as f64 }
        };
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let (x0, y0) = (x0 as i64, y0 as i64);
        (pixel(x0, y0) * (1.0 - fx) + pixel(x0 + 1, y0) * fx) * (1.0 - fy)
            + (pixel(x0, y0 + 1) * (1.0 - fx) + pixel(x0 + 1, y0 + 1) * fx) * fy
    }

    #[test]
    fn close_to_exact_interpolation() {
        let image = noise(Size { height: 31, width: 47 });
        let output = Size { height: 40, width: 36 };
        let centred = |matrix: Matrix| {
            Matrix::translation(18.0, 20.0).after(&matrix).after(&Matrix::translation(-23.5, -15.5))
        };
        for matrix in [
            centred(Matrix::rotation(0.3, 1.4)),
            centred(Matrix::rotation(-1.2, 0.6).after(&Matrix::shear(0.2, -0.1))),
            centred(Matrix::rotation(0.1, 1.0).after(&Matrix::perspective(2e-3, -1e-3))),
        ] {
            let warped = warp(&image, &matrix, output);
            let back = matrix.inverse().unwrap();
            for (i, got) in warped.data().iter().enumerate() {
                let (x, y) = back.map((i / 3 % output.width) as f64, (i / 3 / output.width) as f64);
                let want = exact(&image, x, y, i % 3);
                assert!((*got as f64 - want).abs() < 1.0, "value {i}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn whole_coordinates_are_pixel_centres() {
        let image = noise(Size { height: 8, width: 9 });
        assert_eq!(warp(&image, &Matrix::IDENTITY, image.size()), image);
        let moved = warp(&image, &Matrix::translation(2.0, 1.0), image.size());
        assert_eq!(moved.row(3)[2 * 3..], image.row(2)[..7 * 3]);
        assert!(moved.row(0).iter().all(|byte| *byte == BORDER));
    }
}
