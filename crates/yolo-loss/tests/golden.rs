//! Overlaps, distribution focal loss, assigner and the whole loss against reference values.

mod support;

use box_geometry::{AnchorGrid, GridLevel, Xyxy};
use serde_json::Value;
use support::{LossCase, RULES, loss_cases, named};
use test_support::{Tensors, assert_close, assert_close_to_max, entries};
use yolo_loss::{
    Assigner, DecodedPredictions, GroundTruth, Match, Overlap, TaskAligned, dfl_loss, expected_distances,
};

const OVERLAPS: [(&str, Overlap); 4] =
    [("iou", Overlap::Iou), ("giou", Overlap::Giou), ("diou", Overlap::Diou), ("ciou", Overlap::Ciou)];

/// Boxes `[N, 4]` in f64.
fn boxes(tensors: &Tensors, name: &str) -> Vec<[f64; 4]> {
    tensors.f32(name).as_chunks::<4>().0.iter().map(|row| row.map(f64::from)).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

#[test]
fn golden_overlaps_and_their_gradients() {
    for entry in entries("box_iou") {
        let tensors = entry.tensors();
        let (value_abs, grad_abs) = (entry.tolerance(&["value_abs"]), entry.tolerance(&["grad_abs"]));
        let grad_rel = entry.tolerance(&["grad_rel"]);
        let (first, second) = (boxes(&tensors, "box1"), boxes(&tensors, "box2"));
        for (name, overlap) in OVERLAPS {
            let got: Vec<_> = first.iter().zip(&second).map(|(a, b)| overlap.with_gradient(a, b)).collect();
            let values: Vec<f64> = got.iter().map(|pair| pair.value).collect();
            assert_close(name, &narrow(&values), &tensors.f32(name), value_abs);
            let gradients: [Vec<[f64; 4]>; 2] =
                [got.iter().map(|pair| pair.first).collect(), got.iter().map(|pair| pair.second).collect()];
            for (side, gradient) in gradients.iter().enumerate() {
                let name = format!("{name}_grad_box{}", side + 1);
                for (i, (&got, want)) in gradient.as_flattened().iter().zip(tensors.f32(&name)).enumerate() {
                    let difference = (got - want as f64).abs();
                    let allowed = grad_abs + grad_rel * want.abs() as f64;
                    assert!(difference <= allowed, "{name}, value {i}: {got}, expected {want}");
                }
            }
        }
    }
}

#[test]
fn golden_overlaps_of_special_pairs() {
    for entry in entries("box_iou") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["value_abs"]));
        let (first, second) = (boxes(&tensors, "special_box1"), boxes(&tensors, "special_box2"));
        for (name, overlap) in OVERLAPS {
            let got: Vec<f64> = first.iter().zip(&second).map(|(a, b)| overlap.value(a, b)).collect();
            assert_close(name, &narrow(&got), &tensors.f32(&format!("special_{name}")), tolerance);
        }
    }
}

#[test]
fn golden_overlaps_of_boxes_by_centre() {
    for entry in entries("box_iou") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["value_abs"]));
        // Centres and sizes are rounded to f32, then the corners are computed from them.
        let recentred = |name: &str| -> Vec<[f64; 4]> {
            let through_centre = |b: &[f64; 4]| {
                let centre = [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0].map(|v| v as f32 as f64);
                let half = [(b[2] - b[0]) as f32 as f64 / 2.0, (b[3] - b[1]) as f32 as f64 / 2.0];
                [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
            };
            boxes(&tensors, name).iter().map(through_centre).collect()
        };
        let (first, second) = (recentred("box1"), recentred("box2"));
        let got: Vec<f64> = first.iter().zip(&second).map(|(a, b)| Overlap::Ciou.value(a, b)).collect();
        assert_close("ciou_xywh_inputs", &narrow(&got), &tensors.f32("ciou_xywh_inputs"), tolerance);
    }
}

#[test]
fn golden_distribution_focal_loss() {
    for entry in entries("dfl_loss") {
        let tensors = entry.tensors();
        let logits = tensors.f32("pred_dist"); // [N * 4, R]
        let bins = tensors.dims("pred_dist")[1];
        let mut gradient = vec![0.0; logits.len()];
        let targets = boxes(&tensors, "target");
        let rows = logits.chunks_exact(4 * bins).zip(gradient.chunks_exact_mut(4 * bins));
        let losses: Vec<f64> = rows
            .zip(&targets)
            .map(|((logits, gradient), target)| dfl_loss(logits, target, gradient))
            .collect();
        assert_close("loss", &narrow(&losses), &tensors.f32("loss"), entry.tolerance(&["value_abs"]));
        let want = tensors.f32("grad_pred_dist");
        assert_close("grad_pred_dist", &gradient, &want, entry.tolerance(&["grad_abs"]));
    }
}

