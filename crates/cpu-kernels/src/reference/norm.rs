//! Batch normalisation with an activation after it; maps are dense, `x[position * channels + channel]`.

use super::activation::{activate, derivative};
use crate::Activation;

/// Mean and biased variance of every channel.
pub fn statistics(x: &[f64], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let mean_of = |value: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        let rows = x.len() / channels;
        let column = |c: usize| (0..rows).map(move |row| value(c, x[row * channels + c]));
        (0..channels).map(|c| column(c).sum::<f64>() / rows as f64).collect()
    };
    let mean = mean_of(&|_, x| x);
    let var = mean_of(&|c, x| (x - mean[c]).powi(2));
    (mean, var)
}

/// One normalisation: statistics, affine parameters, and what follows.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Mean of every channel.
    pub mean: Vec<f64>,
    /// Reciprocal of the standard deviation of every channel.
    pub inv_std: Vec<f64>,
    /// Factor of every channel.
    pub gamma: Vec<f64>,
    /// Summand of every channel.
    pub beta: Vec<f64>,
    /// Applied to the result.
    pub activation: Activation,
}

impl Norm {
    /// `activation(gamma * (x - mean) * inv_std + beta)`.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.before_activation(x).into_iter().map(|z| activate(self.activation, z)).collect()
    }

    /// `gamma * (x - mean) * inv_std + beta`.
    pub fn before_activation(&self, x: &[f64]) -> Vec<f64> {
        let channels = self.mean.len();
        let value = |(i, x)| self.gamma[i % channels] * self.normalised(i, x) + self.beta[i % channels];
        x.iter().copied().enumerate().map(value).collect()
    }

    /// Gradients of `x`, `gamma` and `beta`, given that of the output; through the statistics if `batch_statistics`.
    pub fn backward(&self, x: &[f64], dy: &[f64], batch_statistics: bool) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let channels = self.mean.len();
        let rows = (x.len() / channels) as f64;
        let z = self.before_activation(x);
        let dz = |i: usize| dy[i] * derivative(self.activation, z[i]);
        let (mut d_gamma, mut d_beta) = (vec![0.0; channels], vec![0.0; channels]);
        for i in 0..x.len() {
            d_gamma[i % channels] += dz(i) * self.normalised(i, x[i]);
            d_beta[i % channels] += dz(i);
        }
        let dx = (0..x.len()).map(|i| {
            let c = i % channels;
            let through_statistics = (d_beta[c] + self.normalised(i, x[i]) * d_gamma[c]) / rows;
            self.gamma[c]
                * self.inv_std[c]
                * (dz(i) - if batch_statistics { through_statistics } else { 0.0 })
        });
        (dx.collect(), d_gamma, d_beta)
    }

    fn normalised(&self, index: usize, x: f64) -> f64 {
        let c = index % self.mean.len();
        (x - self.mean[c]) * self.inv_std[c]
    }
}
