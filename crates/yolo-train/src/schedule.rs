//! Learning rate, momentum and accumulation at every batch.
//!
//! Follows the public YOLOv8 recipe: a linear or cosine fall over the epochs, and a linear warm-up over the first
//! batches in which the biases start from a learning rate of their own. A fall in steps is that of EfficientNet
//! (Tan and Le, 2019, section 5.2): it is counted from the first batch, but the warm-up rises to the whole rate.

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
        let lr = spec.lr0 * self.decay(batch);
        let full = spec.nominal_batch as f64 / spec.batch as f64;
        if batch >= self.warmup_batches {
            return Rates { lr, bias_lr: lr, momentum: spec.momentum, accumulate: rounded_accumulate(full) };
        }
        let lr = if let Decay::Steps { .. } = spec.decay { spec.lr0 } else { lr };
        let progress = batch as f64 / self.warmup_batches as f64;
        let between = |start: f64, end: f64| start + progress * (end - start);
        Rates {
            lr: between(0.0, lr),
            bias_lr: between(spec.warmup_bias_lr, lr),
            momentum: between(spec.warmup_momentum, spec.momentum),
            accumulate: rounded_accumulate(between(1.0, full)),
        }
    }

    /// Share of `lr0` at a batch: constant within an epoch, except of steps.
    fn decay(&self, batch: usize) -> f64 {
        let TrainSpec { epochs, lrf, decay, .. } = self.spec;
        let batches = self.batches_per_epoch.max(1);
        let progress = (batch / batches) as f64 / epochs as f64;
        match decay {
            Decay::Steps { factor, epochs } => {
                let steps = (batch as f64 / (epochs * batches as f64)).floor();
                factor.powf(steps).max(lrf)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use effyolo_config::ModelSpec;

    #[test]
    fn a_staircase_is_counted_from_the_first_batch_and_the_warm_up_rises_to_the_whole_rate() {
        let model =
            "{task: classify, backbone: {name: efficientnet-b0}, classes: 2, train: {epochs: 350, lr0: 0.5,
          lrf: 0.01, lr_steps: [0.97, 2.4], warmup_epochs: 5, warmup_bias_lr: 0, rules: current}}";
        let spec = ModelSpec::from_yaml(model, "test").unwrap().train;
        let schedule = Schedule::new(&spec, 10);
        for (batch, share) in [
            (0, 0.0),
            (25, 0.5),
            (49, 0.98),
            (50, 0.97 * 0.97),
            (71, 0.97 * 0.97),
            (72, 0.97 * 0.97 * 0.97),
            (95, 0.97 * 0.97 * 0.97),
            (96, 0.97f64.powi(4)),
            (3499, 0.97f64.powi(145)),
            (35_000, 0.01),
        ] {
            let Rates { lr, bias_lr, .. } = schedule.at(batch);
            assert!((lr - 0.5 * share).abs() < 1e-12, "batch {batch}: {lr}");
            assert!((bias_lr - 0.5 * share).abs() < 1e-12, "batch {batch}: {bias_lr}");
        }
    }
}
