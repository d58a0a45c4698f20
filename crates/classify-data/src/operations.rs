//! The operations of AutoAugment and RandAugment, each on a picture of bytes.
//!
//! They do what the Python Imaging Library does: integer tables, blends cut to whole numbers, nearest neighbours about
//! pixel centres. What comes in from outside is grey.

use detect_data::RgbImage;

/// Grey of what no pixel falls on.
pub(crate) const EMPTY: u8 = 128;
/// Weights of red, green and blue in a grey, of 65,536.
const GREY: [u32; 3] = [19_595, 38_470, 7_471];

/// Replaces every value by that of a table a channel.
fn look_up(image: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for pixel in image.data_mut().chunks_exact_mut(3) {
        pixel.iter_mut().zip(tables).for_each(|(value, table)| *value = table[*value as usize]);
    }
}

fn map(image: &mut RgbImage, value: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|v| value(v as u8));
    image.data_mut().iter_mut().for_each(|v| *v = table[*v as usize]);
}

fn histograms(image: &RgbImage) -> [[usize; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.data().chunks_exact(3) {
        pixel.iter().zip(&mut counts).for_each(|(value, counts)| counts[*value as usize] += 1);
    }
    counts
}

/// Stretches each channel to 0 to 255.
pub fn auto_contrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let low = counts.iter().position(|count| *count > 0).unwrap_or(0);
        let high = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
        let range = if high > low { (low, high - low) } else { (0, 255) };
        std::array::from_fn(|v| (v.saturating_sub(range.0) * 255 / range.1).min(255) as u8)
    });
    look_up(image, &tables);
}

/// Spreads the values of each channel evenly.
pub fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - counts[last]) / 255;
        let mut below = step / 2;
        std::array::from_fn(|v| {
            let value = below.checked_div(step).map_or(v, |value| value.min(255));
            below += counts[v];
            value as u8
        })
    });
    look_up(image, &tables);
}

/// Negative.
pub fn invert(image: &mut RgbImage) {
    map(image, |v| 255 - v);
}

/// Keeps the highest `bits` of every value: 0 makes black, 8 and more change nothing.
pub fn posterize(image: &mut RgbImage, bits: u32) {
    map(image, |v| v & 0xFFu8.checked_shl(8 - bits.min(8)).unwrap_or(0));
}

/// Inverts values from `threshold` on.
pub fn solarize(image: &mut RgbImage, threshold: u32) {
    map(image, |v| if u32::from(v) >= threshold { 255 - v } else { v });
}

/// Adds to values below 128.
pub fn solarize_add(image: &mut RgbImage, addition: u32) {
    map(image, |v| if v < 128 { (u32::from(v) + addition).min(255) as u8 } else { v });
}

/// `degenerate + factor * (value - degenerate)`, cut to a byte.
fn blend(degenerate: u8, value: u8, factor: f64) -> u8 {
    let (from, to) = (f64::from(degenerate), f64::from(value));
    (from + factor * (to - from)).clamp(0.0, 255.0) as u8
}

fn grey(pixel: &[u8]) -> u8 {
    let sum: u32 = pixel.iter().zip(GREY).map(|(value, weight)| u32::from(*value) * weight).sum();
    ((sum + 0x8000) >> 16) as u8
}

/// Away from (above 1) or towards (below 1) a grey picture.
pub fn color(image: &mut RgbImage, factor: f64) {
    for pixel in image.data_mut().chunks_exact_mut(3) {
        let grey = grey(pixel);
        pixel.iter_mut().for_each(|value| *value = blend(grey, *value, factor));
    }
}

/// Away from or towards the mean grey of the picture.
pub fn contrast(image: &mut RgbImage, factor: f64) {
    let greys = image.data().chunks_exact(3).map(|pixel| u64::from(grey(pixel)));
    let (sum, pixels) = (greys.sum::<u64>(), image.data().len() / 3);
    let mean = (sum as f64 / pixels.max(1) as f64 + 0.5) as u8;
    map(image, |v| blend(mean, v, factor));
}

