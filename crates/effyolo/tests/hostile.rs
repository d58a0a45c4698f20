//! What strangers feed the binary: every case ends in bounded time, with the right exit status and a message that names
//! the culprit.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No command of these may take longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

const MODEL: &str = "
task: detect
backbone: {name: efficientnet-lite0, width: 0.5, depth: 0.3}
neck: {scale: n}
classes: 80
train: {epochs: 1, imgsz: 32, batch: 4, workers: 1, warmup_epochs: 0}
";
const DATA: &str = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
const TRAIN: [&str; 5] = ["train", "--model", "model.yaml", "--data", "data.yaml"];

/// Runs the binary and gives whether it succeeded, with all that it wrote.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_effyolo"))
        .args(arguments)
        .args(["--threads", "1"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || text_of(&mut stdout));
    let errors = std::thread::spawn(move || text_of(&mut stderr));
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > PATIENCE => {
                child.kill().unwrap();
                panic!("{arguments:?}: no end after {PATIENCE:?}");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let text = reader.join().unwrap() + &errors.join().unwrap();
    assert!(matches!(status.code(), Some(0..=2)), "{arguments:?}: {status}: {text}");
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (status.success(), text)
}

fn text_of(source: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn picture(folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(48, 40, image::Rgb([200, 60, 60])).save(path).unwrap();
}

/// A small data set in both layouts.
fn good_set() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (split, count) in [("train", 4), ("val", 2)] {
        for image in 0..count {
            picture(at, &format!("images/{split}/{image}.png"));
            write(at, &format!("labels/{split}/{image}.txt"), "0 .5 .5 .5 .5\n1 .3 .3 .2 .2\n");
        }
        let images: Vec<String> = (0..count)
            .map(|i| format!(r#"{{"id": {i}, "file_name": "{i}.png", "width": 48, "height": 40}}"#))
            .collect();
        let boxes: Vec<String> = (0..count)
            .map(|i| format!(r#"{{"id": {i}, "image_id": {i}, "category_id": 5, "bbox": [12, 10, 24, 20]}}"#))
            .collect();
        let categories = r#"[{"id": 5, "name": "red"}, {"id": 9, "name": "blue"}]"#;
        let text = format!(
            r#"{{"images": [{}], "annotations": [{}], "categories": {categories}}}"#,
            images.join(","),
            boxes.join(",")
        );
        write(at, &format!("annotations/instances_{split}.json"), text);
    }
    write(at, "data.yaml", DATA);
    write(at, "model.yaml", MODEL);
    folder
}

/// Weights that were trained once for all tests.
fn weights() -> &'static str {
    static RUN: OnceLock<(TempDir, String)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let folder = good_set();
        let (is_good, text) = run(folder.path(), &TRAIN);
        assert!(is_good, "{text}");
        let path = folder.path().join("runs/exp/weights/last.safetensors").display().to_string();
        (folder, path)
    });
    path
}

/// A set with `change` made to it; the command fails and says all `parts`.
fn fails(arguments: &[&str], change: impl Fn(&Path), parts: &[&str]) {
    let folder = good_set();
    change(folder.path());
    let (is_good, text) = run(folder.path(), arguments);
    assert!(!is_good, "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: {text}\n  should contain: {part}");
    }
    assert!(!folder.path().join("runs").exists(), "a folder for a run that could not begin");
}

#[test]
fn what_cannot_be_used_is_listed_and_training_goes_on() {
    let folder = good_set();
    let at = folder.path();
    write(at, "images/train/broken.jpg", "no image");
    write(at, "images/train/empty.png", "");
    write(at, "labels/train/0.txt", "0 .5 .5 .5 .5\n7 .5 .5 .5 .5\n0 nan .5 .5 .5\n");
    picture(at, "images/train/pixels.png");
    write(at, "labels/train/pixels.txt", "0 24 20 10 10\n");
    picture(at, "images/train/utf16.png");
    write(at, "labels/train/utf16.txt", b"\xff\xfe0\0 \0");
    picture(at, "images/train/-odd\tname.png");
    let (is_good, text) = run(at, &TRAIN);
    assert!(is_good, "{text}");
    for part in [
        "train: 5 images, 7 objects, 1 without labels, 4 images and 3 labels left out",
        "2 x image that cannot be decoded",
        "3 x wrong row",
        "images/train/broken.jpg: image left out",
        "labels/train/0.txt:2: row left out: column 1: expected a class id from 0 to 1",
        "labels/train/0.txt:3: row left out",
        "pixels.txt:1: row left out: column 2: expected a share of the image's side, 0 to 1, found 24; are these pixels?",
        "pixels.png: image left out: none of its 1 labels can be used",
        "found UTF-16",
    ] {
        assert!(text.contains(part), "{text}\n  should contain: {part}");
    }
}

#[test]
fn coco_files_are_trained_on_and_validated_like_folders() {
    let folder = good_set();
    let at = folder.path();
    fs::remove_dir_all(at.join("labels")).unwrap();
    let coco = "train: annotations/instances_train.json\nval: annotations/instances_val.json\n";
    write(at, "data.yaml", coco);
    let (is_good, text) = run(at, &TRAIN);
    assert!(is_good && text.contains("train: 4 images, 4 objects, 0 without"), "{text}");
    let json = ["val", "--weights", weights(), "--data", "annotations/instances_train.json"];
    let (is_good, text) = run(at, &json);
    assert!(is_good && text.contains("val: 2 images, 2 objects"), "{text}");
    let wrong = fs::read_to_string(at.join("annotations/instances_val.json")).unwrap();
    write(
        at,
        "annotations/instances_val.json",
        wrong.replacen(r#""category_id": 5"#, r#""category_id": 6"#, 1),
    );
    let (is_good, text) = run(at, &["val", "--weights", weights(), "--data", "data.yaml"]);
    assert!(is_good, "{text}");
    assert!(
        text.contains("instances_val.json: annotation 0: annotation left out: `category_id` 6"),
        "{text}"
    );
    write(at, "data.yaml", format!("{coco}names: [red, green]\n"));
    let (is_good, text) = run(at, &TRAIN);
    assert!(!is_good && text.contains(r#"expected the classes ["red", "green"]"#), "{text}");
}

#[test]
fn data_files_are_refused_with_file_key_and_advice() {
    let long = format!("train: t\nnames: [{}]\n", "a, ".repeat(400_000));
    let cases: [(&[u8], &[&str]); 11] = [
        (b"", &["data.yaml"]),
        (
            b"train: images/train\nval: images/val\nname: [a]\n",
            &["`names` is missing", "is `name` meant for it?"],
        ),
        (b"train: images/train\nval: images/val\nnames: 3\n", &["`names`", "got 3"]),
        (
            b"train: imags\nval: images/val\nnames: [a]\n",
            &["`train`: there is no /", "/imags; relative entries are relative to /"],
        ),
        (b"path: other\ntrain: t\nval: v\nnames: [a]\n", &["/other/t", "/other (`path`"]),
        (b"train: images/train\nnames: [red, blue]\n", &["`val` is missing"]),
        (
            b"train: !!python/object/apply:os.system ['touch runs']\nnames: [a]\n",
            &["line 1", "!!python", "nothing is executed"],
        ),
        (b"train: &a [*a]\nnames: [a]\n", &["data.yaml"]),
        (b"\xff\xfet\0", &["UTF-16"]),
        (b"train: caf\xe9\nnames: [a]\n", &["UTF-8"]),
        (long.as_bytes(), &["longer than the 1048576 bytes"]),
    ];
    for (bytes, parts) in cases {
        fails(&TRAIN, |folder| write(folder, "data.yaml", bytes), &[parts, &["error: "]].concat());
    }
    fails(
        &TRAIN,
        |folder| fs::remove_file(folder.join("data.yaml")).unwrap(),
        &["data.yaml", "No such file"],
    );
    let folder: fn(&Path) = |folder| {
        fs::remove_file(folder.join("data.yaml")).unwrap();
        fs::create_dir(folder.join("data.yaml")).unwrap();
    };
    fails(&TRAIN, folder, &["data.yaml: expected a file, found a folder"]);
}

#[test]
fn settings_are_refused_with_key_and_range() {
    for (setting, parts) in [
        ("epochs: 0", ["`train.epochs`", "from 1"]),
        ("batch: -1", ["`train.batch`", "got -1"]),
        ("lr0: .nan", ["`train.lr0`", ".nan"]),
        ("lr0: 0", ["`train.lr0`", "got 0"]),
        ("lr0: 1e300", ["`train.lr0`", "expected a number"]),
        ("momentum: .inf", ["`train.momentum`", "inf"]),
        ("imgsz: 99999999", ["`train.imgsz`", "16384"]),
        ("imgsz: big", ["`train.imgsz`", "\"big\""]),
        ("epoch: 3", ["`train.epoch`", "did you mean `epochs`?"]),
        ("<<: {epochs: 3}", ["<<", "merge keys are not read"]),
    ] {
        let (network, _) = MODEL.split_once("train:").unwrap();
        let model = format!("{network}train: {{{setting}}}\n");
        fails(&TRAIN, |folder| write(folder, "model.yaml", &model), &parts);
    }
    fails(&[&TRAIN[..], &["--set", "lr0=nan"]].concat(), |_| {}, &["`lr0`", "expected a number"]);
    fails(&[&TRAIN[..], &["--batch", "0"]].concat(), |_| {}, &["batch", "from 1"]);
    let folder = good_set();
    let (is_good, text) = run(folder.path(), &[&TRAIN[..], &["--imgsz", "33"]].concat());
    assert!(is_good && text.contains("imgsz 33 is no multiple of the stride 32: rounded up to 64"), "{text}");
}

#[test]
fn nothing_usable_is_an_error() {
    let clear: fn(&Path) = |folder| {
        for image in 0..4 {
            write(folder, &format!("images/train/{image}.png"), "");
        }
    };
    fails(&TRAIN, clear, &["found none that can be used (4 were left out, such as "]);
    let pixels: fn(&Path) = |folder| {
        for image in 0..4 {
            write(folder, &format!("labels/train/{image}.txt"), "0 24 20 10 10\n");
        }
    };
    fails(&TRAIN, pixels, &["none of its 1 labels can be used"]);
}

#[test]
fn prediction_goes_on_after_a_bad_image_and_tells_so() {
    let folder = good_set();
    let at = folder.path();
    write(at, "images/val/broken.jpg", "no image");
    write(at, "images/val/huge.bmp", huge_bmp());
    let predict = ["predict", "images/val", "--weights", weights(), "--no-save"];
    let (is_good, text) = run(at, &predict);
    assert!(!is_good && text.contains("2 of 4 images could not be read"), "{text}");
    for part in [
        "images/val/0.png: 48x40",
        "images/val/1.png: 48x40",
        "skipped: images/val/broken.jpg",
        "30000 x 30000",
    ] {
        assert!(text.contains(part), "{text}\n  should contain: {part}");
    }
    fails(&["predict", "absent", "--weights", weights()], |_| {}, &["absent: there is no such file"]);
    let empty: fn(&Path) = |folder| fs::create_dir(folder.join("empty")).unwrap();
    fails(&["predict", "empty", "--weights", weights()], empty, &["found none"]);
}

fn huge_bmp() -> Vec<u8> {
    let mut bytes = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend(30_000i32.to_le_bytes());
    bytes.extend(30_000i32.to_le_bytes());
    bytes.extend(b"\x01\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes
}

#[test]
fn the_limit_of_pixels_can_be_set() {
    let small: fn(&Path) = |folder| write(folder, "data.yaml", format!("{DATA}max_pixels: 1000\n"));
    fails(&TRAIN, small, &["expected at most 1000 pixels, but the header says 48 x 40"]);
}

#[cfg(unix)]
#[test]
fn pipes_are_never_opened() {
    let folder = good_set();
    let at = folder.path();
    for name in ["images/val/pipe.jpg", "labels/val/1.txt"] {
        let path = at.join(name);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    }
    let (is_good, text) = run(at, &["val", "--weights", weights(), "--data", "data.yaml"]);
    assert!(is_good && text.contains("val: 1 images, 2 objects"), "{text}");
    assert!(text.contains("pipe.jpg: image left out: expected a file, found a named pipe"), "{text}");
    assert!(text.contains("1.png: image left out, since its labels cannot be read"), "{text}");
    assert!(Command::new("mkfifo").arg(at.join("pipe.yaml")).status().unwrap().success());
    let pipe = ["train", "--model", "pipe.yaml", "--data", "data.yaml"];
    let (is_good, text) = run(at, &pipe);
    assert!(!is_good && text.contains("pipe.yaml: expected a file"), "{text}");
}

#[test]
fn rows_files_are_summed_up_trained_and_kept() {
    let folder = good_set();
    let at = folder.path();
    let rows = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/rows/yolov8n.yaml");
    let (is_good, text) = run(at, &["summary", "--model", rows]);
    assert!(is_good && text.contains("3157200 parameters"), "{text}");
    let tiny = "nc: 80\ndepth_multiple: 0.1\nwidth_multiple: 0.05\nbackbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, SPPF, [256, 5]]
head:
  - [[2], 1, Concat, [1]]
  - [[4], 1, Detect, [nc]]
train: {epochs: 1, imgsz: 32, batch: 4, workers: 1}
";
    write(at, "rows.yaml", tiny);
    let (is_good, text) = run(at, &["train", "--model", "rows.yaml", "--data", "data.yaml"]);
    assert!(is_good, "{text}");
    assert!(text.contains("note: row 5 (Concat) is read by no other row: left out"), "{text}");
    let predict = ["predict", "images/val", "--weights", "runs/exp/weights/last.safetensors", "--no-save"];
    let (is_good, text) = run(at, &predict);
    assert!(is_good && text.contains("0.png: 48x40"), "{text}");
    let (is_good, text) = run(at, &["train", "--resume", "runs/exp"]);
    assert!(is_good && text.contains("nothing left to do"), "{text}");
    write(at, "rows.yaml", tiny.replace("SPPF", "SPPELAN"));
    let (is_good, text) = run(at, &["summary", "--model", "rows.yaml"]);
    assert!(
        !is_good && text.contains("`backbone[4][2]`: expected a module that is known: Conv, C2f, SPPF"),
        "{text}"
    );
}
