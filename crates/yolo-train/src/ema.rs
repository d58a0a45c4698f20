//! Exponential moving average of everything a network holds.

use cpu_kernels::{Isa, optim};

/// Averaged parameters and running statistics. Validation and saved weights are the average's.
///
/// After step `t` (from 1) the decay is `decay * (1 - exp(-t / tau))`, so that the average follows quickly at first.
#[derive(Debug, Clone, PartialEq)]
pub struct Ema {
    /// Averaged trained parameters, laid out like the network's.
    pub trained: Vec<f32>,
    /// Averaged running statistics, and constants, laid out like the network's.
    pub buffers: Vec<f32>,
    /// Updates made.
    pub updates: u64,
    decay: f64,
    tau: f64,
    isa: Isa,
}

impl Ema {
    /// Starts at the given values, which have seen `updates` updates already.
    pub fn new(trained: &[f32], buffers: &[f32], updates: u64, decay: f64, tau: f64, isa: Isa) -> Self {
        Ema { trained: trained.to_vec(), buffers: buffers.to_vec(), updates, decay, tau, isa }
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
        self.decay * (1.0 - (-(update as f64) / self.tau).exp())
    }
}