/// Away from or towards black.
pub fn brightness(image: &mut RgbImage, factor: f64) {
    map(image, |v| blend(0, v, factor));
}

/// Away from or towards a smoothed picture: 3x3, the middle five times the weight of the rest; the border stays.
pub fn sharpness(image: &mut RgbImage, factor: f64) {
    let source = image.clone();
    let size = source.size();
    for y in 1..size.height.saturating_sub(1) {
        let rows = [source.row(y - 1), source.row(y), source.row(y + 1)];
        let target = image.row_mut(y);
        for i in 3..(3 * size.width).saturating_sub(3) {
            let sum: u32 = rows.iter().map(|row| row3(row, i)).sum();
            let smooth = (f64::from(sum + 4 * u32::from(rows[1][i])) / 13.0 + 0.5) as u8;
            target[i] = blend(smooth, rows[1][i], factor);
        }
    }
}

/// Three neighbours of a channel.
fn row3(row: &[u8], i: usize) -> u32 {
    u32::from(row[i - 3]) + u32::from(row[i]) + u32::from(row[i + 3])
}

/// Every pixel takes the nearest one at `(a x + b y + c, d x + e y + f)`, both at their centres.
fn affine(image: &mut RgbImage, [a, b, c, d, e, f]: [f64; 6]) {
    let source = image.clone();
    let size = source.size();
    for y in 0..size.height {
        let cy = y as f64 + 0.5;
        for (x, pixel) in image.row_mut(y).chunks_exact_mut(3).enumerate() {
            let cx = x as f64 + 0.5;
            let (sx, sy) = ((a * cx + b * cy + c).floor(), (d * cx + e * cy + f).floor());
            let inside = sx >= 0.0 && sy >= 0.0 && sx < size.width as f64 && sy < size.height as f64;
            if inside {
                pixel.copy_from_slice(&source.row(sy as usize)[3 * sx as usize..][..3]);
            } else {
                pixel.fill(EMPTY);
            }
        }
    }
}

/// Takes `x + level * y`.
pub fn shear_x(image: &mut RgbImage, level: f64) {
    affine(image, [1.0, level, 0.0, 0.0, 1.0, 0.0]);
}

/// Takes `y + level * x`.
pub fn shear_y(image: &mut RgbImage, level: f64) {
    affine(image, [1.0, 0.0, 0.0, level, 1.0, 0.0]);
}

/// Takes `x + pixels`.
pub fn translate_x(image: &mut RgbImage, pixels: f64) {
    affine(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0]);
}

/// Takes `y + pixels`.
pub fn translate_y(image: &mut RgbImage, pixels: f64) {
    affine(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels]);
}

/// Turns counter-clockwise about the centre.
pub fn rotate(image: &mut RgbImage, degrees: f64) {
    let size = image.size();
    let (cx, cy) = (size.width as f64 / 2.0, size.height as f64 / 2.0);
    // Where a quarter turn must land on whole pixels, the cosine has to be 0.
    let clean = |value: f64| (value * 1e12).round() / 1e12;
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (sin, cos) = (clean(sin), clean(cos));
    affine(image, [cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy]);
}

