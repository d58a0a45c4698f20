//! How far a run is, and what it tells those who watch it.

use crate::EpochRow;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Epoch of the best fitness so far, from 1, and that fitness.
    pub best: Option<(usize, f64)>,
    /// Rows of `results.csv` so far.
    pub rows: Vec<EpochRow>,
    /// What was done of the epoch that is not done.
    pub running: RunningEpoch,
}

/// The part of an epoch that is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningEpoch {
    /// Batches learned.
    pub batches: usize,
    /// Their images.
    pub images: usize,
    /// Sums of their losses.
    pub losses: Vec<f64>,
    /// Seconds they took.
    pub seconds: f64,
}

impl RunningEpoch {
    /// Adds a batch.
    pub(crate) fn add(&mut self, images: usize, losses: &[f64]) {
        self.batches += 1;
        self.images += images;
        self.losses.resize(losses.len(), 0.0);
        self.losses.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
    }

    /// Mean losses.
    pub fn mean_losses(&self) -> Vec<f64> {
        self.losses.iter().map(|sum| sum / self.batches.max(1) as f64).collect()
    }
}

/// After a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchProgress<'a> {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Names of the losses.
    pub loss_names: &'a [&'a str],
    /// What is done of this epoch.
    pub running: &'a RunningEpoch,
    /// Labelled objects in this batch.
    pub objects: usize,
    /// Images learned in this call, and the time that they took.
    pub pace: (usize, Duration),
}

/// After an epoch and its validation.
#[derive(Debug, Clone, Copy)]
pub struct EpochProgress<'a> {
    /// Row of `results.csv`.
    pub row: &'a EpochRow,
    /// Losses and metrics in a few words.
    pub headline: &'a str,
    /// True if this is the best epoch so far.
    pub is_best: bool,
    /// Epochs of the run.
    pub epochs: usize,
    /// Share of the training time spent waiting for batches.
    pub waiting: f64,
}

/// Watches a run. Every method may do nothing.
pub trait Observer {
    /// A batch was learned.
    fn batch_done(&mut self, _progress: &BatchProgress<'_>) {}

    /// A batch of validation images was run: batches done, batches in all.
    fn validation_batch_done(&mut self, _done: usize, _batches: usize) {}

    /// An epoch was validated and saved.
    fn epoch_done(&mut self, _progress: &EpochProgress<'_>) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
