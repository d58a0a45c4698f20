//! `effyolo val`: average precision of trained weights.

use crate::class_pictures;
use crate::classes::{self, ClassReport};
use crate::data::{CACHE_BYTES, open_split};
use crate::dtype::DtypeArgument;
use crate::network::{self, Trained, TrainedClassifier, TrainedDetector};
use crate::output;
use crate::pictures::save_comparisons;
use crate::progress::ValidationProgress;
use crate::report::{self, ValidationReport};
use crate::weights_folder;
use anyhow::{Result, ensure};
use classify_data::{ClassAugmentation, ClassPipeline};
use detect_data::{Dataset, LoadedImages, ValidationLoader};
use effyolo_config::DataSpec;
use std::path::PathBuf;
use std::sync::Arc;
use yolo_train::{class_loader, nms_options, validate, validate_classifier, validation_options};

/// Score above which a detection is drawn.
const DRAWN: f32 = 0.25;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Trained weights, such as runs/exp/weights/best.safetensors.
    #[arg(long)]
    weights: PathBuf,
    /// Data file in Ultralytics' form, or a COCO instances file (.json); of a classifier, the folder above the splits.
    #[arg(long)]
    data: PathBuf,
    /// Which images: train, val or test.
    #[arg(long, default_value = "val")]
    split: String,
    /// Long side of the network input in pixels; that of the training images, unless given.
    #[arg(long)]
    imgsz: Option<usize>,
    /// Images a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Only detections with a higher score count.
    #[arg(long, default_value_t = 0.001)]
    conf: f32,
    /// Of two boxes of a class that overlap more than this (IoU), the better one stays.
    #[arg(long, default_value_t = 0.7)]
    iou: f32,
    /// Most detections of an image.
    #[arg(long, default_value_t = 300)]
    max_det: usize,
    #[command(flatten)]
    dtype: DtypeArgument,
    /// Write one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder for pictures: of some images, labels on the left, detections on the right; of a classifier, the confusion
    /// matrix and the images with the highest loss.
    #[arg(long)]
    save: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.dtype.announce();
    let weights = weights_folder::resolve(&arguments.weights)?;
    match network::load_trained(&weights, arguments.dtype.precision())? {
        Trained::Detector(trained) => validate_detections(trained, arguments),
        Trained::Classifier(trained) => validate_classes(trained, arguments),
    }
}

fn validate_detections(trained: TrainedDetector, arguments: &Arguments) -> Result<()> {
    let TrainedDetector { mut detector, card, spec } = trained;
    let data = DataSpec::load(&arguments.data)?;
    ensure!(
        data.names == card.names,
        "{}: expected the classes {:?} of the weights, got {:?}",
        arguments.data.display(),
        card.names,
        data.names
    );
    let dataset = Arc::new(open_split(&data, &arguments.split)?);
    let size = arguments.imgsz.unwrap_or(card.image_size).next_multiple_of(detector.max_stride());
    let images = Arc::new(LoadedImages::new(dataset.clone(), size, CACHE_BYTES)?);
    let options = validation_options(arguments.batch, detector.max_stride(), spec.train.loader_threads);
    let loader = ValidationLoader::new(images, options)?;
    let nms = nms_options(arguments.conf, arguments.iou, arguments.max_det, true);
    let mut progress = ValidationProgress::new(loader.batches());
    let validation = validate(&mut detector, &loader, &nms, None, &mut progress)?;
    if let Some(target) = &arguments.json {
        output::write_json(target, &ValidationReport::new(&validation, &card.names))?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        report::print_table(&validation, dataset.class_names());
    }
    if let Some(folder) = &arguments.save {
        let drawn = nms_options(DRAWN, arguments.iou, arguments.max_det, false);
        save_comparisons(folder, dataset.as_ref(), &mut detector, size, &drawn)?;
    }
    Ok(())
}

fn validate_classes(trained: TrainedClassifier, arguments: &Arguments) -> Result<()> {
    let TrainedClassifier { mut classifier, card, spec } = trained;
    let images = Arc::new(classes::open_split(&arguments.data, &arguments.split, Some(&card.names))?);
    let side = arguments.imgsz.unwrap_or(card.image_size);
    let pipeline = ClassPipeline::new(images.clone(), side, ClassAugmentation::NONE)?;
    let loader = class_loader(arguments.batch, &spec.train)?;
    let mut progress = ValidationProgress::new(loader.batches(images.len()));
    let validation = validate_classifier(&mut classifier, &loader, &pipeline, &mut progress)?;
    if let Some(target) = &arguments.json {
        output::write_json(target, &ClassReport::new(&validation, &images))?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        classes::print_table(&validation, &images);
    }
    if let Some(folder) = &arguments.save {
        class_pictures::save(folder, &validation, &images)?;
    }
    Ok(())
}