/// Greys a square of twice `half` pixels about `(x, y)`, as far as it lies inside.
pub fn cutout(image: &mut RgbImage, half: usize, x: usize, y: usize) {
    let size = image.size();
    let columns = x.saturating_sub(half)..(x + half).min(size.width);
    for row in y.saturating_sub(half)..(y + half).min(size.height) {
        image.row_mut(row)[3 * columns.start..3 * columns.end].fill(EMPTY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::Size;

    /// Greys, row by row.
    fn greys(width: usize, values: &[u8]) -> RgbImage {
        let data = values.iter().flat_map(|&value| [value; 3]).collect();
        RgbImage::new(Size { height: values.len() / width, width }, data)
    }

    fn after(width: usize, values: &[u8], operation: impl Fn(&mut RgbImage)) -> Vec<u8> {
        let mut image = greys(width, values);
        operation(&mut image);
        image.data().iter().step_by(3).copied().collect()
    }

    #[test]
    fn tables_of_values() {
        // 50 to 150 becomes 0 to 255: 75 lies at 25 * 2.55 = 63.75.
        assert_eq!(after(3, &[50, 75, 150], auto_contrast), [0, 63, 255]);
        assert_eq!(after(2, &[7, 7], auto_contrast), [7, 7]);
        assert_eq!(after(2, &[0, 200], invert), [255, 55]);
        assert_eq!(after(3, &[255, 130, 63], |i| posterize(i, 2)), [192, 128, 0]);
        assert_eq!(after(2, &[255, 3], |i| posterize(i, 0)), [0, 0]);
        assert_eq!(after(2, &[255, 3], |i| posterize(i, 8)), [255, 3]);
        assert_eq!(after(3, &[99, 100, 255], |i| solarize(i, 100)), [99, 155, 0]);
        assert_eq!(after(3, &[20, 127, 128], |i| solarize_add(i, 140)), [160, 255, 128]);
    }

    #[test]
    fn equalizing_gives_equal_counts_equal_room() {
        // 512 pixels of 10, 20, 30, 40 each a quarter: step = 384 / 255 = 1, so a value becomes the pixels below it.
        let values: Vec<u8> = (0..512).map(|i| 10 + 10 * (i / 128) as u8).collect();
        let result = after(512, &values, equalize);
        assert_eq!([result[0], result[128], result[256], result[384]], [0, 128, 255, 255]);
        assert_eq!(after(2, &[3, 9], equalize), [3, 9], "too few pixels for a step");
    }

    #[test]
    fn blends() {
        assert_eq!(after(2, &[100, 250], |i| brightness(i, 1.5)), [150, 255]);
        assert_eq!(after(2, &[100, 255], |i| brightness(i, 0.1)), [10, 25]);
        // Mean 150: 100 -> 150 - 25, 200 -> 150 + 25.
        assert_eq!(after(2, &[100, 200], |i| contrast(i, 0.5)), [125, 175]);
        let mut red = RgbImage::new(Size { height: 1, width: 1 }, vec![200, 0, 0]);
        color(&mut red, 0.5);
        // Grey of 200 red: 200 * 0.299 = 59.8, so 60; half way: 130, 30, 30.
        assert_eq!(red.data(), [130, 30, 30]);
        // (8 * 0 + 5 * 130) / 13 = 50; twice away: 50 + 2 * 80.
        let dot = [0, 0, 0, 0, 130, 0, 0, 0, 0];
        assert_eq!(after(3, &dot, |i| sharpness(i, 0.0)), [0, 0, 0, 0, 50, 0, 0, 0, 0]);
        assert_eq!(after(3, &dot, |i| sharpness(i, 2.0)), [0, 0, 0, 0, 210, 0, 0, 0, 0]);
    }

    #[test]
    fn moves() {
        let square = [1, 2, 3, 4];
        assert_eq!(after(2, &square, |i| translate_x(i, 1.0)), [2, EMPTY, 4, EMPTY]);
        assert_eq!(after(2, &square, |i| translate_y(i, -1.0)), [EMPTY, EMPTY, 1, 2]);
        assert_eq!(after(2, &square, |i| rotate(i, 90.0)), [2, 4, 1, 3]);
        assert_eq!(after(2, &square, |i| rotate(i, 180.0)), [4, 3, 2, 1]);
        // Centres lie at 0.5 and 1.5: the upper row takes half a pixel more (0 -> 1), the lower one and a half.
        assert_eq!(after(2, &square, |i| shear_x(i, 1.0)), [2, EMPTY, EMPTY, EMPTY]);
        assert_eq!(after(2, &square, |i| shear_y(i, 1.0)), [3, EMPTY, EMPTY, EMPTY]);
        assert_eq!(after(3, &[9; 9], |i| cutout(i, 1, 2, 0)), [9, EMPTY, EMPTY, 9, 9, 9, 9, 9, 9]);
    }
}
