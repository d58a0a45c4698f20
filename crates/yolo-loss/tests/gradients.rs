//! Gradients by finite differences, empty batches, determinism, errors.

use box_geometry::{AnchorGrid, Size, Xyxy};
use proptest::prelude::*;
use std::f64::consts::PI;
use yolo_loss::{DetectionLoss, Gains, GroundTruth, LossValue, Overlap, Rules, Targets, TaskAligned};

const GAINS: Gains = Gains { boxes: 7.5, class: 0.5, dfl: 1.5 };

fn loss(classes: usize, bins: usize) -> DetectionLoss {
    let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules: Rules::Classic };
    DetectionLoss::new(classes, bins, GAINS, assigner, Overlap::Ciou).unwrap()
}

/// CIoU whose weight alpha is held.
fn ciou_with_alpha(first: &[f64; 4], second: &[f64; 4], alpha: f64) -> f64 {
    Overlap::Diou.value(first, second) - alpha * aspect_difference(first, second)
}

fn aspect_difference(first: &[f64; 4], second: &[f64; 4]) -> f64 {
    let angle = |b: &[f64; 4]| ((b[2] - b[0]) / (b[3] - b[1] + 1e-7)).atan();
    4.0 / (PI * PI) * (angle(second) - angle(first)).powi(2)
}

/// Box pairs whose edges are well apart: no kink between the points of a difference.
fn pairs() -> impl Strategy<Value = [[f64; 4]; 2]> {
    let bbox = || {
        (0.0f64..40.0, 0.0f64..40.0, 1.0f64..40.0, 1.0f64..40.0).prop_map(|(x, y, w, h)| [x, y, x + w, y + h])
    };
    (bbox(), bbox())
        .prop_map(|(a, b)| [a, b])
        .prop_filter("an edge of one on an edge of the other", |[a, b]| {
            (0..4).all(|i| (0..4).all(|j| (a[i] - b[j]).abs() > 1e-3))
        })
}

proptest! {
    #[test]
    fn overlap_gradients_equal_finite_differences([first, second] in pairs()) {
        for overlap in [Overlap::Iou, Overlap::Giou, Overlap::Diou, Overlap::Ciou] {
            let got = overlap.with_gradient(&first, &second);
            let v = aspect_difference(&first, &second);
            let alpha = v / (v - Overlap::Iou.value(&first, &second) + 1.0 + 1e-7);
            let value = |boxes: &[[f64; 4]; 2]| match overlap {
                Overlap::Ciou => ciou_with_alpha(&boxes[0], &boxes[1], alpha),
                _ => overlap.value(&boxes[0], &boxes[1]),
            };
            for (side, gradient) in [got.first, got.second].into_iter().enumerate() {
                for edge in 0..4 {
                    let step = 1e-5;
                    let moved = |by: f64| {
                        let mut boxes = [first, second];
                        boxes[side][edge] += by;
                        value(&boxes)
                    };
                    let numeric = (moved(step) - moved(-step)) / (2.0 * step);
                    let difference = (gradient[edge] - numeric).abs();
                    prop_assert!(difference < 1e-7, "{overlap:?}, box {side}, edge {edge}: {} {numeric}", gradient[edge]);
                }
            }
        }
    }

    #[test]
    fn overlaps_are_ordered([first, second] in pairs()) {
        // The epsilons in the denominators may turn the order where boxes nest.
        let value = |overlap: Overlap| overlap.value(&first, &second);
        prop_assert!(value(Overlap::Giou) <= value(Overlap::Iou) + 1e-6);
        prop_assert!(value(Overlap::Diou) <= value(Overlap::Iou));
        prop_assert!(value(Overlap::Ciou) <= value(Overlap::Diou));
    }
}

/// Logits that differ from place to place.
fn logits(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: usize| {
        let bits = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519);
        ((bits >> 8) as f32 / (1 << 24) as f32 - 0.5) * 4.0
    };
    (0..len).map(value).collect()
}

struct Scene {
    grid: AnchorGrid,
    boxes: Vec<f32>,
    classes: Vec<f32>,
}

fn scene(images: usize, classes: usize, bins: usize) -> Scene {
    let grid = AnchorGrid::for_input(Size { height: 96, width: 64 }, &[8, 16, 32]).unwrap();
    let boxes = logits(images * grid.len() * 4 * bins, 1);
    let classes = logits(images * grid.len() * classes, 2);
    Scene { grid, boxes, classes }
}

fn run(loss: &DetectionLoss, scene: &Scene, targets: &Targets) -> (LossValue, Vec<f32>, Vec<f32>) {
    let (mut d_boxes, mut d_classes) =
        (vec![f32::NAN; scene.boxes.len()], vec![f32::NAN; scene.classes.len()]);
    let value = loss
        .value_and_gradient(&scene.boxes, &scene.classes, &scene.grid, targets, &mut d_boxes, &mut d_classes)
        .unwrap();
    (value, d_boxes, d_classes)
}

fn object(class: usize, x1: f32, y1: f32, x2: f32, y2: f32) -> GroundTruth {
    GroundTruth { class, xyxy: Xyxy::new(x1, y1, x2, y2) }
}

