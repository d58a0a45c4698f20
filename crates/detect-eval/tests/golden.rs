//! Reference values of pycocotools and of both Ultralytics generations.

use box_geometry::{Detection, Xyxy};
use detect_eval::{ClassMetrics, Evaluator, GroundTruth, Metrics, Rule};
use serde_json::Value;
use test_support::Entry;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn xyxy(row: &[Value]) -> Xyxy {
    let at = |i: usize| number(&row[i]) as f32;
    Xyxy::new(at(2), at(3), at(4), at(5))
}

/// Rows `image, class, x1, y1, x2, y2, last` of one image.
fn rows<'a>(case: &'a Value, key: &str, image: u64) -> impl Iterator<Item = &'a [Value]> {
    let rows = case[key].as_array().unwrap_or_else(|| panic!("no list `{key}`"));
    rows.iter().map(|row| row.as_array().expect("a row").as_slice()).filter(move |row| row[0] == image)
}

fn evaluator(case: &Value) -> Evaluator {
    let mut evaluator = Evaluator::new(case["nc"].as_u64().unwrap() as usize);
    for image in (0..case["images"].as_u64().unwrap()).rev() {
        let class = |row: &[Value]| row[1].as_u64().unwrap() as usize;
        let detections: Vec<Detection> = rows(case, "detections", image)
            .map(|row| Detection { xyxy: xyxy(row), class: class(row), score: number(&row[6]) as f32 })
            .collect();
        let ground_truths: Vec<GroundTruth> = rows(case, "gts", image)
            .map(|row| GroundTruth { xyxy: xyxy(row), class: class(row), crowd: row[6] == 1 })
            .collect();
        evaluator.update(image, &detections, &ground_truths).unwrap();
    }
    evaluator
}

fn assert_near(entry: &Entry, what: &str, got: f64, want: &Value, tolerance: f64) {
    let want = number(want);
    assert!((got - want).abs() <= tolerance, "{}: {what} is {got}, expected {want}", entry.file);
}

/// COCO's summary by the names that pycocotools prints; -1 stands for a range without ground truths.
fn coco_value(metrics: &Metrics, name: &str) -> f64 {
    let coco = metrics.coco.expect("COCO's rule gives a summary");
    let some = |value: Option<f64>| value.unwrap_or(-1.0);
    let mean = |value: f64| if metrics.classes.is_empty() { -1.0 } else { value };
    match name {
        "AP" => mean(metrics.map50_95),
        "AP50" => mean(metrics.map50),
        "AP75" => mean(metrics.map75),
        "AP_small" => some(coco.ap_by_size[0]),
        "AP_medium" => some(coco.ap_by_size[1]),
        "AP_large" => some(coco.ap_by_size[2]),
        "AR1" => some(coco.ar_by_detections[0]),
        "AR10" => some(coco.ar_by_detections[1]),
        "AR100" => some(coco.ar_by_detections[2]),
        "AR_small" => some(coco.ar_by_size[0]),
        "AR_medium" => some(coco.ar_by_size[1]),
        "AR_large" => some(coco.ar_by_size[2]),
        other => panic!("unknown COCO result `{other}`"),
    }
}

fn coco_class_value(class: &ClassMetrics, name: &str) -> f64 {
    match name {
        "ap" => class.ap50_95(),
        "ap50" => class.ap50(),
        "ap75" => class.ap75(),
        "ar100" => class.average_recall,
        other => panic!("unknown COCO result of a class `{other}`"),
    }
}

#[test]
fn golden_coco() {
    for entry in test_support::entries("mean_average_precision") {
        let case = entry.json();
        let tolerance = entry.tolerance(&["coco_abs"]);
        let metrics = evaluator(&case).finish(Rule::Coco);
        for (name, want) in case["coco"].as_object().expect("`coco`") {
            assert_near(&entry, name, coco_value(&metrics, name), want, tolerance);
        }
        for (class, want) in case["coco_per_class"].as_object().expect("`coco_per_class`") {
            let id: usize = class.parse().unwrap();
            let found = metrics.classes.iter().find(|class| class.class == id);
            assert_eq!(found.is_some(), !want.is_null(), "{}: class {id}", entry.file);
            for (name, want) in want.as_object().into_iter().flatten() {
                assert_near(&entry, name, coco_class_value(found.unwrap(), name), want, tolerance);
            }
        }
    }
}

#[test]
fn golden_ultralytics() {
    let rules = [
        ("ultralytics_current", Rule::UltralyticsCurrent),
        ("ultralytics_classic", Rule::UltralyticsClassic),
    ];
    for entry in test_support::entries("mean_average_precision") {
        let case = entry.json();
        let evaluator = evaluator(&case);
        for (key, rule) in rules {
            // A case with crowds has COCO results only.
            if let Some(want) = case[key].as_object() {
                compare_ultralytics(&entry, &evaluator.finish(rule), want);
            }
        }
    }
}

fn compare_ultralytics(entry: &Entry, metrics: &Metrics, want: &serde_json::Map<String, Value>) {
    let tolerance = entry.tolerance(&["ultralytics_abs"]);
    let per_class = |key: &str, value: &dyn Fn(&ClassMetrics) -> f64| {
        let list = want[key].as_array().expect("a value a class");
        assert_eq!(list.len(), metrics.classes.len(), "{}: {key}", entry.file);
        for (class, want) in metrics.classes.iter().zip(list) {
            assert_near(entry, &format!("{key} of class {}", class.class), value(class), want, tolerance);
        }
    };
    for (key, value) in want {
        match key.as_str() {
            "map50" => assert_near(entry, key, metrics.map50, value, tolerance),
            "map50_95" => assert_near(entry, key, metrics.map50_95, value, tolerance),
            "classes" => per_class(key, &|class| class.class as f64),
            "precision" => per_class(key, &|class| class.precision),
            "recall" => per_class(key, &|class| class.recall),
            "f1" => per_class(key, &|class| class.f1),
            "ap" => {
                for (class, want) in metrics.classes.iter().zip(value.as_array().unwrap()) {
                    for (got, want) in class.average_precision.iter().zip(want.as_array().unwrap()) {
                        assert_near(entry, "ap", *got, want, tolerance);
                    }
                }
                assert_eq!(value.as_array().unwrap().len(), metrics.classes.len(), "{}: ap", entry.file);
            }
            other => panic!("unknown Ultralytics result `{other}`"),
        }
    }
}

#[test]
fn golden_independent_101_points() {
    for entry in test_support::entries("mean_average_precision") {
        let case = entry.json();
        let want = &case["independent_101_point"];
        if want.is_null() {
            continue; // Only cases without crowds have it.
        }
        let metrics = evaluator(&case).finish(Rule::Coco);
        let tolerance = entry.tolerance(&["coco_abs"]);
        assert_near(&entry, "AP", metrics.map50_95, &want["AP"], tolerance);
        assert_near(&entry, "AP50", metrics.map50, &want["AP50"], tolerance);
    }
}
