//! The form on candle tensors against the slices and finite differences.
#![cfg(feature = "candle")]

use box_geometry::{AnchorGrid, Size, Xyxy};
use candle_core::{DType, Device, Tensor, Var};
use yolo_loss::{
    Assignments, DetectionLoss, Gains, GroundTruth, LossError, Overlap, Rules, Targets, TaskAligned,
};

const OVERLAPS: [Overlap; 4] = [Overlap::Iou, Overlap::Giou, Overlap::Diou, Overlap::Ciou];
const CLASSES: usize = 3;
const BINS: usize = 8;

struct Scene {
    grid: AnchorGrid,
    targets: Targets,
    boxes: Var,
    classes: Var,
}

fn loss(overlap: Overlap) -> DetectionLoss {
    let gains = Gains { boxes: 7.5, class: 0.5, dfl: 1.5 };
    let assigner = TaskAligned { topk: 4, alpha: 0.5, beta: 6.0, rules: Rules::Classic };
    DetectionLoss::new(CLASSES, BINS, gains, assigner, overlap).unwrap()
}

/// Values in -2 .. 2 that are exact in `f32`.
fn logits(dims: (usize, usize, usize), seed: u32) -> Var {
    let value = |i: usize| {
        let bits = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519);
        ((bits >> 12) as f64 / (1 << 20) as f64 - 0.5) * 4.0
    };
    let values: Vec<f64> = (0..dims.0 * dims.1 * dims.2).map(value).collect();
    Var::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn scene(images: Vec<Vec<GroundTruth>>) -> Scene {
    let grid = AnchorGrid::for_input(Size { height: 64, width: 96 }, &[8, 16, 32]).unwrap();
    let (b, a) = (images.len(), grid.len());
    Scene {
        targets: Targets::new(images),
        boxes: logits((b, a, 4 * BINS), 1),
        classes: logits((b, a, CLASSES), 2),
        grid,
    }
}

fn objects() -> Vec<Vec<GroundTruth>> {
    let object = |class, x1, y1, x2, y2| GroundTruth { class, xyxy: Xyxy::new(x1, y1, x2, y2) };
    vec![
        vec![
            object(0, 3.0, 5.0, 61.0, 50.0),
            object(2, 20.0, 9.0, 90.0, 60.0),
            object(1, 10.0, 10.0, 26.0, 31.0),
        ],
        Vec::new(),
        vec![object(1, 40.0, 1.0, 95.0, 63.0)],
    ]
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn narrow(tensor: &Tensor) -> Vec<f32> {
    values(tensor).into_iter().map(|value| value as f32).collect()
}

fn scalar(tensor: &Tensor) -> f64 {
    values(tensor)[0]
}

fn assert_equal(what: &str, got: &[f32], want: &[f64], relative: f64) {
    let max = want.iter().fold(0.0f64, |max, value| max.max(value.abs()));
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        assert!((got as f64 - want).abs() <= relative * max, "{what}, value {i}: {got}, expected {want}");
    }
}

#[test]
fn slices_and_tensors_agree() {
    for (overlap, smoothing) in OVERLAPS.into_iter().zip([0.0, 0.0, 0.1, 0.3].into_iter().cycle()) {
        let (loss, scene) = (loss(overlap).with_label_smoothing(smoothing), scene(objects()));
        let (boxes, classes) = (narrow(&scene.boxes), narrow(&scene.classes));
        let (mut d_boxes, mut d_classes) = (vec![0.0; boxes.len()], vec![0.0; classes.len()]);
        let value = loss
            .value_and_gradient(&boxes, &classes, &scene.grid, &scene.targets, &mut d_boxes, &mut d_classes)
            .unwrap();
        assert!(value.positives > 10);
        let tensors = loss.forward(&scene.boxes, &scene.classes, &scene.grid, &scene.targets).unwrap();
        let parts = [&tensors.boxes, &tensors.class, &tensors.dfl, &tensors.total].map(scalar);
        let slices = [value.parts.boxes, value.parts.class, value.parts.dfl, value.total];
        for (slice, tensor) in slices.into_iter().zip(parts) {
            assert!((slice - tensor).abs() < 1e-6 * tensor, "{overlap:?}: {slice} {tensor}");
        }
        let gradients = tensors.total.backward().unwrap();
        let gradient = |var: &Var| values(gradients.get(var).unwrap());
        assert_equal(&format!("{overlap:?} boxes"), &d_boxes, &gradient(&scene.boxes), 1e-6);
        assert_equal(&format!("{overlap:?} classes"), &d_classes, &gradient(&scene.classes), 1e-6);
    }
}

#[test]
fn single_precision_tensors_agree_too() {
    let (loss, scene) = (loss(Overlap::Ciou), scene(objects()));
    let in_f32 = |var: &Var| var.to_dtype(DType::F32).unwrap();
    let double = loss.forward(&scene.boxes, &scene.classes, &scene.grid, &scene.targets).unwrap();
    let single =
        loss.forward(&in_f32(&scene.boxes), &in_f32(&scene.classes), &scene.grid, &scene.targets).unwrap();
    assert_eq!(single.total.dtype(), DType::F32);
    let (single, double) = (scalar(&single.total), scalar(&double.total));
    assert!((single - double).abs() < 1e-5 * double, "{single} {double}");
}