#[test]
fn golden_expected_distances() {
    for entry in entries("anchors_dfl") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["abs"]));
        for name in tensors.names().iter().filter(|name| name.ends_with("/dfl_logits")) {
            let dims = tensors.dims(name); // [B, 4 * R, A]
            let (channels, anchors) = (dims[1], dims[2]);
            let logits = tensors.f32(name);
            let want = tensors.f32(&name.replace("dfl_logits", "dfl_out")); // [B, 4, A]
            let mut got = vec![0.0; want.len()];
            for image in 0..dims[0] {
                for anchor in 0..anchors {
                    let at = |channel: usize| logits[(image * channels + channel) * anchors + anchor];
                    let row: Vec<f32> = (0..channels).map(at).collect();
                    for (side, distance) in expected_distances(&row).into_iter().enumerate() {
                        got[(image * 4 + side) * anchors + anchor] = distance;
                    }
                }
            }
            assert_close(name, &got, &want, tolerance);
        }
    }
}

/// The grid of an image, its strides read off the anchor points: each level begins half a stride from the corner.
fn grid_of(anchor_points: &[[f32; 2]], image: &Value) -> AnchorGrid {
    let side = |index: usize| image[index].as_u64().expect("a side") as usize;
    let mut levels = Vec::new();
    let mut first = 0;
    while first < anchor_points.len() {
        let stride = (2.0 * anchor_points[first][0]) as usize;
        let level = GridLevel { height: side(0) / stride, width: side(1) / stride, stride };
        levels.push(level);
        first += level.cells();
    }
    let grid = AnchorGrid::new(&levels);
    let centres: Vec<[f32; 2]> = (0..grid.len()).map(|anchor| grid.centre_px(anchor)).collect();
    assert_eq!(centres, anchor_points);
    grid
}

/// The objects of each image.
fn objects_of(tensors: &Tensors, case: &str) -> Vec<Vec<GroundTruth>> {
    let dims = tensors.dims(&format!("{case}/gt_bboxes")); // [B, G, 4]
    if dims[1] == 0 {
        return vec![Vec::new(); dims[0]];
    }
    let labels = tensors.integers(&format!("{case}/gt_labels"));
    let mask = tensors.integers(&format!("{case}/mask_gt"));
    let boxes = tensors.f32(&format!("{case}/gt_bboxes"));
    let object = |index: usize| GroundTruth {
        class: labels[index] as usize,
        xyxy: Xyxy::from(boxes.as_chunks::<4>().0[index]),
    };
    let image = |image: usize| {
        (image * dims[1]..(image + 1) * dims[1]).filter(|&i| mask[i] != 0).map(object).collect()
    };
    (0..dims[0]).map(image).collect()
}

#[test]
fn golden_assignments() {
    for entry in entries("assigner") {
        let (tensors, tolerance) = (entry.tensors(), entry.tolerance(&["target_scores_abs"]));
        for (case, meta) in entry.meta.as_object().expect("cases").iter().filter(|(_, meta)| meta.is_object())
        {
            let grid = grid_of(tensors.f32(&format!("{case}/anc_points")).as_chunks::<2>().0, &meta["image"]);
            let classes = meta["num_classes"].as_u64().expect("`num_classes`") as usize;
            let topk = meta["topk"].as_u64().expect("`topk`") as usize;
            let boxes: Vec<Xyxy> = tensors
                .f32(&format!("{case}/pd_bboxes"))
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| b.into())
                .collect();
            let scores = tensors.f32(&format!("{case}/pd_scores"));
            let images = objects_of(&tensors, case);
            for (suffix, rules) in RULES {
                let assigner = TaskAligned { topk, alpha: 0.5, beta: 6.0, rules };
                for (image, objects) in images.iter().enumerate() {
                    let predictions = DecodedPredictions {
                        boxes: &boxes[image * grid.len()..][..grid.len()],
                        scores: &scores[image * grid.len() * classes..][..grid.len() * classes],
                        classes,
                    };
                    let matches = assigner.assign(&predictions, &grid, objects);
                    let anchors = image * grid.len()..(image + 1) * grid.len();
                    let want = WantedAssignment { tensors: &tensors, case, suffix, anchors, classes };
                    want.compare(&matches, objects, tolerance);
                }
            }
        }
    }
}

/// The reference assignment of one image.
struct WantedAssignment<'a> {
    tensors: &'a Tensors,
    case: &'a str,
    suffix: &'a str,
    anchors: std::ops::Range<usize>,
    classes: usize,
}

