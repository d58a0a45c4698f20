//! Exponential moving average of everything a network holds.

use cpu_kernels::{Isa, optim};

/// How the decay ramps up over the updates, so that the average follows quickly at first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ramp {
    /// `decay * (1 - exp(-t / tau))` at update `t`, from 1.
    Exponential {
        /// Updates over which it goes up.
        tau: f64,
    },
    /// `min(decay, (1 + t) / (10 + t))` at update `t`, from 1: TensorFlow's, by which EfficientNet was trained.
    Updates,
}

/// Averaged parameters and running statistics. Validation and saved weights are the average's.
#[derive(Debug, Clone, PartialEq)]
pub struct Ema {
    /// Averaged trained parameters, laid out like the network's.
    pub trained: Vec<f32>,
    /// Averaged running statistics, and constants, laid out like the network's.
    pub buffers: Vec<f32>,
    /// Updates made.
    pub updates: u64,
    decay: f64,
    ramp: Ramp,
    isa: Isa,
}

impl Ema {
    /// Starts at the given values, which have seen `updates` updates already.
    pub fn new(trained: &[f32], buffers: &[f32], updates: u64, decay: f64, ramp: Ramp, isa: Isa) -> Self {
        Ema { trained: trained.to_vec(), buffers: buffers.to_vec(), updates, decay, ramp, isa }
    }

    /// Moves towards the network's values after an optimiser step.
    ///
    /// # Panics
    /// When the lengths differ from those at the start.
    pub fn update(&mut self, trained: &[f32], buffers: &[f32]) {
        self.updates += 1;
        let decay = self.decay_at(self.updates) as f32;
        optim::lerp(self.isa, decay, trained, &mut self.trained);
        optim::lerp(self.isa, decay, buffers, &mut self.buffers);
    }

    /// Decay of an update, counted from 1.
    pub fn decay_at(&self, update: u64) -> f64 {
        let update = update as f64;
        match self.ramp {
            Ramp::Exponential { tau } => self.decay * (1.0 - (-update / tau).exp()),
            Ramp::Updates => self.decay.min((1.0 + update) / (10.0 + update)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_by_updates_ends_at_the_decay() {
        let ema = Ema::new(&[], &[], 0, 0.9999, Ramp::Updates, Isa::best());
        assert_eq!([1, 10, 90].map(|update| ema.decay_at(update)), [2.0 / 11.0, 11.0 / 20.0, 91.0 / 100.0]);
        assert_eq!(ema.decay_at(1_000_000), 0.9999);
    }
}
