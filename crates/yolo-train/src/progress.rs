//! What a run tells those who watch it.

use crate::{EpochRow, Validation};
use std::time::Duration;
use yolo_loss::LossParts;

/// After a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchProgress {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Batches done in this epoch.
    pub done: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Images done in this epoch.
    pub images: usize,
    /// Time since the epoch began.
    pub elapsed: Duration,
    /// Mean losses of this epoch so far, after the gains.
    pub losses: LossParts,
    /// Labelled objects in this batch.
    pub objects: usize,
}

/// After an epoch and its validation.
#[derive(Debug, Clone, Copy)]
pub struct EpochProgress<'a> {
    /// Row of `results.csv`.
    pub row: &'a EpochRow,
    /// What validation found.
    pub validation: &'a Validation,
    /// True if this is the best epoch so far.
    pub is_best: bool,
    /// Epochs of the run.
    pub epochs: usize,
}

/// Watches a run. Every method may do nothing.
pub trait Observer {
    /// A batch was learned.
    fn batch_done(&mut self, _progress: &BatchProgress) {}

    /// A batch of validation images was run: batches done, batches in all.
    fn validation_batch_done(&mut self, _done: usize, _batches: usize) {}

    /// An epoch was validated and saved.
    fn epoch_done(&mut self, _progress: &EpochProgress<'_>) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
