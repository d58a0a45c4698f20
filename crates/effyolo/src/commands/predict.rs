//! `effyolo predict`: objects in images.

use crate::drawing::save_jpeg;
use crate::dtype::DtypeArgument;
use crate::network::{self, Trained, TrainedClassifier, TrainedDetector};
use crate::output;
use crate::pictures::labelled;
use crate::report::milliseconds;
use crate::sources;
use anyhow::{Context, Result};
use box_geometry::Detection;
use detect_data::RgbImage;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yolo_train::{Speed, classify_image, new_run_folder, nms_options};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images, folders of images, patterns such as "a/*.jpg", or text files that list images.
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Trained weights, such as runs/exp/weights/best.safetensors.
    #[arg(long)]
    weights: PathBuf,
    /// Long side of the network input in pixels; that of the training images, unless given.
    #[arg(long)]
    imgsz: Option<usize>,
    /// Only objects with a higher score.
    #[arg(long, default_value_t = 0.25)]
    conf: f32,
    /// Of two boxes of a class that overlap more than this (IoU), the better one stays.
    #[arg(long, default_value_t = 0.7)]
    iou: f32,
    /// Most objects of an image.
    #[arg(long, default_value_t = 300)]
    max_det: usize,
    #[command(flatten)]
    dtype: DtypeArgument,
    /// Write all detections as JSON to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder for pictures with boxes; a new folder below runs/, unless given.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Write no pictures.
    #[arg(long, conflicts_with = "save")]
    no_save: bool,
}

/// Detections of one image, in pixels of the original.
#[derive(Serialize)]
struct ImageReport {
    image: String,
    width: usize,
    height: usize,
    detections: Vec<DetectionReport>,
}

#[derive(Serialize)]
struct DetectionReport {
    class: usize,
    name: String,
    score: f32,
    xyxy: [f32; 4],
}

/// Classes that are told of an image that is classified.
const TOP: usize = 5;

/// The most likely classes of one image.
#[derive(Serialize)]
struct ClassifiedImage {
    image: String,
    width: usize,
    height: usize,
    classes: Vec<ClassScore>,
}

#[derive(Serialize)]
struct ClassScore {
    class: usize,
    name: String,
    probability: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.dtype.announce();
    match network::load_trained(&arguments.weights, arguments.dtype.precision())? {
        Trained::Detector(trained) => find_objects(trained, arguments),
        Trained::Classifier(trained) => classify(trained, arguments),
    }
}

fn classify(mut trained: TrainedClassifier, arguments: &Arguments) -> Result<()> {
    let side = arguments.imgsz.unwrap_or(trained.card.image_size);
    let is_quiet = output::is_standard_output(arguments.json.as_deref());
    let paths = sources::images(&arguments.sources)?;
    let (mut reports, mut skipped) = (Vec::with_capacity(paths.len()), 0);
    for path in &paths {
        let Some(image) = sources::open_or_skip(path, &mut skipped) else { continue };
        let probabilities = classify_image(&mut trained.classifier, &image, side)?;
        let report = classified(path, &image, &probabilities, &trained.card.names);
        if !is_quiet {
            let scores: Vec<String> = report
                .classes
                .iter()
                .map(|score| format!("{} {:.3}", score.name, score.probability))
                .collect();
            println!("{}: {}", report.image, scores.join(", "));
        }
        reports.push(report);
    }
    if let Some(target) = &arguments.json {
        output::write_json(target, &reports)?;
    }
    sources::check_skipped(skipped, paths.len())
}

fn classified(path: &Path, image: &RgbImage, probabilities: &[f64], names: &[String]) -> ClassifiedImage {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let score =
        |&class: &usize| ClassScore { class, name: names[class].clone(), probability: probabilities[class] };
    ClassifiedImage {
        image: path.display().to_string(),
        width: image.size().width,
        height: image.size().height,
        classes: order.iter().take(TOP).map(score).collect(),
    }
}

fn find_objects(mut trained: TrainedDetector, arguments: &Arguments) -> Result<()> {
    let paths = sources::images(&arguments.sources)?;
    let folder = picture_folder(arguments)?;
    let is_quiet = output::is_standard_output(arguments.json.as_deref());
    let (mut reports, mut skipped) = (Vec::with_capacity(paths.len()), 0);
    for (index, path) in paths.iter().enumerate() {
        let Some(image) = sources::open_or_skip(path, &mut skipped) else { continue };
        let (detections, speed) = detect(&mut trained, &image, arguments)?;
        if !is_quiet {
            println!("{}", line(path, &image, &detections, &trained.card.names, &speed));
        }
        if let Some(folder) = &folder {
            let picture = labelled(&image, &detections, &trained.card.names);
            save_jpeg(&picture, &picture_path(folder, path, index, &paths))?;
        }
        reports.push(report(path, &image, &detections, &trained.card.names));
    }
    if let Some(target) = &arguments.json {
        output::write_json(target, &reports)?;
    }
    if let Some(folder) = folder.filter(|_| !is_quiet) {
        println!("pictures: {}", folder.display());
    }
    sources::check_skipped(skipped, paths.len())
}

fn detect(
    trained: &mut TrainedDetector,
    image: &RgbImage,
    arguments: &Arguments,
) -> Result<(Vec<Detection>, Speed)> {
    let options = nms_options(arguments.conf, arguments.iou, arguments.max_det, false);
    let size = arguments.imgsz.unwrap_or(trained.card.image_size);
    Ok(yolo_train::predict(&mut trained.detector, image, size, &options)?)
}

fn picture_folder(arguments: &Arguments) -> Result<Option<PathBuf>> {
    if arguments.no_save {
        return Ok(None);
    }
    let Some(folder) = &arguments.save else {
        return Ok(Some(new_run_folder(Path::new("runs"), "predict", |_| Ok::<(), anyhow::Error>(()))?));
    };
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    Ok(Some(folder.clone()))
}

/// A file of the image's own name; with the image's number before it where another image has that name too.
fn picture_path(folder: &Path, path: &Path, index: usize, all: &[PathBuf]) -> PathBuf {
    let is_unique = all.iter().filter(|other| other.file_stem() == path.file_stem()).count() == 1;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    folder.join(if is_unique { format!("{stem}.jpg") } else { format!("{index}-{stem}.jpg") })
}

fn line(path: &Path, image: &RgbImage, detections: &[Detection], names: &[String], speed: &Speed) -> String {
    let mut counts = BTreeMap::new();
    detections.iter().for_each(|found| *counts.entry(found.class).or_insert(0) += 1);
    let counted: Vec<String> =
        counts.iter().map(|(class, count)| format!("{count} {}", names[*class])).collect();
    let found = if counted.is_empty() { "nothing".to_string() } else { counted.join(", ") };
    let (width, height) = (image.size().width, image.size().height);
    let time = milliseconds(speed.preprocess + speed.inference + speed.postprocess);
    format!("{}: {width}x{height}, {found}, {time:.1} ms", path.display())
}

fn report(path: &Path, image: &RgbImage, detections: &[Detection], names: &[String]) -> ImageReport {
    let detection = |found: &Detection| DetectionReport {
        class: found.class,
        name: names[found.class].clone(),
        score: found.score,
        xyxy: found.xyxy.to_array(),
    };
    ImageReport {
        image: path.display().to_string(),
        width: image.size().width,
        height: image.size().height,
        detections: detections.iter().map(detection).collect(),
    }
}
