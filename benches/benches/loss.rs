//! The detection loss of YOLOv8, batch 8 with 80 classes at 320 and 640 pixels: value and gradient on slices, the assigner in
//! it, and the same loss composed of candle's operations with its backward pass.
//!
//! The assignment is first checked against the definition, value and gradient against the composed loss in double precision.

use std::hint::black_box;

use benches::check::assert_close_to_max;
use benches::composed::values;
use benches::settings::brief;
use benches::values::uniform;
use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use yolo_loss::{
    AnchorGrid, Assignments, DetectionLoss, GroundTruth, Overlap, Rules, Size, Targets, Xyxy,
    expected_distances,
};

const BATCH: usize = 8;
const CLASSES: usize = 80;
const BINS: usize = 16;
/// Anchor points that an object claims.
const TOPK: usize = 10;

/// Logits of a network that has learned something, and what it should have found.
struct Scene {
    grid: AnchorGrid,
    targets: Targets,
    boxes: Vec<f32>,
    classes: Vec<f32>,
}

impl Scene {
    fn new(side: usize) -> Self {
        let grid = AnchorGrid::for_input(Size { height: side, width: side }, &[8, 16, 32]);
        let grid = grid.expect("strides divide the side");
        let targets = Targets::new((0..BATCH).map(|image| objects(side as f32, image)).collect());
        let mut random = uniform(5);
        let (mut boxes, mut classes) = (Vec::new(), Vec::new());
        for objects in targets.images() {
            for anchor in 0..grid.len() {
                let object = objects.iter().find(|object| is_inside(&grid, anchor, &object.xyxy));
                boxes.extend(box_logits(&grid, anchor, object, &mut random));
                let around = object.map(|object| object.class);
                classes.extend(
                    (0..CLASSES).map(|class| {
                        (if around == Some(class) { 0.0 } else { -4.0 }) + 2.0 * random() as f32
                    }),
                );
            }
        }
        Scene { grid, targets, boxes, classes }
    }
}

/// Twelve objects on a lattice that do not touch, so that no anchor point is contested.
fn objects(side: f32, image: usize) -> Vec<GroundTruth> {
    let (width, height) = (side / 4.0, side / 3.0);
    let object = |k: usize| {
        let (x, y) = ((k % 4) as f32 * width, (k / 4) as f32 * height);
        let shift = (image + k) as f32 % 5.0;
        let xyxy = Xyxy {
            x1: x + 3.0 + shift,
            y1: y + 2.0 + shift,
            x2: x + width - 9.0 + shift,
            y2: y + height - 30.0 + 3.0 * shift,
        };
        GroundTruth { class: (image * 12 + k) * 7 % CLASSES, xyxy }
    };
    (0..12).map(object).collect()
}

/// Distributions around the right distances, or anything where there is no object.
fn box_logits(
    grid: &AnchorGrid,
    anchor: usize,
    object: Option<&GroundTruth>,
    random: &mut impl FnMut() -> f64,
) -> Vec<f32> {
    let stride = grid.strides()[anchor];
    let [x, y] = grid.centre_px(anchor);
    let distances = object.map_or([2.0; 4], |GroundTruth { xyxy, .. }| {
        [x - xyxy.x1, y - xyxy.y1, xyxy.x2 - x, xyxy.y2 - y].map(|distance| distance / stride)
    });
    let bins = |distance: f32| (0..BINS).map(move |bin| -0.5 * (bin as f32 - distance).powi(2));
    distances.into_iter().flat_map(bins).map(|logit| logit + 1.5 * random() as f32).collect()
}

fn is_inside(grid: &AnchorGrid, anchor: usize, xyxy: &Xyxy) -> bool {
    let [x, y] = grid.centre_px(anchor);
    x > xyxy.x1 && x < xyxy.x2 && y > xyxy.y1 && y < xyxy.y2
}

/// `score^0.5 * CIoU^6` (TOOD, arXiv 2108.07755, section 3.2, with YOLOv8's exponents).
fn metric(scene: &Scene, image: usize, anchor: usize, object: &GroundTruth) -> f64 {
    let row = image * scene.grid.len() + anchor;
    let [left, top, right, bottom] =
        expected_distances(&scene.boxes[row * 4 * BINS..][..4 * BINS]).map(f64::from);
    let stride = f64::from(scene.grid.strides()[anchor]);
    let [x, y] = scene.grid.centre_px(anchor).map(f64::from);
    let predicted = [x - left * stride, y - top * stride, x + right * stride, y + bottom * stride];
    let overlap = Overlap::Ciou.value(&object.xyxy.to_array().map(f64::from), &predicted).max(0.0);
    let logit = f64::from(scene.classes[row * CLASSES + object.class]);
    (1.0 / (1.0 + (-logit).exp())).sqrt() * overlap.powi(6)
}

