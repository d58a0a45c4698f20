//! Learning rate, momentum and accumulation at every batch.
//!
//! Follows the public YOLOv8 recipe: a linear or cosine fall over the epochs, and a linear warm-up over the first
//! batches in which the biases start from a learning rate of their own.

use effyolo_config::{Decay, Rules, TrainSpec};
use std::f64::consts::PI;

/// Fewest warm-up batches of the classic rules.
const CLASSIC_WARMUP_FLOOR: usize = 100;

/// What the optimiser uses for one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate of weights and norm scales.
    pub lr: f64,
    /// Learning rate of biases.
    pub bias_lr: f64,
    /// Momentum of SGD. AdamW's beta1 is not warmed up and does not follow this.
    pub momentum: f64,
    /// Batches whose gradients are summed before a step.
    pub accumulate: usize,
}

/// The plan of a whole run, from its specification and the number of batches of an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    spec: TrainSpec,
    batches_per_epoch: usize,
    warmup_batches: usize,
}

impl Schedule {
    /// The schedule of a run with that many batches an epoch.
    pub fn new(spec: &TrainSpec, batches_per_epoch: usize) -> Self {
        let warmup_batches = warmup_batches(spec, batches_per_epoch);
        Schedule { spec: spec.clone(), batches_per_epoch, warmup_batches }
    }

    /// Batches over which the rates warm up.
    pub fn warmup_batches(&self) -> usize {
        self.warmup_batches
    }

    /// Rates of a batch, counted from 0 over the whole run.
    pub fn at(&self, batch: usize) -> Rates {
        let spec = &self.spec;
        let lr = spec.lr0 * self.decay(batch / self.batches_per_epoch.max(1));
        let full = spec.nominal_batch as f64 / spec.batch as f64;
        if batch >= self.warmup_batches {
            return Rates { lr, bias_lr: lr, momentum: spec.momentum, accumulate: rounded_accumulate(full) };
        }
        let progress = batch as f64 / self.warmup_batches as f64;
        let between = |start: f64, end: f64| start + progress * (end - start);
        Rates {
            lr: between(0.0, lr),
            bias_lr: between(spec.warmup_bias_lr, lr),
            momentum: between(spec.warmup_momentum, spec.momentum),
            accumulate: rounded_accumulate(between(1.0, full)),
        }
    }

    /// Share of `lr0` in an epoch, counted from 0.
    fn decay(&self, epoch: usize) -> f64 {
        let TrainSpec { epochs, lrf, decay, .. } = self.spec;
        let progress = epoch as f64 / epochs as f64;
        match decay {
            Decay::Linear => (1.0 - progress).max(0.0) * (1.0 - lrf) + lrf,
            Decay::Cosine => (1.0 - (PI * progress).cos()) / 2.0 * (lrf - 1.0) + 1.0,
        }
    }
}

/// Batches whose gradients are summed before a step once warm-up is over.
pub fn full_accumulate(spec: &TrainSpec) -> usize {
    rounded_accumulate(spec.nominal_batch as f64 / spec.batch as f64)
}

fn rounded_accumulate(batches: f64) -> usize {
    (batches.round_ties_even() as usize).max(1)
}

fn warmup_batches(spec: &TrainSpec, batches_per_epoch: usize) -> usize {
    let batches = |epochs: f64| (epochs * batches_per_epoch as f64).round_ties_even() as usize;
    match spec.rules {
        _ if spec.warmup_epochs <= 0.0 => 0,
        Rules::Classic => batches(spec.warmup_epochs).max(CLASSIC_WARMUP_FLOOR),
        Rules::Current => batches(spec.warmup_epochs.min(spec.epochs.saturating_sub(1) as f64)),
    }
}
