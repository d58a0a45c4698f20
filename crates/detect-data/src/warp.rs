//! An image seen through a projective map.

use crate::{BORDER, Matrix, RgbImage};
use box_geometry::Size;

/// Bits of an interpolation weight.
const BITS: u32 = 10;
const ONE: i32 = 1 << BITS;
/// Bits behind the point of a source coordinate.
const FRACTION: u32 = 32;
/// Half a weight step, so that cutting a coordinate to [`BITS`] bits rounds it.
const ROUNDING: i64 = 1 << (FRACTION - BITS - 1);

/// The image of size `output` whose pixel `matrix(p)` shows pixel `p` of `image`: bilinear, whole coordinates are pixel
/// centres, outside lies [`BORDER`] grey. A map without inverse shows nothing but grey.
pub fn warp(image: &RgbImage, matrix: &Matrix, output: Size) -> RgbImage {
    let mut warped = RgbImage::filled(output, BORDER);
    let Some(back) = matrix.inverse() else { return warped };
    let sampler = Sampler { data: image.data(), width: image.size().width, height: image.size().height };
    let Matrix([_, _, w]) = back;
    let is_affine = w[0] == 0.0 && w[1] == 0.0;
    for y in 0..output.height {
        if is_affine {
            affine_row(&sampler, &back, y, warped.row_mut(y));
        } else {
            projective_row(&sampler, &back, y, warped.row_mut(y));
        }
    }
    warped
}

/// Along a row of an affine map the source moves by equal steps.
fn affine_row(sampler: &Sampler, back: &Matrix, y: usize, row: &mut [u8]) {
    let (mut at_x, mut at_y) = fixed(back.map(0.0, y as f64));
    let (step_x, step_y) = (back.0[0][0] / back.0[2][2], back.0[1][0] / back.0[2][2]);
    let (step_x, step_y) = fixed((step_x, step_y));
    for pixel in row.chunks_exact_mut(3) {
        sampler.sample(at_x, at_y, pixel);
        (at_x, at_y) = (at_x.wrapping_add(step_x), at_y.wrapping_add(step_y));
    }
}

fn projective_row(sampler: &Sampler, back: &Matrix, y: usize, row: &mut [u8]) {
    for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
        let (x, y) = fixed(back.map(x as f64, y as f64));
        sampler.sample(x, y, pixel);
    }
}

/// Coordinates with [`FRACTION`] bits behind the point; those far outside an image saturate.
fn fixed((x, y): (f64, f64)) -> (i64, i64) {
    let fixed = |value: f64| (value * (1u64 << FRACTION) as f64).round() as i64;
    (fixed(x), fixed(y))
}

struct Sampler<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
}

impl Sampler<'_> {
    /// Writes the colour at `(x, y)`; leaves `pixel`, which is grey, alone outside the image.
    #[inline]
    fn sample(&self, x: i64, y: i64, pixel: &mut [u8]) {
        let (x, y) = (x.saturating_add(ROUNDING), y.saturating_add(ROUNDING));
        let weight = |at: i64| (at >> (FRACTION - BITS)) as i32 & (ONE - 1);
        let (fx, fy) = (weight(x), weight(y));
        let (left, top) = (x >> FRACTION, y >> FRACTION);
        // Negative numbers become huge ones.
        let (column, row) = (left as usize, top as usize);
        if column < self.width - 1 && row < self.height - 1 {
            let stride = self.width * 3;
            let start = row * stride + column * 3;
            let upper = &self.data[start..start + 6];
            let lower = &self.data[start + stride..start + stride + 6];
            for c in 0..3 {
                pixel[c] = blend([upper[c], upper[c + 3], lower[c], lower[c + 3]], fx, fy);
            }
        } else if left >= -1 && top >= -1 && left < self.width as i64 && top < self.height as i64 {
            for c in 0..3 {
                let corners = [(left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)];
                pixel[c] = blend(corners.map(|(x, y)| self.or_border(x, y, c)), fx, fy);
            }
        }
    }

    #[cold]
    fn or_border(&self, x: i64, y: i64, channel: usize) -> u8 {
        let (column, row) = (x as usize, y as usize);
        let inside = column < self.width && row < self.height;
        if inside { self.data[(row * self.width + column) * 3 + channel] } else { BORDER }
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
