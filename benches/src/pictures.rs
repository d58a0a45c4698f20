//! The steps of the training pipeline in their plain form, pixel by pixel in double precision.

use box_geometry::Size;
use detect_data::{BORDER, ColourJitter, HueRule, Matrix, Mosaic, RgbImage};

/// The pixel at column `x` and row `y`, or the border's grey outside the image.
fn pixel(image: &RgbImage, x: i64, y: i64) -> [u8; 3] {
    let Size { height, width } = image.size();
    if !(0..width as i64).contains(&x) || !(0..height as i64).contains(&y) {
        return [BORDER; 3];
    }
    let start = x as usize * 3;
    image.row(y as usize)[start..start + 3].try_into().expect("three channels")
}

/// The bytes of an image of that size whose pixels `colour(x, y)` gives.
fn paint<T>(size: Size, colour: impl Fn(i64, i64) -> [T; 3]) -> Vec<T> {
    let Size { height, width } = size;
    (0..height * width).flat_map(|i| colour((i % width) as i64, (i / width) as i64)).collect()
}

/// The canvas of a mosaic: each quarter around the common point shows the tile whose corner lies there.
pub fn mosaic(plan: &Mosaic, tiles: [&RgbImage; 4]) -> Vec<u8> {
    let (centre_x, centre_y) = (plan.centre_x as i64, plan.centre_y as i64);
    paint(Size { height: plan.canvas, width: plan.canvas }, |x, y| {
        let (right, below) = (x >= centre_x, y >= centre_y);
        let tile = tiles[usize::from(right) + 2 * usize::from(below)];
        let Size { height, width } = tile.size();
        let from_x = x - centre_x + if right { 0 } else { width as i64 };
        let from_y = y - centre_y + if below { 0 } else { height as i64 };
        pixel(tile, from_x, from_y)
    })
}

/// A square that shows at `matrix(p)` what the image has at `p`, interpolated between pixel centres at whole coordinates.
///
/// # Panics
/// When the map cannot be inverted.
pub fn warped(image: &RgbImage, matrix: &Matrix, side: usize) -> Vec<f64> {
    let back = matrix.inverse().expect("an invertible map");
    paint(Size { height: side, width: side }, |x, y| {
        let (x, y) = back.map(x as f64, y as f64);
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        let mut colour = [0.0; 3];
        for (i, j) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let by_x = if i == 1 { right_share } else { 1.0 - right_share };
            let by_y = if j == 1 { bottom_share } else { 1.0 - bottom_share };
            let corner = pixel(image, left as i64 + i, top as i64 + j);
            colour.iter_mut().zip(corner).for_each(|(sum, c)| *sum += by_x * by_y * f64::from(c));
        }
        colour
    })
}

/// The image after a jitter that drew these numbers from -1 to 1 for hue, saturation and value.
pub fn jittered(image: &RgbImage, jitter: &ColourJitter, draws: [f64; 3]) -> Vec<f64> {
    let hue = |old: f64| match jitter.rule {
        HueRule::Multiplicative => old * (1.0 + draws[0] * jitter.hue),
        HueRule::Additive => old + 180.0 * draws[0] * jitter.hue,
    };
    let scaled = |old: f64, draw: f64, gain: f64| (old * (1.0 + draw * gain)).clamp(0.0, 255.0);
    paint(image.size(), |x, y| {
        // Eight bits a channel, rounded as OpenCV does; the factors' results are cut.
        let [h, s, v] = hsv(pixel(image, x, y).map(f64::from)).map(f64::round);
        let (s, v) = (scaled(s, draws[1], jitter.saturation), scaled(v, draws[2], jitter.value));
        rgb([hue(h % 180.0).rem_euclid(180.0), s, v].map(f64::floor))
    })
}

/// Hue in half degrees, saturation and value up to 255.
fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let value = r.max(g).max(b);
    let spread = value - r.min(g).min(b);
    if spread == 0.0 {
        return [0.0, 0.0, value];
    }
    let sixths = if value == r {
        (g - b) / spread
    } else if value == g {
        2.0 + (b - r) / spread
    } else {
        4.0 + (r - g) / spread
    };
    [30.0 * sixths.rem_euclid(6.0), 255.0 * spread / value, value]
}

/// The way back: a channel falls from the value by the saturation's share, the further the hue is from the channel's own.
fn rgb([hue, saturation, value]: [f64; 3]) -> [f64; 3] {
    [0.0, 60.0, 120.0].map(|own| {
        let around = (hue - own).abs();
        let away = around.min(180.0 - around) / 30.0 - 1.0;
        value * (1.0 - saturation / 255.0 * away.clamp(0.0, 1.0))
    })
}
