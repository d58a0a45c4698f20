//! What a training run asks of a task: detection or classification.

use crate::{LearnerState, Observer, Schedule, TrainError};
use net_cpu::Params;
use std::ops::ControlFlow;
use std::time::Duration;

/// Batches that each loader thread may have ready.
pub(crate) const QUEUE: usize = 2;

/// A network that learns from a data set and is judged on another.
pub trait Task {
    /// What a validation finds.
    type Validation;

    /// Names of the parts of the loss.
    fn loss_names(&self) -> &'static [&'static str];

    /// Batches of an epoch.
    fn batches(&self) -> usize;

    /// Learns the batches of an epoch from `first_batch` on; `done` is told after each, and may end the epoch early.
    /// What is learned depends on (seed, epoch, batch) alone.
    ///
    /// # Errors
    /// When images cannot be read, or the loss is no longer a number.
    fn learn_epoch(
        &mut self,
        epoch: usize,
        first_batch: usize,
        schedule: &Schedule,
        done: &mut dyn FnMut(&LearnedBatch) -> ControlFlow<()>,
    ) -> Result<(), TrainError>;

    /// The averaged weights, which are validated and saved.
    fn averaged(&self) -> Params;

    /// What to save, so that [`Task::restore`] goes on from here.
    fn state(&self) -> LearnerState;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another network or optimiser; nothing is changed then.
    fn restore(&mut self, state: LearnerState) -> Result<(), TrainError>;

    /// Runs the validation images through a network of these weights.
    ///
    /// # Errors
    /// When images cannot be read, or predictions are no numbers.
    fn validate(&self, weights: &Params, observer: &mut dyn Observer)
    -> Result<Self::Validation, TrainError>;

    /// What a validation is worth.
    fn judge(&self, validation: &Self::Validation) -> Judgement;

    /// Times one step and counts memory; nothing is learned.
    ///
    /// # Errors
    /// When the network cannot be laid out for the batch.
    fn rehearse(&mut self) -> Result<Rehearsal, TrainError>;
}

/// A batch that was learned.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedBatch {
    /// Images.
    pub images: usize,
    /// Labelled objects.
    pub objects: usize,
    /// Parts of the loss, in the order of [`Task::loss_names`].
    pub losses: Vec<f64>,
    /// Time spent waiting for the batch to be prepared.
    pub waited: Duration,
}

/// A validation in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What the run strives for; the best epoch has the highest.
    pub fitness: f64,
    /// Columns of `results.csv`, with their headings.
    pub columns: Vec<(&'static str, f64)>,
    /// The metrics in a few words.
    pub headline: String,
}

/// What one step of training costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rehearsal {
    /// A whole step: forward, loss, backward.
    pub step: Duration,
    /// Bytes of activations, parameters, gradients, moments and averages.
    pub bytes: usize,
    /// Bytes of the scaled images that are kept in memory.
    pub image_bytes: usize,
    /// Images that are validated after each epoch.
    pub validation_images: usize,
}
