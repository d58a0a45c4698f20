//! Accuracy of a classifier over a validation set.

use super::cross_entropy::{SoftTargets, cross_entropy};
use crate::{CpuClassifier, ImageBatch, Observer, TrainError};
use box_geometry::Size;
use classify_data::{ClassBatch, ClassLoader, ClassPipeline};
use net_cpu::Images;

/// Classes among which the right one counts for the second accuracy.
const TOP: usize = 5;

/// What a validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassValidation {
    /// Images.
    pub images: usize,
    /// Share of images whose class has the highest score.
    pub top1: f64,
    /// Share of images whose class is among the five highest scores.
    pub top5: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images by true class (rows) and class with the highest score (columns), `[K, K]`.
    pub confusion: Vec<usize>,
    /// Every image, the worst first.
    pub by_loss: Vec<JudgedImage>,
}

/// What a classifier made of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgedImage {
    /// Index in the data set.
    pub index: usize,
    /// Cross-entropy of its class.
    pub loss: f64,
    /// Class with the highest score.
    pub predicted: usize,
    /// Probability of that class.
    pub probability: f64,
}

/// Runs a classifier over all images of a pipeline, which should not augment. Equal scores count against the class.
///
/// # Errors
/// When an image cannot be read.
pub fn validate_classifier(
    classifier: &mut CpuClassifier,
    loader: &ClassLoader,
    pipeline: &ClassPipeline,
    observer: &mut dyn Observer,
) -> Result<ClassValidation, TrainError> {
    let (classes, images) = (pipeline.images().names().len(), pipeline.images().len());
    let mut pass =
        Pass { classes, first: 0, among_top: 0, confusion: vec![0; classes * classes], judged: vec![] };
    for batch in loader.pass(pipeline.clone()) {
        let batch = batch?;
        let size = Size { height: batch.side, width: batch.side };
        let images_of = ImageBatch { images: Images::Rgb8(&batch.images), count: batch.len(), size };
        pass.collect(&batch, &classifier.run(images_of)?);
        observer.validation_batch_done(batch.number + 1, loader.batches(images));
    }
    Ok(pass.finish())
}

/// The running sums of a validation.
struct Pass {
    classes: usize,
    first: usize,
    among_top: usize,
    confusion: Vec<usize>,
    judged: Vec<JudgedImage>,
}

impl Pass {
    fn collect(&mut self, batch: &ClassBatch, logits: &[f32]) {
        let classes = self.classes;
        let rows = logits.chunks_exact(classes).zip(batch.targets.chunks_exact(classes));
        for ((logits, target), &index) in rows.zip(&batch.indices) {
            let class = position_of_largest(target);
            let above = |&(other, &z): &(usize, &f32)| other != class && z >= logits[class];
            let rank = logits.iter().enumerate().filter(above).count();
            self.first += usize::from(rank == 0);
            self.among_top += usize::from(rank < TOP);
            let predicted = position_of_largest(logits);
            self.confusion[class * classes + predicted] += 1;
            let target = SoftTargets { probabilities: target.to_vec(), classes };
            let loss = cross_entropy(logits, &target, &mut vec![0.0; classes]);
            let over = |z: &f32| ((z - logits[predicted]) as f64).exp();
            let probability = 1.0 / logits.iter().map(over).sum::<f64>();
            self.judged.push(JudgedImage { index, loss, predicted, probability });
        }
    }

    fn finish(mut self) -> ClassValidation {
        let images = self.judged.len();
        let mean = |sum: f64| sum / images.max(1) as f64;
        let loss = mean(self.judged.iter().map(|image| image.loss).sum());
        self.judged.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.index.cmp(&b.index)));
        ClassValidation {
            images,
            top1: mean(self.first as f64),
            top5: mean(self.among_top as f64),
            loss,
            confusion: self.confusion,
            by_loss: self.judged,
        }
    }
}

fn position_of_largest(values: &[f32]) -> usize {
    let larger = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    values.iter().enumerate().max_by(larger).map_or(0, |(index, _)| index)
}
