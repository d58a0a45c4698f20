//! Anchor points, distances and boxes against reference values.

use box_geometry::{AnchorGrid, GridLevel, Xyxy, bbox2dist, dist2bbox};
use test_support::{Tensors, assert_close, entries};

/// The cases of a file: the parts of its tensor names before the slash.
fn cases(tensors: &Tensors) -> Vec<String> {
    let mut cases: Vec<String> = tensors
        .names()
        .iter()
        .filter_map(|name| name.split_once('/'))
        .map(|(case, _)| case.to_string())
        .collect();
    cases.dedup();
    cases
}

fn grid(tensors: &Tensors, case: &str) -> AnchorGrid {
    let sides = tensors.integers(&format!("{case}/hw"));
    let levels = sides.chunks_exact(2).enumerate().map(|(index, side)| GridLevel {
        height: side[0] as usize,
        width: side[1] as usize,
        stride: 8 << index,
    });
    AnchorGrid::new(&levels.collect::<Vec<_>>())
}

#[test]
fn golden_anchors_and_strides() {
    for entry in entries("anchors_dfl") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["abs"]));
        for case in cases(&tensors) {
            let grid = grid(&tensors, &case);
            let anchors = tensors.f32(&format!("{case}/anchors"));
            assert_close(&case, grid.centres().as_flattened(), &anchors, tolerance);
            assert_close(&case, grid.strides(), &tensors.f32(&format!("{case}/strides")), tolerance);
        }
    }
}

#[test]
fn golden_boxes_from_distances() {
    for entry in entries("anchors_dfl") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["abs"]));
        for case in cases(&tensors) {
            let grid = grid(&tensors, &case);
            let distances = tensors.f32(&format!("{case}/dfl_out")); // [B, 4, A]
            let anchors = grid.len();
            let images = distances.len() / (4 * anchors);
            let (mut corners, mut centred) = (vec![0.0; distances.len()], vec![0.0; distances.len()]);
            for image in 0..images {
                let at = |side: usize, anchor: usize| (image * 4 + side) * anchors + anchor;
                for anchor in 0..anchors {
                    let sides = std::array::from_fn(|side| distances[at(side, anchor)]);
                    let bbox = dist2bbox(sides, grid.centres()[anchor]);
                    let pixels = bbox.scale(grid.strides()[anchor], grid.strides()[anchor]).to_cxcywh();
                    let pixels = [pixels.cx, pixels.cy, pixels.w, pixels.h];
                    for side in 0..4 {
                        corners[at(side, anchor)] = bbox.to_array()[side];
                        centred[at(side, anchor)] = pixels[side];
                    }
                }
            }
            assert_close(&case, &corners, &tensors.f32(&format!("{case}/boxes_xyxy_grid")), tolerance);
            assert_close(&case, &centred, &tensors.f32(&format!("{case}/boxes_xywh_px")), tolerance);
        }
    }
}

#[test]
fn golden_distances_from_boxes() {
    for entry in entries("anchors_dfl") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["abs"]));
        for case in cases(&tensors) {
            let grid = grid(&tensors, &case);
            let boxes = tensors.f32(&format!("{case}/target_xyxy_grid"));
            let (boxes, _) = boxes.as_chunks::<4>();
            let got: Vec<[f32; 4]> = boxes
                .iter()
                .zip(grid.centres())
                .map(|(&b, &centre)| bbox2dist(&Xyxy::from(b), centre, 15))
                .collect();
            let want = tensors.f32(&format!("{case}/bbox2dist_regmax15"));
            assert_close(&case, got.as_flattened(), &want, tolerance);
        }
    }
}