/// The total with one logit moved, the assignment held.
fn moved(loss: &DetectionLoss, scene: &Scene, held: &Assignments, boxes: bool, index: usize, by: f64) -> f64 {
    let shifted = |tensor: &Tensor| {
        let mut values = values(tensor);
        values[index] += by;
        Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap()
    };
    let (moved_boxes, moved_classes) = if boxes {
        (shifted(&scene.boxes), scene.classes.as_tensor().clone())
    } else {
        (scene.boxes.as_tensor().clone(), shifted(&scene.classes))
    };
    scalar(
        &loss
            .forward_assigned(&moved_boxes, &moved_classes, &scene.grid, &scene.targets, held)
            .unwrap()
            .total,
    )
}

#[test]
fn gradients_equal_finite_differences() {
    // CIoU is left to the test of pairs: its weight is a constant in the gradient, not in a difference.
    for overlap in [Overlap::Iou, Overlap::Giou, Overlap::Diou] {
        let (loss, scene) = (loss(overlap), scene(objects()));
        let held =
            loss.assign(&narrow(&scene.boxes), &narrow(&scene.classes), &scene.grid, &scene.targets).unwrap();
        let total = loss
            .forward_assigned(&scene.boxes, &scene.classes, &scene.grid, &scene.targets, &held)
            .unwrap()
            .total;
        let gradients = total.backward().unwrap();
        for (boxes, var) in [(true, &scene.boxes), (false, &scene.classes)] {
            let gradient = values(gradients.get(var).unwrap());
            let mut order: Vec<usize> = (0..gradient.len()).collect();
            order.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
            // The largest ones, and some from all over.
            let spread = (0..gradient.len()).step_by(gradient.len() / 25);
            for index in order[..60].iter().copied().chain(spread) {
                let step = 1e-5;
                let numeric = (moved(&loss, &scene, &held, boxes, index, step)
                    - moved(&loss, &scene, &held, boxes, index, -step))
                    / (2.0 * step);
                let difference = (gradient[index] - numeric).abs();
                let largest = gradient[order[0]].abs();
                assert!(
                    difference < 1e-7 * largest.max(1.0),
                    "{overlap:?}, {index}: {} {numeric}",
                    gradient[index]
                );
            }
        }
    }
}

#[test]
fn a_second_consumer_adds_its_gradient() {
    let (loss, scene) = (loss(Overlap::Ciou), scene(objects()));
    let total = loss.forward(&scene.boxes, &scene.classes, &scene.grid, &scene.targets).unwrap().total;
    let alone = total.backward().unwrap();
    let both = (&total + scene.boxes.sum_all().unwrap()).unwrap().backward().unwrap();
    let [alone, both] = [alone, both].map(|gradients| values(gradients.get(&scene.boxes).unwrap()));
    for (alone, both) in alone.into_iter().zip(both) {
        assert!((alone + 1.0 - both).abs() < 1e-12);
    }
}

#[test]
fn no_objects_leave_the_class_term() {
    let (loss, scene) = (loss(Overlap::Ciou), scene(vec![Vec::new(); 2]));
    let tensors = loss.forward(&scene.boxes, &scene.classes, &scene.grid, &scene.targets).unwrap();
    assert_eq!((scalar(&tensors.boxes), scalar(&tensors.dfl)), (0.0, 0.0));
    assert_eq!(scalar(&tensors.total), 2.0 * scalar(&tensors.class));
    let gradients = tensors.total.backward().unwrap();
    assert!(values(gradients.get(&scene.classes).unwrap()).iter().all(|&gradient| gradient > 0.0));
}

#[test]
fn large_logits_stay_finite() {
    let (loss, scene) = (loss(Overlap::Ciou), scene(objects()));
    let boxes = (scene.boxes.as_tensor() * 500.0).unwrap();
    let classes = (scene.classes.as_tensor() * 20.0).unwrap();
    let held = loss.assign(&narrow(&boxes), &narrow(&classes), &scene.grid, &scene.targets).unwrap();
    assert!(held.positives() > 0);
    let total = loss.forward(&boxes, &classes, &scene.grid, &scene.targets).unwrap().total;
    assert!(scalar(&total).is_finite());
    let gradients = total.backward().unwrap();
    for var in [&scene.boxes, &scene.classes] {
        assert!(values(gradients.get(var).unwrap()).iter().all(|gradient| gradient.is_finite()));
    }
}

#[test]
fn other_shapes_are_refused() {
    let (loss, scene) = (loss(Overlap::Ciou), scene(objects()));
    let error = loss.forward(&scene.classes, &scene.classes, &scene.grid, &scene.targets).unwrap_err();
    assert!(matches!(error, LossError::Shape { what: "boxes", .. }), "{error}");
    assert!(error.to_string().contains("[B, 126, 32]"), "{error}");
}
