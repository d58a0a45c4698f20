//! Average precision of a detector over a validation set.

use crate::{CpuDetector, ImageBatch, Observer, TrainError};
use box_geometry::{AnchorGrid, Detection, InverseRule, NmsOptions, Size, postprocess};
use detect_data::{ValidationBatch, ValidationImage, ValidationLoader};
use detect_eval::{Evaluator, GroundTruth, Metrics, Rule};
use net_cpu::Images;
use std::time::{Duration, Instant};
use yolo_loss::{DetectionLoss, LossParts, Targets};

/// Time an image took, on average.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Speed {
    /// Waiting for decoded and letterboxed images, which loader threads prepare meanwhile.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Suppression and the way back to original pixels.
    pub postprocess: Duration,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Images.
    pub images: usize,
    /// Labelled objects.
    pub instances: usize,
    /// By COCO's rules.
    pub coco: Metrics,
    /// By Ultralytics' current rules.
    pub current: Metrics,
    /// By Ultralytics' classic rules.
    pub classic: Metrics,
    /// Mean losses over the batches, after the gains, where a loss was given.
    pub losses: Option<LossParts>,
    /// Times.
    pub speed: Speed,
}

/// What a suppression keeps: within each class, of an image's 30,000 best candidates. With `multi_label` an anchor point
/// yields a candidate for every class above the confidence (validation), else for its best class alone (prediction).
pub fn nms_options(confidence: f32, iou: f32, max_detections: usize, multi_label: bool) -> NmsOptions {
    NmsOptions {
        confidence,
        iou,
        agnostic: false,
        multi_label,
        max_candidates: 30_000,
        max_detections,
        classes: None,
    }
}

/// Runs a detector over a validation set. With a loss, its mean over the batches is computed too; the detector must
/// then keep its logits.
///
/// # Errors
/// When an image cannot be read, or predictions are no numbers.
pub fn validate(
    detector: &mut CpuDetector,
    loader: &ValidationLoader,
    options: &NmsOptions,
    loss: Option<&DetectionLoss>,
    observer: &mut dyn Observer,
) -> Result<Validation, TrainError> {
    let mut pass = Pass {
        evaluator: Evaluator::new(detector.class_count()),
        classes: detector.class_count(),
        images: 0,
        instances: 0,
        speed: Speed::default(),
    };
    let mut losses = LossMean::default();
    let mut batches = loader.start();
    loop {
        let waiting = Instant::now();
        let Some(batch) = batches.next().transpose()? else { break };
        pass.speed.preprocess += waiting.elapsed();
        let predictions = pass.infer(detector, &batch)?;
        if let Some(loss) = loss {
            losses.add(&batch_loss(detector, loss, &batch)?);
        }
        pass.collect(&batch, &predictions, options)?;
        observer.validation_batch_done(batch.number + 1, loader.batches());
    }
    Ok(pass.finish(loss.map(|_| losses.mean())))
}

/// The running sums of a validation.
struct Pass {
    evaluator: Evaluator,
    classes: usize,
    images: usize,
    instances: usize,
    speed: Speed,
}

impl Pass {
    fn infer(
        &mut self,
        detector: &mut CpuDetector,
        batch: &ValidationBatch,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let started = Instant::now();
        let predictions = detector.run(images_of(batch))?;
        self.speed.inference += started.elapsed();
        Ok(predictions)
    }

    fn collect(
        &mut self,
        batch: &ValidationBatch,
        predictions: &[Vec<f32>],
        options: &NmsOptions,
    ) -> Result<(), TrainError> {
        let started = Instant::now();
        for (image, predictions) in batch.images.iter().zip(predictions) {
            let detections: Vec<Detection> = postprocess(predictions, self.classes, options)?
                .into_iter()
                .map(|found| Detection {
                    xyxy: image.mapping.to_original(&found.xyxy, InverseRule::Current),
                    ..found
                })
                .collect();
            self.evaluator.update(image.index as u64, &detections, &ground_truths(image))?;
            self.images += 1;
            self.instances += image.ground_truths.len();
        }
        self.speed.postprocess += started.elapsed();
        Ok(())
    }

    fn finish(self, losses: Option<LossParts>) -> Validation {
        let images = self.images.max(1) as u32;
        let Speed { preprocess, inference, postprocess } = self.speed;
        Validation {
            images: self.images,
            instances: self.instances,
            coco: self.evaluator.finish(Rule::Coco),
            current: self.evaluator.finish(Rule::UltralyticsCurrent),
            classic: self.evaluator.finish(Rule::UltralyticsClassic),
            losses,
            speed: Speed {
                preprocess: preprocess / images,
                inference: inference / images,
                postprocess: postprocess / images,
            },
        }
    }
}

fn images_of(batch: &ValidationBatch) -> ImageBatch<'_> {
    let size = Size { height: batch.height, width: batch.width };
    ImageBatch { images: Images::Rgb8(&batch.pixels), count: batch.images.len(), size }
}

fn ground_truths(image: &ValidationImage) -> Vec<GroundTruth> {
    let truth = |crowd| {
        move |labelled: &detect_data::LabelledBox| GroundTruth {
            xyxy: labelled.xyxy,
            class: labelled.class,
            crowd,
        }
    };
    image.ground_truths.iter().map(truth(false)).chain(image.crowds.iter().map(truth(true))).collect()
}

/// Loss of the batch that the detector ran last.
fn batch_loss(
    detector: &CpuDetector,
    loss: &DetectionLoss,
    batch: &ValidationBatch,
) -> Result<LossParts, TrainError> {
    let images = images_of(batch);
    let logits = detector.logits(images);
    let grid = AnchorGrid::for_input(images.size, detector.strides())?;
    let objects = |image: &ValidationImage| {
        let object = |labelled: &detect_data::LabelledBox| yolo_loss::GroundTruth {
            class: labelled.class,
            xyxy: image.mapping.to_input(&labelled.xyxy),
        };
        image.ground_truths.iter().map(object).collect()
    };
    let targets = Targets::new(batch.images.iter().map(objects).collect());
    let (mut boxes, mut classes) = (logits.boxes.clone(), logits.classes.clone());
    let value =
        loss.value_and_gradient(&logits.boxes, &logits.classes, &grid, &targets, &mut boxes, &mut classes)?;
    Ok(value.parts)
}

/// Mean of losses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LossMean {
    sums: [f64; 3],
    count: usize,
}

impl LossMean {
    pub(crate) fn add(&mut self, parts: &LossParts) {
        let values = [parts.boxes, parts.class, parts.dfl];
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.count += 1;
    }

    pub(crate) fn mean(&self) -> LossParts {
        let [boxes, class, dfl] = self.sums.map(|sum| sum / self.count.max(1) as f64);
        LossParts { boxes, class, dfl }
    }
}
