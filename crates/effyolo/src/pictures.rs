//! Pictures of what a detector found.

use crate::drawing::{Label, beside, draw_labels, save_jpeg};
use anyhow::{Context, Result};
use box_geometry::{Detection, NmsOptions, Size, Xyxy};
use detect_data::{Dataset, LabelledBox, RgbImage, Sample, resize};
use std::path::Path;
use yolo_train::{CpuDetector, predict};

/// Images of a data set that are drawn.
const COUNT: usize = 16;
/// Images with a shorter long side are enlarged before labels are written into them.
const LEGIBLE: usize = 480;

/// A copy of the image with detections drawn in.
pub(crate) fn labelled(image: &RgbImage, detections: &[Detection], names: &[String]) -> RgbImage {
    let label = |found: &Detection| Label {
        xyxy: found.xyxy,
        class: found.class,
        text: format!("{} {:.2}", names[found.class], found.score),
    };
    // The best last, so that they lie on top.
    drawn(image, detections.iter().rev().map(label).collect())
}

/// Draws images spread over a data set into a folder: labels on the left, detections on the right.
pub(crate) fn save_comparisons(
    folder: &Path,
    data: &dyn Dataset,
    detector: &mut CpuDetector,
    image_size: usize,
    options: &NmsOptions,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let (names, count) = (data.class_names(), data.len().min(COUNT));
    for number in 0..count {
        let index = number * data.len() / count;
        let sample = data.get(index)?;
        let (detections, _) = predict(detector, &sample.image, image_size, options)?;
        let (sample, detections) = enlarged(sample, detections);
        let truth =
            drawn(&sample.image, sample.boxes.iter().map(|labelled| truth(labelled, names)).collect());
        let stem = Path::new(&sample.id).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        save_jpeg(
            &beside(&truth, &labelled(&sample.image, &detections, names)),
            &folder.join(format!("{index}-{stem}.jpg")),
        )?;
    }
    Ok(())
}

/// A sample and its detections at a whole multiple of their size, so that labels can be read and hide little.
fn enlarged(mut sample: Sample, mut detections: Vec<Detection>) -> (Sample, Vec<Detection>) {
    let Size { height, width } = sample.image.size();
    let factor = (LEGIBLE / height.max(width)).max(1);
    sample.image = resize(&sample.image, Size { height: height * factor, width: width * factor });
    let scaled = |xyxy: Xyxy| xyxy.scale(factor as f32, factor as f32);
    sample.boxes.iter_mut().for_each(|labelled| labelled.xyxy = scaled(labelled.xyxy));
    detections.iter_mut().for_each(|found| found.xyxy = scaled(found.xyxy));
    (sample, detections)
}

fn truth(labelled: &LabelledBox, names: &[String]) -> Label {
    Label { xyxy: labelled.xyxy, class: labelled.class, text: names[labelled.class].clone() }
}

fn drawn(image: &RgbImage, labels: Vec<Label>) -> RgbImage {
    let mut picture = image.clone();
    draw_labels(&mut picture, &labels);
    picture
}
