//! Validation results, as JSON and as a table.

use detect_eval::Metrics;
use serde::Serialize;
use std::time::Duration;
use yolo_train::Validation;

/// What `val --json` writes.
#[derive(Serialize)]
pub(crate) struct ValidationReport {
    rule: &'static str,
    map50: f64,
    map50_95: f64,
    precision: f64,
    recall: f64,
    ultralytics: Means,
    ultralytics_classic: Means,
    images: usize,
    instances: usize,
    classes: Vec<ClassReport>,
    speed_ms: SpeedReport,
}

#[derive(Serialize)]
struct Means {
    map50: f64,
    map50_95: f64,
}

#[derive(Serialize)]
struct ClassReport {
    name: String,
    instances: usize,
    precision: f64,
    recall: f64,
    map50: f64,
    map50_95: f64,
}

#[derive(Serialize)]
struct SpeedReport {
    preprocess: f64,
    inference: f64,
    postprocess: f64,
}

impl ValidationReport {
    /// A report by COCO's rules, with Ultralytics' means beside them.
    pub(crate) fn new(validation: &Validation, names: &[String]) -> Self {
        let Validation { coco, speed, .. } = validation;
        let means = |metrics: &Metrics| Means { map50: metrics.map50, map50_95: metrics.map50_95 };
        let classes = coco.classes.iter().map(|class| ClassReport {
            name: names[class.class].clone(),
            instances: class.labels,
            precision: class.precision,
            recall: class.recall,
            map50: class.ap50(),
            map50_95: class.ap50_95(),
        });
        ValidationReport {
            rule: "coco",
            map50: coco.map50,
            map50_95: coco.map50_95,
            precision: coco.precision,
            recall: coco.recall,
            ultralytics: means(&validation.current),
            ultralytics_classic: means(&validation.classic),
            images: validation.images,
            instances: validation.instances,
            classes: classes.collect(),
            speed_ms: SpeedReport {
                preprocess: milliseconds(speed.preprocess),
                inference: milliseconds(speed.inference),
                postprocess: milliseconds(speed.postprocess),
            },
        }
    }
}

/// Prints the metrics of all classes by COCO's rules, and the means by each rule.
pub(crate) fn print_table(validation: &Validation, names: &[String]) {
    let Validation { coco, current, classic, speed, .. } = validation;
    let width =
        names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("ultralytics classic".len());
    println!(
        "{:width$} {:>8} {:>10} {:>10} {:>10} {:>10}",
        "", "objects", "precision", "recall", "mAP50", "mAP50-95"
    );
    let row = |name: &str, objects: usize, values: [f64; 4]| {
        let [precision, recall, map50, map50_95] = values;
        println!(
            "{name:width$} {objects:>8} {precision:>10.3} {recall:>10.3} {map50:>10.3} {map50_95:>10.3}"
        );
    };
    for class in &coco.classes {
        row(
            &names[class.class],
            class.labels,
            [class.precision, class.recall, class.ap50(), class.ap50_95()],
        );
    }
    for (rule, metrics) in [("all, coco", coco), ("ultralytics", current), ("ultralytics classic", classic)] {
        row(rule, validation.instances, [metrics.precision, metrics.recall, metrics.map50, metrics.map50_95]);
    }
    println!(
        "{} images; per image {:.1} ms preprocess, {:.1} ms inference, {:.1} ms postprocess",
        validation.images,
        milliseconds(speed.preprocess),
        milliseconds(speed.inference),
        milliseconds(speed.postprocess)
    );
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
