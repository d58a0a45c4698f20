//! The binary, and data sets of generated images.
#![allow(dead_code)] // Each test file uses a part of it.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

pub(crate) const MODEL: &str = "
task: detect
backbone: {name: efficientnet-lite0, width: 0.5, depth: 0.5}
neck: {scale: n}
classes: 80
train: {epochs: 2, imgsz: 64, batch: 4, nbs: 4, optimizer: AdamW, lr0: 0.003, warmup_epochs: 0}
";

/// Images are wider than the network's input, so that pixels of one are not pixels of the other.
pub(crate) const SIZE: (u32, u32) = (160, 120);
const COLOURS: [[u8; 3]; 2] = [[220, 40, 40], [40, 60, 230]];

pub(crate) fn effyolo(folder: &Path, arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_effyolo");
    Command::new(binary).args(arguments).args(["--threads", "2"]).current_dir(folder).output().unwrap()
}

/// Standard output of a command that succeeds.
pub(crate) fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = effyolo(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "effyolo {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of JSON that `--json -` prints.
pub(crate) fn json(folder: &Path, arguments: &[&str]) -> Value {
    let text = succeed(folder, &[arguments, &["--json", "-"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Left, top, width and height of the rectangle of a class in an image, in pixels.
fn rectangle(image: u32, class: u32) -> [u32; 4] {
    [5 + 80 * class + 3 * image, 10 + 7 * image, 40, 30 + image]
}

/// Images with a rectangle of each class on grey, their labels, a data file and a model file.
pub(crate) fn write_data(folder: &Path) {
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

/// Pictures of one colour and some noise, a folder for each class below `train` and `val`.
pub(crate) fn write_classes(folder: &Path) {
    for (split, count) in [("train", 12), ("val", 6)] {
        for (class, colour) in ["red", "blue"].into_iter().zip(COLOURS) {
            let folder = folder.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let noise = |x: u32, y: u32| ((x * 7 + y * 13 + number * 29) % 40) as u8;
                let pixel = |x, y| image::Rgb(colour.map(|channel| channel.saturating_sub(noise(x, y))));
                image::RgbImage::from_fn(40, 36, pixel).save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    fs::write(folder.join("classes.yaml"), CLASSIFIER).unwrap();
}

const CLASSIFIER: &str = "
task: classify
backbone: {name: efficientnet-lite0, width: 0.5, depth: 0.5, bn_momentum: 0.3}
classes: 1000
train: {epochs: 14, imgsz: 64, batch: 8, nbs: 8, lr0: 0.005, warmup_epochs: 0}
";
