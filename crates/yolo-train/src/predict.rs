//! Detections in single images.

use crate::{CpuDetector, ImageBatch, Speed, TrainError};
use box_geometry::{Detection, InverseRule, Letterbox, LetterboxOptions, NmsOptions, Size, postprocess};
use detect_data::{RgbImage, letterbox};
use net_cpu::Images;
use std::time::Instant;

/// Finds objects in an image, which is letterboxed to a long side of `image_size` and padded to multiples of the
/// network's stride. Boxes are in pixels of the original image, by falling score.
///
/// # Errors
/// When the image is empty.
pub fn predict(
    detector: &mut CpuDetector,
    image: &RgbImage,
    image_size: usize,
    options: &NmsOptions,
) -> Result<(Vec<Detection>, Speed), TrainError> {
    let started = Instant::now();
    let target = Size { height: image_size, width: image_size };
    let fit =
        LetterboxOptions { auto_stride: Some(detector.max_stride()), scale_up: true, scale_fill: false };
    let transform = Letterbox::new(image.size(), target, &fit)?;
    let input = letterbox(image, &transform);
    let preprocess = started.elapsed();

    let started = Instant::now();
    let batch = ImageBatch { images: Images::Rgb8(input.data()), count: 1, size: input.size() };
    let predictions = detector.run(batch)?;
    let inference = started.elapsed();

    let started = Instant::now();
    let mut detections = postprocess(&predictions[0], detector.class_count(), options)?;
    for detection in &mut detections {
        detection.xyxy = transform.inverse(&detection.xyxy, InverseRule::Current);
    }
    Ok((detections, Speed { preprocess, inference, postprocess: started.elapsed() }))
}
