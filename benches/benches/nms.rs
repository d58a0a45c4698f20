//! Non-maximum suppression of the 8400 predictions at 640 pixels, with few, many and very many boxes that pass.
//!
//! Each case first checks its answer against a plain quadratic suppression.

use std::hint::black_box;

use benches::settings::brief;
use benches::values::uniform;
use box_geometry::{CxCyWh, Detection, NmsOptions, Xyxy, postprocess};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const ANCHORS: usize = 8400;
const CLASSES: usize = 80;

/// Rows `cx, cy, w, h, scores`: `positives` anchor points crowd around objects with high scores, the others say little.
fn predictions(objects: usize, positives: usize) -> Vec<f32> {
    let mut random = uniform(7);
    let mut between = |low: f64, high: f64| low + (high - low) * random();
    let centres: Vec<[f64; 4]> = (0..objects)
        .map(|_| [between(50.0, 590.0), between(50.0, 590.0), between(20.0, 160.0), between(20.0, 160.0)])
        .collect();
    let mut rows = Vec::with_capacity(ANCHORS * (4 + CLASSES));
    for anchor in 0..ANCHORS {
        let object = anchor % objects;
        let [x, y, w, h] = centres[object];
        let [x, y] = [x + between(-6.0, 6.0), y + between(-6.0, 6.0)];
        let [w, h] = [w * between(0.8, 1.2), h * between(0.8, 1.2)];
        rows.extend([x, y, w, h].map(|value| value as f32));
        let best = if anchor < positives { between(0.3, 0.95) } else { between(0.0, 0.2) };
        let scores = (0..CLASSES).map(|class| {
            let is_best = class == object * 7 % CLASSES;
            (if is_best { best } else { between(0.0, 0.004) }) as f32
        });
        rows.extend(scores);
    }
    rows
}

fn area(b: &Xyxy) -> f64 {
    f64::from(b.x2 - b.x1) * f64::from(b.y2 - b.y1)
}

fn iou(a: &Xyxy, b: &Xyxy) -> f64 {
    let width = f64::from(a.x2.min(b.x2)) - f64::from(a.x1.max(b.x1));
    let height = f64::from(a.y2.min(b.y2)) - f64::from(a.y1.max(b.y1));
    let intersection = width.max(0.0) * height.max(0.0);
    intersection / (area(a) + area(b) - intersection)
}

/// What is left, by the definition: every candidate in falling score stays unless one of its class that stayed overlaps it
/// too much.
fn plain(predictions: &[f32], options: &NmsOptions) -> Vec<Detection> {
    let mut candidates = Vec::new();
    for row in predictions.chunks_exact(4 + CLASSES) {
        let xyxy = CxCyWh::new(row[0], row[1], row[2], row[3]).to_xyxy();
        let mut own: Vec<Detection> =
            (0..CLASSES).map(|class| Detection { xyxy, score: row[4 + class], class }).collect();
        if !options.multi_label {
            own.sort_by(|a, b| b.score.total_cmp(&a.score));
            own.truncate(1);
        }
        candidates.extend(own.into_iter().filter(|detection| detection.score > options.confidence));
    }
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(options.max_candidates);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        let rival = |other: &Detection| {
            other.class == candidate.class && iou(&other.xyxy, &candidate.xyxy) > f64::from(options.iou)
        };
        if kept.len() < options.max_detections && !kept.iter().any(rival) {
            kept.push(candidate);
        }
    }
    kept
}

fn suppression(c: &mut Criterion) {
    let options = |confidence, multi_label| NmsOptions {
        confidence,
        iou: 0.7,
        agnostic: false,
        multi_label,
        max_candidates: 30_000,
        max_detections: 300,
        classes: None,
    };
    let cases = [
        ("5 objects, 50 pass", 5, 50, options(0.25, false)),
        ("50 objects, 1000 pass", 50, 1000, options(0.25, false)),
        ("200 objects, all pass", 200, ANCHORS, options(0.25, false)),
        ("validation, a crowd of labels", 100, 1000, options(0.001, true)),
    ];
    let mut group = c.benchmark_group("nms");
    for (name, objects, positives, options) in cases {
        let predictions = predictions(objects, positives);
        let run = || postprocess(black_box(&predictions), CLASSES, &options).expect("whole rows");
        let found = run();
        assert!(found.len() >= objects, "{name}: {} detections of {objects} objects", found.len());
        assert_eq!(found, plain(&predictions, &options), "{name}");
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(run));
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = suppression }
criterion_main!(benches);
