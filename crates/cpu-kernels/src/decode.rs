//! Decoding of one level of the detection head: distances to boxes, logits to scores.

use crate::activation::{exp, sigmoid};
use crate::isa::{mul_add, multiversion};
use crate::{Isa, MapMut, MapRef, rows};

/// Bins that are summed side by side.
const LANES: usize = 8;

/// Decodes one level into rows `first_anchor ..` of every image's rows of `y`.
///
/// `boxes` is `[B * H * W][4 * R]`: for left, top, right, bottom in turn, the logits of `R` bins; a distance is the
/// expectation of `bins` under their softmax, in units of `stride`, from the cell's centre (Generalized Focal Loss,
/// arXiv 2006.04388, section 3.2). `classes` is `[B * H * W][K]`, logits. `y` is `[B * anchors][4 + K]`: centre x, centre
/// y, width and height in input pixels, then the sigmoid of the class logits.
///
/// # Panics
/// When the shapes differ.
pub fn decode_level(
    isa: Isa,
    boxes: MapRef<'_>,
    classes: MapRef<'_>,
    batch: usize,
    height: usize,
    width: usize,
    stride: usize,
    bins: &[f32],
    first_anchor: usize,
    anchors: usize,
    y: &mut MapMut<'_>,
) {
    let cells = height * width;
    assert_eq!(
        (boxes.positions(), boxes.channels()),
        (batch * cells, 4 * bins.len()),
        "shape of the box map"
    );
    assert_eq!(
        (classes.positions(), classes.channels() + 4),
        (batch * cells, y.channels()),
        "shape of the class map"
    );
    assert_eq!(y.positions(), batch * anchors, "rows of the detections");
    assert!(first_anchor + cells <= anchors, "anchors {first_anchor}..{} of {anchors}", first_anchor + cells);
    let level = Level { width, stride: stride as f32, bins };
    for image in 0..batch {
        let first = image * anchors + first_anchor;
        // SAFETY: `y` is borrowed exclusively, and this is the only part of it.
        let mut rows_of_level = unsafe { y.part(first..first + cells) };
        rows::split(&mut rows_of_level, |cells_of_part, y| {
            decode_part(isa, level, boxes, classes, image * cells, cells_of_part.start, y);
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Level<'a> {
    width: usize,
    stride: f32,
    bins: &'a [f32],
}

multiversion! {
    /// Cells `first ..` of the image whose first position is `offset`.
    fn decode_part(
        level: Level<'_>,
        boxes: MapRef<'_>,
        classes: MapRef<'_>,
        offset: usize,
        first: usize,
        y: &mut MapMut<'_>,
    ) {
        for i in 0..y.positions() {
            let cell = first + i;
            let position = offset + cell;
            let (xywh, scores) = y.row_mut(i).split_at_mut(4);
            let (column, row) = ((cell % level.width) as f32 + 0.5, (cell / level.width) as f32 + 0.5);
            xywh.copy_from_slice(&decode_box::<FMA>(boxes.row(position), column, row, level));
            for (score, &logit) in scores.iter_mut().zip(classes.row(position)) {
                *score = sigmoid::<FMA>(logit);
            }
        }
    }
}

/// Centre, width and height of the box whose distances from `(column, row)`, in cells, have these logits.
#[inline(always)]
fn decode_box<const FMA: bool>(logits: &[f32], column: f32, row: f32, level: Level<'_>) -> [f32; 4] {
    let mut distances = [0.0; 4];
    for (distance, logits) in distances.iter_mut().zip(logits.chunks_exact(level.bins.len())) {
        *distance = expectation::<FMA>(logits, level.bins);
    }
    let [left, top, right, bottom] = distances;
    let centre = [column + (right - left) * 0.5, row + (bottom - top) * 0.5];
    [
        centre[0] * level.stride,
        centre[1] * level.stride,
        (left + right) * level.stride,
        (top + bottom) * level.stride,
    ]
}

/// Expectation of `bins` under the softmax of `logits`.
#[inline(always)]
fn expectation<const FMA: bool>(logits: &[f32], bins: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    for logits in logits.chunks(LANES) {
        let logits = lanes(logits, f32::NEG_INFINITY);
        for i in 0..LANES {
            largest[i] = if logits[i] > largest[i] { logits[i] } else { largest[i] };
        }
    }
    let largest = fold(largest, f32::max);
    let (mut weights, mut products) = ([0.0; LANES], [0.0; LANES]);
    for (logits, bins) in logits.chunks(LANES).zip(bins.chunks(LANES)) {
        // A lane past the last bin weighs e^-87 and its bin counts as 0.
        let (logits, bins) = (lanes(logits, f32::NEG_INFINITY), lanes(bins, 0.0));
        for i in 0..LANES {
            let weight = exp::<FMA>(logits[i] - largest);
            weights[i] += weight;
            products[i] = mul_add::<FMA>(weight, bins[i], products[i]);
        }
    }
    fold(products, |a, b| a + b) / fold(weights, |a, b| a + b)
}

/// Up to [`LANES`] values, filled up.
#[inline(always)]
fn lanes(values: &[f32], fill: f32) -> [f32; LANES] {
    values.try_into().unwrap_or_else(|_| {
        let mut filled = [fill; LANES];
        filled[..values.len()].copy_from_slice(values);
        filled
    })
}

/// Combines the lanes by halves.
#[inline(always)]
fn fold(x: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let [a, b, c, d] = std::array::from_fn(|i| combine(x[i], x[i + LANES / 2]));
    combine(combine(a, c), combine(b, d))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::{activation, decode};
    use crate::test_maps::{TestMap, assert_close};

    /// What the levels of one image decode to, by the reference.
    fn expected_row(
        boxes: &[f64],
        classes: &[f64],
        bins: &[f32],
        width: usize,
        cell: usize,
        stride: usize,
    ) -> Vec<f64> {
        let bins: Vec<f64> = bins.iter().copied().map(f64::from).collect();
        let xywh = decode::decode_box(boxes, &bins, cell % width, cell / width, stride as f64);
        xywh.into_iter().chain(classes.iter().map(|&x| activation::sigmoid(x))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn levels_equal_the_reference(
            (batch, height, width) in prop_oneof![
                4 => (1usize..4, 1usize..9, 1usize..9),
                1 => (2usize..3, 30usize..60, 30usize..60),
            ],
            (reg_max, classes) in (1usize..20, 1usize..30),
            stride in prop_oneof![Just(8usize), Just(16), Just(32)],
            (before, after, gap) in (0usize..5, 0usize..5, 0usize..5),
            seed: u64,
        ) {
            let cells = height * width;
            let anchors = before + cells + after;
            let bins: Vec<f32> = (0..reg_max).map(|bin| bin as f32).collect();
            let box_map = TestMap::random(batch * cells, 4 * reg_max, gap, 12.0, seed);
            let class_map = TestMap::random(batch * cells, classes, 0, 12.0, seed ^ 1);
            for &isa in Isa::available() {
                let mut y = TestMap::new(&vec![5.0; batch * anchors * (4 + classes)], 4 + classes, gap);
                let (boxes, logits) = (box_map.map(), class_map.map());
                decode_level(
                    isa, boxes, logits, batch, height, width, stride, &bins, before, anchors, &mut y.map_mut(),
                );
                let expected: Vec<f64> = (0..batch * anchors).flat_map(|row| {
                    let (image, anchor) = (row / anchors, row % anchors);
                    if anchor < before || anchor >= before + cells {
                        return vec![5.0; 4 + classes];
                    }
                    let (cell, position) = (anchor - before, image * cells + anchor - before);
                    let [boxes, classes] = [&box_map, &class_map]
                        .map(|map| map.map().row(position).iter().copied().map(f64::from).collect::<Vec<_>>());
                    expected_row(&boxes, &classes, &bins, width, cell, stride)
                }).collect();
                // A box's side is a difference of distances that reach over `reg_max` cells.
                y.assert_close(&expected, 5e-7 + 3e-7 * (stride * reg_max) as f64, isa.name());
            }
        }
    }

    #[test]
    fn a_certain_bin_is_the_distance() {
        let mut boxes = vec![0.0f32; 4 * 16];
        [(0, 2), (1, 3), (2, 15), (3, 0)].iter().for_each(|&(side, bin)| boxes[side * 16 + bin] = 1e4);
        let bins: Vec<f32> = (0..16u8).map(f32::from).collect();
        for &isa in Isa::available() {
            let mut y = vec![0.0; 5];
            let (boxes, classes) = (MapRef::dense(&boxes, 64), MapRef::dense(&[0.0], 1));
            decode_level(isa, boxes, classes, 1, 1, 1, 8, &bins, 0, 1, &mut MapMut::dense(&mut y, 5));
            // From the centre (4, 4): left 16, top 24, right 120, bottom 0.
            assert_close(&y, &[56.0, -8.0, 136.0, 24.0, 0.5], 0.0, isa.name());
        }
    }
}