#[test]
fn a_batch_without_objects_trains_the_classes_alone() {
    let (loss, scene) = (loss(3, 16), scene(2, 3, 16));
    let (value, d_boxes, d_classes) = run(&loss, &scene, &Targets::new(vec![Vec::new(); 2]));
    assert_eq!((value.parts.boxes, value.parts.dfl, value.positives), (0.0, 0.0, 0));
    assert!(value.parts.class > 0.0);
    assert_eq!(value.total, value.parts.class * 2.0);
    assert!(d_boxes.iter().all(|&gradient| gradient == 0.0));
    assert!(d_classes.iter().all(|&gradient| gradient > 0.0));
}

#[test]
fn an_image_without_objects_is_a_negative() {
    let (loss, scene) = (loss(3, 8), scene(2, 3, 8));
    let targets = Targets::new(vec![Vec::new(), vec![object(1, 5.0, 6.0, 50.0, 80.0)]]);
    let (value, d_boxes, d_classes) = run(&loss, &scene, &targets);
    assert!(value.positives > 0 && value.parts.boxes > 0.0 && value.parts.dfl > 0.0);
    let (empty, full) = d_boxes.split_at(d_boxes.len() / 2);
    assert!(empty.iter().all(|&gradient| gradient == 0.0));
    assert!(full.iter().any(|&gradient| gradient != 0.0));
    assert!(d_classes[..d_classes.len() / 2].iter().all(|&gradient| gradient > 0.0));
}

#[test]
fn an_empty_batch_costs_nothing() {
    let (loss, scene) = (loss(3, 8), scene(0, 3, 8));
    let (value, ..) = run(&loss, &scene, &Targets::new(Vec::new()));
    assert_eq!(value.total, 0.0);
}

#[test]
fn degenerate_objects_do_no_harm() {
    let (loss, scene) = (loss(2, 16), scene(1, 2, 16));
    let objects = vec![
        object(0, 20.0, 20.0, 20.0, 20.0),
        object(1, 40.0, 30.0, 10.0, 10.0),
        object(1, -50.0, -50.0, 500.0, 500.0),
        object(0, 4.0, 4.0, 4.001, 90.0),
        object(0, 900.0, 900.0, 950.0, 950.0),
    ];
    let (value, d_boxes, d_classes) = run(&loss, &scene, &Targets::new(vec![objects]));
    assert!(value.total.is_finite());
    assert!(d_boxes.iter().chain(&d_classes).all(|gradient| gradient.is_finite()));
}

#[test]
fn logits_that_are_no_numbers_stay_visible() {
    let (loss, mut scene) = (loss(2, 16), scene(1, 2, 16));
    scene.boxes.fill(f32::NAN);
    scene.classes[7] = f32::NAN;
    let (value, _, d_classes) =
        run(&loss, &scene, &Targets::new(vec![vec![object(1, 5.0, 6.0, 50.0, 80.0)]]));
    assert!(value.total.is_nan());
    assert!(d_classes[7].is_nan() && d_classes[6].is_finite());
}

#[test]
fn threads_do_not_change_the_bits() {
    let (loss, scene) = (loss(4, 16), scene(5, 4, 16));
    let objects = |image: usize| {
        let shift = image as f32 * 3.0;
        vec![
            object(image % 4, shift, 2.0, 30.0 + shift, 60.0),
            object(1, 10.0, 20.0 + shift, 60.0, 70.0 + shift),
        ]
    };
    let targets = Targets::new((0..5).map(objects).collect());
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&loss, &scene, &targets))
    };
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn a_small_step_against_the_gradient_lowers_the_loss() {
    let (loss, mut scene) = (loss(3, 16), scene(2, 3, 16));
    let targets = Targets::new(vec![
        vec![object(1, 5.0, 6.0, 50.0, 80.0)],
        vec![object(0, 10.0, 10.0, 40.0, 30.0), object(2, 20.0, 20.0, 60.0, 60.0)],
    ]);
    let (before, d_boxes, d_classes) = run(&loss, &scene, &targets);
    let step = |values: &mut [f32], gradient: &[f32]| {
        values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 1e-4 * gradient);
    };
    step(&mut scene.boxes, &d_boxes);
    step(&mut scene.classes, &d_classes);
    let (after, ..) = run(&loss, &scene, &targets);
    assert!(after.total < before.total, "{} {}", after.total, before.total);
}

#[test]
fn wrong_inputs_are_named() {
    let (loss, scene) = (loss(3, 16), scene(1, 3, 16));
    let assign = |targets: Vec<Vec<GroundTruth>>| {
        loss.assign(&scene.boxes, &scene.classes, &scene.grid, &Targets::new(targets))
            .unwrap_err()
            .to_string()
    };
    assert!(assign(vec![Vec::new(); 2]).contains("boxes: expected"));
    let error = assign(vec![vec![object(3, 0.0, 0.0, 9.0, 9.0)]]);
    assert!(error.contains("class 3") && error.contains("3 classes"), "{error}");
    let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules: Rules::Classic };
    let error = DetectionLoss::new(3, 1, GAINS, assigner, Overlap::Ciou).unwrap_err().to_string();
    assert!(error.contains("at least 2"), "{error}");
}
