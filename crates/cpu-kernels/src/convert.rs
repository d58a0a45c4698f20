//! Changes of layout at the border of the engine: NCHW and 8-bit pixels to maps, and back.

use crate::isa::{mul_add, multiversion};
use crate::{Isa, MapMut, MapRef, rows};

/// Positions that are transposed at once, so that the rows written stay in the first-level cache.
const TILE: usize = 32;

/// NCHW `[batch, channels, height, width]` to a map; with `scale`, every value is multiplied by its channel's factor and
/// the channel's summand is added.
///
/// # Panics
/// When the shapes differ.
pub fn nchw_to_nhwc(
    isa: Isa,
    x: &[f32],
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    scale: Option<(&[f32], &[f32])>,
    y: &mut MapMut<'_>,
) {
    let plane = height * width;
    assert_eq!(x.len(), batch * channels * plane, "values of [{batch}, {channels}, {height}, {width}]");
    assert_eq!((y.positions(), y.channels()), (batch * plane, channels), "shape of the map");
    rows::split(y, |range, y| match scale {
        None => to_rows_part(isa, x, plane, range.start, y),
        Some((factors, summands)) => {
            assert_eq!(
                (factors.len(), summands.len()),
                (channels, channels),
                "one factor and summand a channel"
            );
            to_scaled_rows_part(isa, x, plane, range.start, factors, summands, y);
        }
    });
}

/// A map to NCHW `[batch, C, height, width]`.
///
/// # Panics
/// When the shapes differ.
pub fn nhwc_to_nchw(isa: Isa, x: MapRef<'_>, batch: usize, height: usize, width: usize, y: &mut [f32]) {
    let (plane, channels) = (height * width, x.channels());
    assert_eq!(x.positions(), batch * plane, "positions of [{batch}, {channels}, {height}, {width}]");
    assert_eq!(y.len(), batch * channels * plane, "values of [{batch}, {channels}, {height}, {width}]");
    let mut planes = MapMut::new(y, batch * channels, plane, plane);
    rows::split(&mut planes, |range, planes| to_planes_part(isa, x, range.start, planes));
}

/// 8-bit pixels `[B, H, W, 3]` to a map of three channels, `y = x * scale + shift`.
///
/// # Panics
/// When the shapes differ.
pub fn rgb8_to_nhwc(isa: Isa, x: &[u8], scale: [f32; 3], shift: [f32; 3], y: &mut MapMut<'_>) {
    assert_eq!((y.channels(), y.positions() * 3), (3, x.len()), "three bytes a position");
    rows::split(y, |range, y| rgb8_part(isa, &x[range.start * 3..range.end * 3], scale, shift, y));
}

/// Tiles of the positions of a part: the image, the first position in it, the first row of the part, and the length.
fn tiles(plane: usize, first: usize, positions: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    let mut row = 0;
    std::iter::from_fn(move || {
        let (image, start) = ((first + row) / plane.max(1), (first + row) % plane.max(1));
        let len = TILE.min(plane - start).min(positions - row);
        let tile = (image, start, row, len);
        row += len;
        (len > 0).then_some(tile)
    })
}

multiversion! {
    fn to_rows_part(x: &[f32], plane: usize, first: usize, y: &mut MapMut<'_>) {
        let channels = y.channels();
        for (image, start, row, len) in tiles(plane, first, y.positions()) {
            for c in 0..channels {
                let from = (image * channels + c) * plane + start;
                for (i, &x) in x[from..from + len].iter().enumerate() {
                    y.row_mut(row + i)[c] = x;
                }
            }
        }
    }
}

multiversion! {
    fn to_scaled_rows_part(x: &[f32], plane: usize, first: usize, factors: &[f32], summands: &[f32], y: &mut MapMut<'_>) {
        let channels = y.channels();
        for (image, start, row, len) in tiles(plane, first, y.positions()) {
            for c in 0..channels {
                let from = (image * channels + c) * plane + start;
                for (i, &x) in x[from..from + len].iter().enumerate() {
                    y.row_mut(row + i)[c] = mul_add::<FMA>(x, factors[c], summands[c]);
                }
            }
        }
    }
}

multiversion! {
    /// `planes`: rows `first ..` of `[B * C][H * W]`.
    fn to_planes_part(x: MapRef<'_>, first: usize, planes: &mut MapMut<'_>) {
        let (plane, channels) = (planes.channels(), x.channels());
        let end = first + planes.positions();
        let images = first / channels.max(1)..end.div_ceil(channels.max(1));
        for image in images {
            let range = (image * channels).max(first)..((image + 1) * channels).min(end);
            for start in (0..plane).step_by(TILE) {
                let len = TILE.min(plane - start);
                for index in range.clone() {
                    let c = index - image * channels;
                    let out = &mut planes.row_mut(index - first)[start..start + len];
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = x.row(image * plane + start + i)[c];
                    }
                }
            }
        }
    }
}

multiversion! {
    fn rgb8_part(x: &[u8], scale: [f32; 3], shift: [f32; 3], y: &mut MapMut<'_>) {
        for (position, pixel) in x.chunks_exact(3).enumerate() {
            let y = y.row_mut(position);
            for c in 0..3 {
                y[c] = mul_add::<FMA>(f32::from(pixel[c]), scale[c], shift[c]);
            }
        }
    }
}