impl WantedAssignment<'_> {
    fn name(&self, what: &str) -> String {
        named(self.tensors, &format!("{}/{what}", self.case), self.suffix)
    }

    fn compare(&self, matches: &[Match], objects: &[GroundTruth], tolerance: f64) {
        let what = format!("{} {}", self.case, self.suffix);
        assert!(matches.is_sorted_by(|a, b| a.anchor < b.anchor), "{what}: order");
        let (mut scores, mut owners) =
            (vec![0.0; self.anchors.len() * self.classes], vec![-1; self.anchors.len()]);
        let (mut labels, mut boxes) = (owners.clone(), vec![[0.0; 4]; self.anchors.len()]);
        for matched in matches.iter().filter(|matched| matched.score > 0.0) {
            let object = &objects[matched.object];
            scores[matched.anchor * self.classes + object.class] = matched.score as f32;
            owners[matched.anchor] = matched.object as i64;
            labels[matched.anchor] = object.class as i64;
            boxes[matched.anchor] = object.xyxy.to_array();
        }
        let integers = |name: &str| self.tensors.integers(&self.name(name))[self.anchors.clone()].to_vec();
        let foreground: Vec<i64> = owners.iter().map(|&owner| (owner >= 0) as i64).collect();
        assert_eq!(foreground, integers("fg_mask"), "{what}: fg_mask");
        assert_eq!(owners, integers("target_gt_idx"), "{what}: target_gt_idx");
        assert_eq!(labels, integers("target_labels"), "{what}: target_labels");
        let floats = |name: &str, width: usize| {
            self.tensors.f32(&self.name(name))[self.anchors.start * width..self.anchors.end * width].to_vec()
        };
        assert_close(&what, boxes.as_flattened(), &floats("target_bboxes", 4), 0.0);
        assert_close(&what, &scores, &floats("target_scores", self.classes), tolerance);
    }
}

#[test]
fn golden_loss_and_gradient() {
    for case in loss_cases() {
        for (suffix, rules) in RULES {
            let what = format!("{} {suffix}", case.name);
            let loss = case.loss(rules);
            let (mut d_boxes, mut d_classes) =
                (vec![f32::NAN; case.boxes.len()], vec![f32::NAN; case.classes.len()]);
            let value = loss
                .value_and_gradient(
                    &case.boxes,
                    &case.classes,
                    &case.grid,
                    &case.targets,
                    &mut d_boxes,
                    &mut d_classes,
                )
                .unwrap();
            let parts = [value.parts.boxes, value.parts.class, value.parts.dfl];
            compare_values(&case, suffix, &parts, value.total);
            for (name, got) in case.gradients(suffix, &d_boxes, &d_classes) {
                let want = case.tensors.f32(&name);
                assert_close_to_max(&format!("{what}: {name}"), &got, &want, case.gradient_tolerance);
            }
            let positives = case.meta["foreground"][suffix].as_u64().expect("`foreground`");
            assert!(value.positives as u64 <= positives, "{what}: positives");
        }
    }
}

fn compare_values(case: &LossCase, suffix: &str, parts: &[f64; 3], total: f64) {
    let items = case.tensors.f32(&case.name(suffix, "items"));
    for (got, want) in parts.iter().zip(items) {
        let allowed = case.items_tolerance * want.abs() as f64;
        assert!((got - want as f64).abs() <= allowed, "{} {suffix}: item {got}, expected {want}", case.name);
    }
    let want = case.tensors.f32(&case.name(suffix, "total"))[0] as f64;
    assert!(
        (total - want).abs() <= case.total_tolerance * want.abs(),
        "{} {suffix}: total {total}, {want}",
        case.name
    );
}

#[cfg(feature = "candle")]
#[test]
fn golden_loss_and_gradient_on_tensors() {
    use candle_core::{DType, Device, Var};
    for case in loss_cases() {
        for (suffix, rules) in RULES {
            let tensor = |values: &[f32], channels: usize| {
                let dims = (case.targets.len(), case.grid.len(), channels);
                let tensor = candle_core::Tensor::from_slice(values, dims, &Device::Cpu).unwrap();
                Var::from_tensor(&tensor.to_dtype(DType::F64).unwrap()).unwrap()
            };
            let boxes = tensor(&case.boxes, 4 * case.bins);
            let classes = tensor(&case.classes, case.class_count);
            let loss = case.loss(rules).forward(&boxes, &classes, &case.grid, &case.targets).unwrap();
            let value = |tensor: &candle_core::Tensor| tensor.to_scalar::<f64>().unwrap();
            let parts = [value(&loss.boxes), value(&loss.class), value(&loss.dfl)];
            compare_values(&case, suffix, &parts, value(&loss.total));
            let gradients = loss.total.backward().unwrap();
            let gradient = |var: &Var| match gradients.get(var) {
                Some(g) => g.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                None => vec![0.0; var.elem_count()], // no object: the boxes do not enter
            };
            for (name, got) in case.gradients(suffix, &gradient(&boxes), &gradient(&classes)) {
                assert_close_to_max(&name, &got, &case.tensors.f32(&name), case.gradient_tolerance);
            }
        }
    }
}
