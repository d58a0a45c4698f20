//! Average precision of 500 images with 80 classes and a hundred detections each, by all rules: collecting, matching and
//! curves.
//!
//! First checked against the value that follows from how the detections were made.

use std::hint::black_box;

use benches::settings::brief;
use box_geometry::{Detection, Xyxy};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use detect_eval::{Evaluator, GroundTruth, Rule};

const IMAGES: usize = 500;
const CLASSES: usize = 80;
/// Objects of an image; 50 of every class in all.
const OBJECTS: usize = 8;
/// Detections of an image that are no objects.
const WRONG: usize = 96;

/// An image's labels and detections. Every second object of a class is found, by a box whose IoU is .73: enough for five of
/// the ten thresholds. All other detections have lower scores: second boxes on objects that were found, and boxes where
/// nothing is.
fn image(index: usize) -> (Vec<Detection>, Vec<GroundTruth>) {
    let xyxy = |x: f32, y: f32| Xyxy { x1: x, y1: y, x2: x + 48.0, y2: y + 48.0 };
    let (mut detections, mut ground_truths) = (Vec::new(), Vec::new());
    for k in 0..OBJECTS {
        let number = index * OBJECTS + k;
        let (class, x) = (number % CLASSES, 70.0 * k as f32);
        ground_truths.push(GroundTruth { xyxy: xyxy(x, 10.0), class, crowd: false });
        // 40.5 of 48 columns are common: 40.5 / (2 * 48 - 40.5) = .7297.
        let box_of = |score| Detection { xyxy: xyxy(x + 7.5, 10.0), score, class };
        if (number / CLASSES).is_multiple_of(2) {
            detections.push(box_of(0.9 - 1e-4 * index as f32));
            detections.push(box_of(0.3 - 1e-4 * index as f32));
        }
    }
    for k in 0..WRONG {
        let class = (index + k * 7) % CLASSES;
        let score = 0.2 - 1e-5 * (index + k) as f32;
        detections.push(Detection { xyxy: xyxy(6.0 * k as f32, 100.0 + k as f32), score, class });
    }
    (detections, ground_truths)
}

fn collect(images: &[(Vec<Detection>, Vec<GroundTruth>)]) -> Evaluator {
    let mut evaluator = Evaluator::new(CLASSES);
    for (id, (detections, ground_truths)) in images.iter().enumerate() {
        evaluator.update(id as u64, detections, ground_truths).expect("finite boxes of known classes");
    }
    evaluator
}

fn evaluation(c: &mut Criterion) {
    let images: Vec<_> = (0..IMAGES).map(image).collect();
    let evaluator = collect(&images);
    let mut group = c.benchmark_group("evaluation");
    group.sample_size(10);
    // Precision is 1 up to a recall of .5: 51 of COCO's 101 points. Of the other rules' curves, one falls to 0 there, and
    // one falls along a line from the last precision, 25 of all detections of a class, to 0 at a recall of 1.
    let detections: usize = images.iter().map(|(detections, _)| detections.len()).sum();
    let last = 25.0 / (detections as f64 / CLASSES as f64);
    let rules = [
        ("COCO", Rule::Coco, 51.0 / 101.0, 1e-9),
        ("Ultralytics, current", Rule::UltralyticsCurrent, 0.5, 0.01),
        ("Ultralytics, classic", Rule::UltralyticsClassic, 0.5 + 0.5 * last / 2.0, 0.01),
    ];
    for (name, rule, expected, tolerance) in rules {
        let metrics = evaluator.finish(rule);
        assert_eq!(metrics.classes.len(), CLASSES, "{name}");
        for (what, got, expected) in
            [("map50", metrics.map50, expected), ("map50_95", metrics.map50_95, expected / 2.0)]
        {
            assert!((got - expected).abs() <= tolerance, "{name}: {what} is {got}, expected {expected}");
        }
        group.bench_function(BenchmarkId::new("matching and curves", name), |b| {
            b.iter(|| black_box(&evaluator).finish(rule));
        });
    }
    group.bench_function("collecting", |b| b.iter(|| collect(black_box(&images))));
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = evaluation }
criterion_main!(benches);
