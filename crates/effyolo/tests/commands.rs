//! The binary from outside: a data set of generated images, training, validation, prediction.

mod support;

use serde_json::Value;
use std::fs;
use support::{SIZE, effyolo, json, succeed, write_classes, write_data};

#[test]
fn a_detector_is_trained_validated_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let train = ["train", "--model", "model.yaml", "--data", "data.yaml", "--set", "mosaic=0", "--seed", "1"];
    succeed(folder, &train);
    let run = folder.join("runs/exp");
    for file in
        ["args.yaml", "model.yaml", "results.csv", "weights/best.safetensors", "weights/last.safetensors"]
    {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(fs::read_dir(run.join("pictures")).unwrap().count() > 0);

    succeed(folder, &[&train[..], &["--epochs", "1"]].concat());
    assert_eq!(fs::read_to_string(folder.join("runs/exp2/results.csv")).unwrap().lines().count(), 2);
    assert!(succeed(folder, &["train", "--resume", "runs/exp2"]).contains("nothing left to do"));

    let weights = "runs/exp/weights/last.safetensors";
    let report = json(folder, &["val", "--weights", weights, "--data", "data.yaml"]);
    assert_eq!(
        (&report["rule"], &report["images"], &report["instances"]),
        (&"coco".into(), &4.into(), &8.into())
    );
    assert_eq!(report["classes"][1]["name"], "blue");
    for key in ["map50", "map50_95", "precision", "recall"] {
        assert!((0.0..=1.0).contains(&report[key].as_f64().unwrap()), "{key}");
    }
    assert!(report["ultralytics"]["map50_95"].is_f64() && report["speed_ms"]["inference"].is_f64());

    let source = "images/val/2.png";
    let predictions =
        json(folder, &["predict", source, "--weights", weights, "--conf", "0.000001", "--no-save"]);
    let image = &predictions[0];
    assert_eq!(
        (&image["image"], &image["width"], &image["height"]),
        (&source.into(), &SIZE.0.into(), &SIZE.1.into())
    );
    let found = image["detections"].as_array().unwrap();
    let edge = |detection: &Value, index: usize| detection["xyxy"][index].as_f64().unwrap();
    assert!(found.iter().any(|d| edge(d, 2) > 64.0), "boxes in pixels of the original image");
    assert!(
        found.iter().all(|d| edge(d, 0) >= 0.0 && edge(d, 2) <= SIZE.0.into() && edge(d, 3) <= SIZE.1.into())
    );
    assert!(found.iter().all(|d| d["name"] == ["red", "blue"][d["class"].as_u64().unwrap() as usize]));

    let matched = json(folder, &["predict", "images/val/[12].png", "--weights", weights, "--no-save"]);
    assert_eq!(matched.as_array().unwrap().len(), 2);
    let output = effyolo(folder, &["predict", "images/val/9*.png", "--weights", weights]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("9*.png"));
    succeed(folder, &["predict", "images/val", "--weights", weights, "--conf", "0.01", "--save", "pictures"]);
    assert_eq!(fs::read_dir(folder.join("pictures")).unwrap().count(), 4);
}

#[test]
fn networks_are_counted_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let summary = json(folder, &["summary", "--model", "model.yaml", "--imgsz", "64"]);
    let layers = summary["layers"].as_array().unwrap();
    for key in ["params", "macs"] {
        let sum: u64 = layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum();
        assert_eq!(summary[key].as_u64().unwrap(), sum, "{key}");
    }
    assert!(
        layers.iter().any(|layer| layer["kind"] == "Conv" && layer["shape"].as_array().unwrap().len() == 4)
    );
    assert!(succeed(folder, &["summary", "--model", "model.yaml"]).contains("GFLOPs"));
    for mode in [&[][..], &["--train"]] {
        let arguments = ["bench", "--model", "model.yaml", "--imgsz", "64", "--batch", "2", "--runs", "2"];
        let report = json(folder, &[&arguments, mode].concat());
        assert!(report["median_ms"].as_f64().unwrap() >= report["min_ms"].as_f64().unwrap());
        let arguments = ["profile", "--model", "model.yaml", "--imgsz", "64", "--batch", "2", "--runs", "2"];
        let profile = json(folder, &[&arguments, mode].concat());
        let sum = |table: &str| {
            profile[table].as_array().unwrap().iter().map(|row| row["ms"].as_f64().unwrap()).sum::<f64>()
        };
        let steps_ms = profile["steps_ms"].as_f64().unwrap();
        for table in ["steps", "kinds"] {
            assert!(
                (sum(table) - steps_ms).abs() <= 1e-6 * steps_ms,
                "{table}: {} of {steps_ms}",
                sum(table)
            );
        }
    }
    let info = json(folder, &["info"]);
    assert!(info["isa"].is_string() && info["avx512_bf16"].is_boolean());
    assert!(json(folder, &["info", "--peak"])["peak_gflops"]["all_threads"].as_f64().unwrap() > 0.0);
}

