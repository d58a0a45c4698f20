//! Properties of average precision on random detections, and equality with a plainly written reference.

mod reference;

use box_geometry::{Detection, Xyxy};
use detect_eval::{EvalError, Evaluator, GroundTruth, Metrics, Rule};
use proptest::prelude::*;

const RULES: [Rule; 3] = [Rule::Coco, Rule::UltralyticsCurrent, Rule::UltralyticsClassic];
const CLASSES: usize = 3;

/// Detections and ground truths of one image.
type Image = (Vec<Detection>, Vec<GroundTruth>);

fn boxes() -> impl Strategy<Value = Xyxy> {
    // A small grid, so that boxes overlap often and equal IoUs occur.
    (0u8..12, 0u8..12, 1u8..12, 1u8..12).prop_map(|(x, y, w, h)| {
        let [x1, y1, w, h] = [x, y, w, h].map(|v| v as f32 * 12.0);
        Xyxy::new(x1, y1, x1 + w, y1 + h)
    })
}

fn detections() -> impl Strategy<Value = Vec<Detection>> {
    let detection = (boxes(), 0.01f32..0.99, 0..CLASSES);
    prop::collection::vec(detection.prop_map(|(xyxy, score, class)| Detection { xyxy, score, class }), 0..12)
}

fn ground_truths(crowds: bool) -> impl Strategy<Value = Vec<GroundTruth>> {
    let truth = (boxes(), 0..CLASSES, prop::bool::weighted(if crowds { 0.2 } else { 0.0 }));
    prop::collection::vec(truth.prop_map(|(xyxy, class, crowd)| GroundTruth { xyxy, class, crowd }), 0..8)
}

fn images(crowds: bool) -> impl Strategy<Value = Vec<Image>> {
    prop::collection::vec((detections(), ground_truths(crowds)), 1..5)
}

fn evaluate(images: &[Image], order: impl Iterator<Item = usize>) -> Evaluator {
    let mut evaluator = Evaluator::new(CLASSES);
    for i in order {
        evaluator.update(i as u64, &images[i].0, &images[i].1).unwrap();
    }
    evaluator
}

fn metrics(images: &[Image], rule: Rule) -> Metrics {
    evaluate(images, 0..images.len()).finish(rule)
}

proptest! {
    #[test]
    fn every_value_lies_between_0_and_1(images in images(true)) {
        for rule in RULES {
            let metrics = metrics(&images, rule);
            let means = [metrics.map50, metrics.map75, metrics.map50_95, metrics.precision, metrics.recall, metrics.f1];
            let per_class = metrics.classes.iter().flat_map(|class| {
                class.average_precision.into_iter().chain([class.average_recall, class.precision, class.recall, class.f1])
            });
            let coco = metrics.coco.into_iter().flat_map(|coco| {
                [coco.ap_by_size, coco.ar_by_size, coco.ar_by_detections].into_iter().flatten().flatten()
            });
            for value in means.into_iter().chain(per_class).chain(coco) {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{rule:?}: {value}");
            }
        }
    }

    #[test]
    fn perfect_detections_reach_the_top(images in images(false)) {
        let perfect: Vec<Image> = images.into_iter().map(|(_, truths)| {
            let found = truths.iter().enumerate();
            let detections = found.map(|(i, t)| Detection { xyxy: t.xyxy, class: t.class, score: 0.9 - i as f32 * 0.01 });
            (detections.collect(), truths)
        }).collect();
        // The classic rule lets two labels of one place and class claim the same detection.
        let has_twins = perfect.iter().any(|(_, truths)| {
            truths.iter().enumerate().any(|(i, a)| truths[..i].iter().any(|b| a == b))
        });
        for (rule, top) in RULES.into_iter().zip([1.0, 0.995, 0.995]) {
            let metrics = metrics(&perfect, rule);
            if has_twins && rule == Rule::UltralyticsClassic || metrics.classes.is_empty() {
                continue;
            }
            prop_assert!((metrics.map50_95 - top).abs() < 1e-12, "{rule:?}: {}", metrics.map50_95);
        }
    }

    #[test]
    fn a_false_positive_of_lowest_score_never_raises_ap(images in images(true), class in 0..CLASSES, at in 0usize..4) {
        let mut more = images.clone();
        let at = at % images.len();
        // Far from every ground truth.
        let xyxy = Xyxy::new(5000.0, 5000.0, 5040.0, 5040.0);
        more[at].0.push(Detection { xyxy, score: 0.001, class });
        for rule in RULES {
            let (before, after) = (metrics(&images, rule), metrics(&more, rule));
            for (before, after) in before.classes.iter().zip(&after.classes) {
                for (before, after) in before.average_precision.iter().zip(&after.average_precision) {
                    prop_assert!(*after <= *before + 1e-12, "{rule:?}: {before} -> {after}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_updates_does_not_matter(images in images(true)) {
        for rule in RULES {
            let forward = evaluate(&images, 0..images.len()).finish(rule);
            let backward = evaluate(&images, (0..images.len()).rev()).finish(rule);
            prop_assert_eq!(forward, backward);
        }
    }

    #[test]
    fn equal_to_the_plain_reference(images in images(true)) {
        for rule in RULES {
            let metrics = metrics(&images, rule);
            let want = reference::average_precision(&images, CLASSES, rule);
            prop_assert_eq!(metrics.classes.len(), want.len());
            for (got, (class, want)) in metrics.classes.iter().zip(&want) {
                prop_assert_eq!(got.class, *class);
                for (got, want) in got.average_precision.iter().zip(want) {
                    prop_assert!((got - want).abs() < 1e-9, "{rule:?} class {class}: {got}, expected {want}");
                }
            }
        }
    }
}

fn detection(class: usize, score: f32) -> Detection {
    Detection { xyxy: Xyxy::new(0.0, 0.0, 10.0, 10.0), score, class }
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let mut evaluator = Evaluator::new(2);
    evaluator.update(3, &[detection(0, 0.5)], &[]).unwrap();
    assert_eq!(evaluator.update(3, &[], &[]), Err(EvalError::DuplicateImage { image: 3 }));
    let error = evaluator.update(4, &[detection(0, 0.5), detection(2, 0.5)], &[]).unwrap_err();
    assert_eq!(error.to_string(), "image 4: detection 1 has class 2, but there are only 2 classes (0 to 1)");
    let error = evaluator.update(4, &[detection(0, f32::NAN)], &[]).unwrap_err();
    assert_eq!(error, EvalError::NotFinite { image: 4, what: "detection", index: 0 });
    evaluator.update(4, &[], &[]).unwrap();
}

#[test]
fn nothing_to_find_gives_zeros() {
    for rule in RULES {
        let mut evaluator = Evaluator::new(2);
        evaluator.update(0, &[detection(1, 0.5)], &[]).unwrap();
        let metrics = evaluator.finish(rule);
        assert!(metrics.classes.is_empty());
        assert_eq!([metrics.map50, metrics.map50_95, metrics.precision, metrics.recall], [0.0; 4]);
    }
}

#[test]
fn a_class_with_labels_and_no_detection_counts_as_zero() {
    for rule in RULES {
        let mut evaluator = Evaluator::new(2);
        let xyxy = detection(0, 1.0).xyxy;
        let truths = [0, 1].map(|class| GroundTruth { xyxy, class, crowd: false });
        evaluator.update(0, &[detection(0, 0.5)], &truths).unwrap();
        let metrics = evaluator.finish(rule);
        assert_eq!(metrics.classes[1].average_precision, [0.0; 10]);
        assert_eq!(metrics.map50, metrics.classes[0].ap50() / 2.0);
    }
}
