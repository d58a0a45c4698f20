//! The binary from outside: a data set of generated images, training, validation, prediction.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = "
task: detect
backbone: {name: efficientnet-lite0, width: 0.5, depth: 0.5}
neck: {scale: n}
classes: 80
train: {epochs: 2, imgsz: 64, batch: 4, nbs: 4, optimizer: AdamW, lr0: 0.003, warmup_epochs: 0}
";

/// Images are wider than the network's input, so that pixels of one are not pixels of the other.
const SIZE: (u32, u32) = (160, 120);
const COLOURS: [[u8; 3]; 2] = [[220, 40, 40], [40, 60, 230]];

fn effyolo(folder: &Path, arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_effyolo");
    Command::new(binary).args(arguments).args(["--threads", "2"]).current_dir(folder).output().unwrap()
}

/// Standard output of a command that succeeds.
fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = effyolo(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "effyolo {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of JSON that `--json -` prints.
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let text = succeed(folder, &[arguments, &["--json", "-"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Left, top, width and height of the rectangle of a class in an image, in pixels.
fn rectangle(image: u32, class: u32) -> [u32; 4] {
    [5 + 80 * class + 3 * image, 10 + 7 * image, 40, 30 + image]
}

/// Images with a rectangle of each class on grey, their labels, a data file and a model file.
fn write_data(folder: &Path) {
    for (split, count) in [("train", 8), ("val", 4)] {
        fs::create_dir_all(folder.join("images").join(split)).unwrap();
        fs::create_dir_all(folder.join("labels").join(split)).unwrap();
        for image in 0..count {
            let (picture, labels) = picture(image);
            picture.save(folder.join(format!("images/{split}/{image}.png"))).unwrap();
            fs::write(folder.join(format!("labels/{split}/{image}.txt")), labels).unwrap();
        }
    }
    let data = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
    fs::write(folder.join("data.yaml"), data).unwrap();
    fs::write(folder.join("model.yaml"), MODEL).unwrap();
}

fn picture(image: u32) -> (image::RgbImage, String) {
    let mut picture = image::RgbImage::from_pixel(SIZE.0, SIZE.1, image::Rgb([110; 3]));
    let mut labels = String::new();
    for class in 0..2 {
        let [x, y, w, h] = rectangle(image, class);
        let pixels = (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y)));
        pixels.for_each(|(x, y)| picture.put_pixel(x, y, image::Rgb(COLOURS[class as usize])));
        let [x, y, w, h] = [x, y, w, h].map(f64::from);
        let (width, height) = (SIZE.0 as f64, SIZE.1 as f64);
        labels += &format!(
            "{class} {} {} {} {}\n",
            (x + w / 2.0) / width,
            (y + h / 2.0) / height,
            w / width,
            h / height
        );
    }
    (picture, labels)
}

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
    }
    assert!(json(folder, &["info"])["isa"].is_string());
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