/// Every object has the ten anchor points inside it of the highest metric.
fn check_assignment(scene: &Scene, assignments: &Assignments) {
    for (image, (objects, matches)) in scene.targets.images().iter().zip(&assignments.images).enumerate() {
        for (index, object) in objects.iter().enumerate() {
            let mut inside: Vec<(f64, usize)> = (0..scene.grid.len())
                .filter(|&anchor| is_inside(&scene.grid, anchor, &object.xyxy))
                .map(|anchor| (metric(scene, image, anchor, object), anchor))
                .collect();
            inside.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut expected: Vec<usize> = inside.iter().take(TOPK).map(|(_, anchor)| *anchor).collect();
            expected.sort_unstable();
            let got: Vec<usize> =
                matches.iter().filter(|it| it.object == index).map(|it| it.anchor).collect();
            assert_eq!(got, expected, "image {image}, object {index}");
        }
    }
}

/// The composed loss of these logits and the gradient of both.
fn composed(loss: &DetectionLoss, scene: &Scene, dtype: DType) -> (f64, [Tensor; 2]) {
    let var = |values: &[f32], width: usize| {
        let tensor = Tensor::from_slice(values, (BATCH, scene.grid.len(), width), &Device::Cpu);
        tensor.and_then(|tensor| Var::from_tensor(&tensor.to_dtype(dtype)?)).expect("the sizes match")
    };
    let (boxes, classes) = (var(&scene.boxes, 4 * BINS), var(&scene.classes, CLASSES));
    let total = loss.forward(&boxes, &classes, &scene.grid, &scene.targets).expect("candle runs").total;
    let grads = total.backward().expect("candle runs");
    let grad = |var: &Var| grads.get(var.as_tensor()).expect("both matter").clone();
    let total = total.to_dtype(DType::F64).and_then(|total| total.to_scalar()).expect("a number");
    (total, [grad(&boxes), grad(&classes)])
}

fn detection_loss(c: &mut Criterion) {
    let loss = DetectionLoss::yolov8(CLASSES, Rules::Classic).expect("there are classes");
    let mut group = c.benchmark_group("loss");
    group.sample_size(10);
    for side in [320, 640] {
        let scene = Scene::new(side);
        let Scene { grid, targets, boxes, classes } = &scene;
        let name = format!("batch {BATCH}, {} anchor points, {CLASSES} classes", grid.len());
        let assign = || loss.assign(black_box(boxes), classes, grid, targets).expect("the sizes match");
        check_assignment(&scene, &assign());
        let (mut d_boxes, mut d_classes) = (vec![0.0; boxes.len()], vec![0.0; classes.len()]);
        let run = |d_boxes: &mut [f32], d_classes: &mut [f32]| {
            let value = loss.value_and_gradient(black_box(boxes), classes, grid, targets, d_boxes, d_classes);
            value.expect("the sizes match").total
        };
        let total = run(&mut d_boxes, &mut d_classes);
        let (expected, [by_boxes, by_classes]) = composed(&loss, &scene, DType::F64);
        assert!((total - expected).abs() <= 1e-5 * expected, "{name}: {total}, expected {expected}");
        assert_close_to_max(&format!("{name}, boxes"), &d_boxes, &values(&by_boxes), 1e-4);
        assert_close_to_max(&format!("{name}, classes"), &d_classes, &values(&by_classes), 1e-4);
        group.bench_function(BenchmarkId::new("value and gradient", &name), |b| {
            b.iter(|| run(&mut d_boxes, &mut d_classes));
        });
        group.bench_function(BenchmarkId::new("assigner", &name), |b| b.iter(assign));
        let (single, _) = composed(&loss, &scene, DType::F32);
        assert!((single - expected).abs() <= 1e-4 * expected, "{name}: {single}, expected {expected}");
        group.bench_function(BenchmarkId::new("composed on candle's tape", &name), |b| {
            b.iter(|| composed(&loss, &scene, DType::F32));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = detection_loss }
criterion_main!(benches);
