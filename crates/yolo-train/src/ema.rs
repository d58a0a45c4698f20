//! Exponential moving average of everything a network holds.

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
}

impl Ema {
    /// Starts at the given values, which have seen `updates` updates already.
    pub fn new(trained: &[f32], buffers: &[f32], updates: u64, decay: f64, tau: f64) -> Self {
        Ema { trained: trained.to_vec(), buffers: buffers.to_vec(), updates, decay, tau }
    }

    /// Moves towards the network's values after an optimiser step.
    ///
    /// # Panics
    /// When the lengths differ from those at the start.
    pub fn update(&mut self, trained: &[f32], buffers: &[f32]) {
        self.updates += 1;
        let weight = (1.0 - self.decay_at(self.updates)) as f32;
        blend(&mut self.trained, trained, weight);
        blend(&mut self.buffers, buffers, weight);
    }

    /// Decay of an update, counted from 1.
    pub fn decay_at(&self, update: u64) -> f64 {
        self.decay * (1.0 - (-(update as f64) / self.tau).exp())
    }
}

/// `average += weight * (value - average)`: a value that never changes stays exact.
fn blend(average: &mut [f32], values: &[f32], weight: f32) {
    assert_eq!(average.len(), values.len(), "number of averaged values");
    average.iter_mut().zip(values).for_each(|(average, value)| *average += weight * (value - *average));
}
