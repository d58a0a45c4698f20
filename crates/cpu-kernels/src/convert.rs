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
    fn to_scaled_rows_part(
        x: &[f32],
        plane: usize,
        first: usize,
        factors: &[f32],
        summands: &[f32],
        y: &mut MapMut<'_>,
    ) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_maps::{TestMap, assert_close, to_f64, values};

    /// Batch, channels, height, width.
    fn sizes() -> impl Strategy<Value = (usize, usize, usize, usize)> {
        prop_oneof![
            4 => (1usize..4, 1usize..20, 1usize..9, 1usize..9),
            1 => (1usize..3, 1usize..70, 30usize..50, 30usize..50),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn planes_become_rows_and_back(
            (batch, channels, height, width) in sizes(),
            gap in 0usize..5,
            scaled: bool,
            seed: u64,
        ) {
            let plane = height * width;
            let x = values(batch * channels * plane, 3.0, seed);
            let (factors, summands) = (values(channels, 2.0, seed ^ 1), values(channels, 2.0, seed ^ 2));
            let expected: Vec<f64> = (0..x.len()).map(|i| {
                let (image, position, c) = (i / (plane * channels), i / channels % plane, i % channels);
                let value = f64::from(x[(image * channels + c) * plane + position]);
                if scaled { value * f64::from(factors[c]) + f64::from(summands[c]) } else { value }
            }).collect();
            for &isa in Isa::available() {
                let mut y = TestMap::random(batch * plane, channels, gap, 1.0, seed);
                let scale = scaled.then_some((&factors[..], &summands[..]));
                nchw_to_nhwc(isa, &x, batch, channels, height, width, scale, &mut y.map_mut());
                y.assert_close(&expected, 3e-7, isa.name());
                if !scaled {
                    let mut back = vec![9.0; x.len()];
                    nhwc_to_nchw(isa, y.map(), batch, height, width, &mut back);
                    prop_assert_eq!(&back, &x);
                }
            }
        }

        #[test]
        fn pixels_are_scaled(pixels in proptest::collection::vec(any::<[u8; 3]>(), 1..300), gap in 0usize..5) {
            let (scale, shift) = ([1.0 / 255.0, 0.5, -2.0], [0.0, -1.0, 0.25]);
            let bytes = pixels.concat();
            let expected: Vec<f64> = bytes.iter().enumerate()
                .map(|(i, &x)| f64::from(x) * f64::from(scale[i % 3]) + f64::from(shift[i % 3])).collect();
            for &isa in Isa::available() {
                let mut y = TestMap::random(pixels.len(), 3, gap, 1.0, 1);
                rgb8_to_nhwc(isa, &bytes, scale, shift, &mut y.map_mut());
                y.assert_close(&expected, 3e-7, isa.name());
            }
        }
    }

    #[test]
    fn an_image_worth_several_threads_is_whole() {
        let x = values(3 * 300 * 200, 1.0, 4);
        let mut rows = vec![0.0; x.len()];
        nchw_to_nhwc(Isa::best(), &x, 1, 3, 300, 200, None, &mut MapMut::dense(&mut rows, 3));
        let mut back = vec![0.0; x.len()];
        nhwc_to_nchw(Isa::best(), MapRef::dense(&rows, 3), 1, 300, 200, &mut back);
        assert_close(&back, &to_f64(&x), 0.0, "there and back");
    }
}