#[test]
fn inference_in_bf16_says_what_multiplies_and_is_not_for_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let info = json(folder, &["info"]);
    let (kernel, announced) = match info["avx512_bf16"].as_bool().unwrap() {
        true => ("avx512_bf16", "multiplied by avx512_bf16"),
        false => (info["isa"].as_str().unwrap(), "multiplied in f32"),
    };
    for command in ["bench", "profile"] {
        let arguments = [command, "--model", "model.yaml", "--imgsz", "64", "--runs", "1", "--dtype", "bf16"];
        let report = json(folder, &arguments);
        assert_eq!((&report["dtype"], &report["isa"]), (&"bf16".into(), &kernel.into()), "{command}");
        let output = effyolo(folder, &[&arguments[..], &["--train"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("--dtype bf16"), "{command}: {errors}");
    }

    succeed(folder, &["train", "--model", "model.yaml", "--data", "data.yaml", "--epochs", "1"]);
    let weights = "runs/exp/weights/last.safetensors";
    let scores = |dtype| -> Vec<f64> {
        let source = "images/val/2.png";
        let arguments =
            ["predict", source, "--weights", weights, "--conf", "0.000001", "--no-save", "--dtype", dtype];
        let found = json(folder, &arguments);
        found[0]["detections"].as_array().unwrap().iter().map(|d| d["score"].as_f64().unwrap()).collect()
    };
    let (singles, halves) = (scores("f32"), scores("bf16"));
    assert!(singles != halves && (singles[0] - halves[0]).abs() < 0.05, "{} and {}", singles[0], halves[0]);
    let output = effyolo(folder, &["val", "--weights", weights, "--data", "data.yaml", "--dtype", "bf16"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(announced), "{said}");
}

#[test]
fn errors_name_the_culprit_and_the_exit_status_tells() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    fs::write(folder.join("bad.safetensors"), "no weights").unwrap();
    let train = ["train", "--model", "model.yaml", "--data", "data.yaml"];
    let cases: [(&[&str], &str); 4] = [
        (&["summary", "--model", "absent.yaml"], "absent.yaml"),
        (&["predict", "images/val", "--weights", "bad.safetensors"], "bad.safetensors"),
        (&[&train[..], &["--set", "lr=1"]].concat(), "lr0"),
        (&[&train[..], &["--weights", "bad.safetensors"]].concat(), "bad.safetensors"),
    ];
    for (arguments, named) in cases {
        let output = effyolo(folder, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("error: "), "{arguments:?}: {errors}");
        assert!(errors.contains(named), "{arguments:?}: {errors}");
    }
    assert!(!folder.join("runs").exists(), "no folder for a run that could not begin");
}

#[test]
fn a_classifier_is_trained_validated_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_classes(folder);
    let train = ["train", "--task", "classify", "--model", "classes.yaml", "--data", ".", "--seed", "2"];
    let report = json(folder, &train);
    assert_eq!((&report["task"], &report["epochs"]), (&"classify".into(), &14.into()));
    assert!(report["top1"].as_f64().unwrap() >= 0.75 && report["top5"] == 1.0, "{report}");
    let weights = report["weights"].as_str().unwrap();
    let pictures = ["confusion.png", "worst.jpg"];
    for picture in pictures {
        image::open(folder.join("runs/exp/pictures").join(picture)).unwrap();
    }
    let validation = json(folder, &["val", "--weights", weights, "--data", ".", "--save", "drawn"]);
    for picture in pictures {
        image::open(folder.join("drawn").join(picture)).unwrap();
    }
    assert_eq!(validation["top1"], report["top1"]);
    let worst = &validation["worst"][0];
    assert!(worst["probability"].as_f64().unwrap() >= 0.5 && worst["predicted"].is_string(), "{worst}");
    assert_eq!((&validation["images"], &validation["classes"][0]), (&12.into(), &"blue".into()));
    let counted: u64 = validation["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(counted, 12);
    let predictions = json(folder, &["predict", "val/red", "--weights", weights]);
    let scores = predictions[0]["classes"].as_array().unwrap();
    let sum: f64 = scores.iter().map(|score| score["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6 && scores.len() == 2, "{scores:?}");
    assert!(succeed(folder, &["train", "--resume", "runs/exp"]).contains("nothing left to do"));

    let output = effyolo(folder, &["train", "--task", "detect", "--model", "classes.yaml", "--data", "."]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--task"));
    let output = effyolo(folder, &[&train[..], &["--set", "mosaic=1"]].concat());
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("mosaic"));
    fs::write(folder.join("recipe.yaml"), "{lr_steps: [0.9, 1], unfreeze_every: 1, layer_decay: 0.8}")
        .unwrap();
    let fine = ["--settings", "recipe.yaml", "--epochs", "2", "--set", "layer_decay=0.7", "--name", "fine"];
    json(folder, &[&train[..], &fine].concat());
    let resolved = fs::read_to_string(folder.join("runs/fine/model.yaml")).unwrap();
    assert!(resolved.contains("unfreeze_every: 1") && resolved.contains("layer_decay: 0.7"), "{resolved}");
    fs::write(folder.join("recipe.yaml"), "{layer_dcay: 0.8}").unwrap();
    let output = effyolo(folder, &[&train[..], &fine].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("recipe.yaml: `layer_dcay`"), "{errors}");
    let report =
        json(folder, &["bench", "--model", "classes.yaml", "--imgsz", "32", "--train", "--runs", "1"]);
    assert_eq!(report["train"], true);
}

#[test]
fn weights_of_one_task_start_the_other_with_their_conventions() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    write_classes(folder);
    let detector = fs::read_to_string(folder.join("model.yaml")).unwrap();
    fs::write(
        folder.join("same.yaml"),
        detector.replace("depth: 0.5}", "depth: 0.5, padding: same, normalize: lite}"),
    )
    .unwrap();
    let short = ["--epochs", "1", "--set", "mosaic=0"];
    succeed(folder, &[&["train", "--model", "same.yaml", "--data", "data.yaml"], &short[..]].concat());
    let weights = "runs/exp/weights/last.safetensors";
    let classify = |model| ["train", "--model", model, "--data", ".", "--epochs", "1", "--weights", weights];
    let output = effyolo(folder, &classify("classes.yaml"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("padding: same, normalize: lite"), "{said}");
    let resolved = fs::read_to_string(folder.join("runs/exp2/model.yaml")).unwrap();
    assert!(resolved.contains("padding: same") && resolved.contains("normalize: lite"), "{resolved}");

    let classifier = fs::read_to_string(folder.join("classes.yaml")).unwrap();
    let cases = [
        ("depth: 0.5,", "depth: 0.5, padding: symmetric,", "backbone.padding"),
        ("efficientnet-lite0", "efficientnet-b0", "got those of efficientnet-lite0 x 0.5 x 0.5"),
    ];
    for (from, to, words) in cases {
        fs::write(folder.join("other.yaml"), classifier.replace(from, to)).unwrap();
        let output = effyolo(folder, &classify("other.yaml"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
    assert!(!folder.join("runs/exp3").exists(), "no folder for a run that could not begin");
}
