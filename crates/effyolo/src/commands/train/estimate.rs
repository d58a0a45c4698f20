//! What a run will take, said before its first epoch.

use crate::progress::clock;
use effyolo_config::TrainSpec;
use std::time::Duration;
use yolo_train::{Rehearsal, Task, TrainingRun};

/// Time of an inference pass as a share of a training step of the same images.
const VALIDATION_SHARE: f64 = 0.3;

/// Prints the estimate for what is left of a run.
pub(super) fn say<T: Task>(rehearsal: &Rehearsal, run: &TrainingRun<T>, spec: &TrainSpec) {
    let step = rehearsal.step.as_secs_f64();
    let validation = rehearsal.validation_images as f64 / spec.batch as f64 * VALIDATION_SHARE;
    let epoch = (run.batches() as f64 + validation) * step;
    let left = (spec.epochs - run.progress().epoch) as f64 * epoch;
    let time = |seconds: f64| clock(Duration::from_secs_f64(seconds));
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    eprintln!(
        "estimate: {step:.2} s a batch, {} batches an epoch: about {} an epoch with its validation, {} in all; memory about {:.2} GB ({:.2} GB of it images)",
        run.batches(),
        time(epoch),
        time(left),
        gigabytes(rehearsal.bytes + rehearsal.image_bytes),
        gigabytes(rehearsal.image_bytes)
    );
}
