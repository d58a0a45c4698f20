//! Non-maximum suppression against reference values and a plain quadratic form.

use box_geometry::{CxCyWh, Detection, NmsOptions, nms, postprocess};
use proptest::prelude::*;
use serde_json::Value;
use test_support::{assert_close, entries};

fn options(case: &Value) -> NmsOptions {
    let number = |name: &str| case[name].as_f64().unwrap_or_else(|| panic!("`{name}` of {case}"));
    let flag = |name: &str| case[name].as_bool().unwrap_or_else(|| panic!("`{name}` of {case}"));
    let classes = |list: &Vec<Value>| list.iter().map(|class| class.as_u64().unwrap() as usize).collect();
    NmsOptions {
        confidence: number("conf") as f32,
        iou: number("iou") as f32,
        agnostic: flag("agnostic"),
        multi_label: flag("multi_label"),
        max_candidates: 30_000,
        max_detections: number("max_det") as usize,
        classes: case["classes"].as_array().map(classes),
    }
}

/// `[4 + K, A]` as rows `[A, 4 + K]`.
fn rows(image: &[f32], channels: usize) -> Vec<f32> {
    let anchors = image.len() / channels;
    (0..image.len()).map(|i| image[i % channels * anchors + i / channels]).collect()
}

#[test]
fn golden_rows() {
    for entry in entries("nms") {
        let tensors = entry.tensors();
        let (box_abs, score_abs) = (entry.tolerance(&["box_abs"]), entry.tolerance(&["score_abs"]));
        for (name, case) in entry.meta.as_object().expect("cases") {
            let dims = tensors.dims(&format!("{name}/pred"));
            let (channels, classes) = (dims[1], dims[1] - 4);
            let predictions = tensors.f32(&format!("{name}/pred"));
            for (index, image) in predictions.chunks_exact(channels * dims[2]).enumerate() {
                let predictions = rows(image, channels);
                let got = postprocess(&predictions, classes, &options(case)).unwrap();
                let kept = tensors.f32(&format!("{name}/kept{index}"));
                let anchors = tensors.integers(&format!("{name}/kept_anchor{index}"));
                assert_eq!(got.len(), anchors.len(), "{name}, image {index}");
                for (k, (got, want)) in got.iter().zip(kept.chunks_exact(6)).enumerate() {
                    let what = format!("{name}, image {index}, row {k}");
                    assert_close(&what, &got.xyxy.to_array(), &want[..4], box_abs);
                    assert_close(&what, &[got.score], &want[4..5], score_abs);
                    assert_eq!(got.class as f32, want[5], "{what}");
                    let row = &predictions[anchors[k] as usize * channels..][..channels];
                    assert_eq!(
                        got.xyxy,
                        CxCyWh::new(row[0], row[1], row[2], row[3]).to_xyxy(),
                        "{what}: anchor"
                    );
                }
            }
        }
    }
}

/// All candidates, sorted; each stays unless one that stayed overlaps it.
fn plain(candidates: &[Detection], options: &NmsOptions) -> Vec<Detection> {
    let wanted = |class: usize| options.classes.as_ref().is_none_or(|classes| classes.contains(&class));
    let mut sorted: Vec<&Detection> =
        candidates.iter().filter(|c| c.score > options.confidence && wanted(c.class)).collect();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    sorted.truncate(options.max_candidates);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in sorted {
        let rival = |k: &Detection| options.agnostic || k.class == candidate.class;
        if !kept.iter().any(|k| rival(k) && k.xyxy.iou(&candidate.xyxy) > options.iou) {
            kept.push(*candidate);
        }
    }
    kept.truncate(options.max_detections);
    kept
}

/// Every class of every row, or the best one.
fn plain_candidates(predictions: &[f32], classes: usize, multi_label: bool) -> Vec<Detection> {
    let mut candidates = Vec::new();
    for row in predictions.chunks_exact(4 + classes) {
        let xyxy = CxCyWh::new(row[0], row[1], row[2], row[3]).to_xyxy();
        let best = (0..classes).rev().max_by(|&a, &b| row[4 + a].total_cmp(&row[4 + b])).unwrap();
        let labels = if multi_label { 0..classes } else { best..best + 1 };
        candidates.extend(labels.map(|class| Detection { xyxy, score: row[4 + class], class }));
    }
    candidates
}

fn scenes() -> impl Strategy<Value = (Vec<f32>, usize)> {
    // Whole numbers make ties, in scores as well as in boxes.
    let row = |classes| {
        (prop::array::uniform4(0u8..12), prop::collection::vec(0u8..8, classes)).prop_map(|(b, scores)| {
            let bbox =
                [b[0] as f32 * 4.0, b[1] as f32 * 4.0, b[2] as f32 * 3.0 + 1.0, b[3] as f32 * 3.0 + 1.0];
            bbox.into_iter().chain(scores.into_iter().map(|score| score as f32 / 8.0)).collect::<Vec<f32>>()
        })
    };
    (1usize..5)
        .prop_flat_map(move |classes| (prop::collection::vec(row(classes), 0..60), Just(classes)))
        .prop_map(|(rows, classes)| (rows.concat(), classes))
}

fn any_options() -> impl Strategy<Value = NmsOptions> {
    let classes = prop::option::of(prop::collection::vec(0usize..5, 0..3));
    (any::<(bool, bool)>(), 0u8..8, 0.11f32..0.97, 0usize..80, 0usize..40, classes).prop_map(
        |((agnostic, multi_label), confidence, iou, max_candidates, max_detections, classes)| NmsOptions {
            confidence: confidence as f32 / 8.0,
            iou,
            agnostic,
            multi_label,
            max_candidates,
            max_detections,
            classes,
        },
    )
}

proptest! {
    #[test]
    fn equals_the_plain_form((predictions, classes) in scenes(), options in any_options()) {
        let candidates = plain_candidates(&predictions, classes, options.multi_label);
        let want = plain(&candidates, &options);
        prop_assert_eq!(&postprocess(&predictions, classes, &options).unwrap(), &want);
        prop_assert_eq!(&nms(&candidates, &options), &want);
    }

    #[test]
    fn kept_boxes_overlap_little((predictions, classes) in scenes(), options in any_options()) {
        let kept = postprocess(&predictions, classes, &options).unwrap();
        prop_assert!(kept.len() <= options.max_detections);
        prop_assert!(kept.is_sorted_by(|a, b| a.score >= b.score));
        for (i, a) in kept.iter().enumerate() {
            for b in kept[..i].iter().filter(|b| options.agnostic || b.class == a.class) {
                prop_assert!(a.xyxy.iou(&b.xyxy) <= options.iou + 1e-6);
            }
        }
    }
}

#[test]
fn scores_that_are_no_numbers_never_pass() {
    let predictions = [5.0, 5.0, 2.0, 2.0, f32::NAN, 9.0, 9.0, 2.0, 2.0, 0.5];
    let options = NmsOptions {
        confidence: 0.1,
        iou: 0.5,
        agnostic: false,
        multi_label: true,
        max_candidates: 10,
        max_detections: 10,
        classes: None,
    };
    assert_eq!(postprocess(&predictions, 1, &options).unwrap().len(), 1);
    assert!(postprocess(&predictions[1..], 1, &options).unwrap_err().to_string().contains("9 values"));
}
