//! Optimisers over the flat vector of trained parameters, and clipping of its gradient.

use crate::Rates;
use effyolo_config::Optimizer as Rule;
use net_graph::Role;
use std::ops::Range;

/// Decay of AdamW's second moment.
const BETA2: f64 = 0.999;
/// Added to the root of AdamW's second moment.
const EPSILON: f64 = 1e-8;

/// Consecutive trained values that are stepped alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Where they lie in the flat vector.
    pub range: Range<usize>,
    /// What they are for: weights decay, biases have a learning rate of their own during warm-up.
    pub role: Role,
    /// Factor on the learning rate.
    pub lr_factor: f64,
}

/// What an optimiser is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerSettings {
    /// Update rule: SGD with Nesterov momentum (Sutskever et al., 2013) or AdamW (Loshchilov and Hutter, 2019).
    pub rule: Rule,
    /// AdamW's beta1. SGD takes its momentum from the [`Rates`] of each step.
    pub beta1: f64,
    /// Decay of weights: SGD adds it to the gradient, AdamW shrinks the weight itself.
    pub weight_decay: f64,
}

/// The moments an optimiser carries from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Momentum buffer of SGD, first moment of AdamW; one value a parameter.
    pub first: Vec<f32>,
    /// Second moment of AdamW; empty for SGD.
    pub second: Vec<f32>,
    /// Steps made.
    pub steps: u64,
}

/// An optimiser and its moments.
///
/// Values outside every segment (frozen stages) never change.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: OptimizerSettings,
    segments: Vec<Segment>,
    moments: Moments,
}

impl Optimizer {
    /// An optimiser of `len` parameters that has made no step.
    pub fn new(settings: OptimizerSettings, segments: Vec<Segment>, len: usize) -> Self {
        let second = if settings.rule == Rule::AdamW { vec![0.0; len] } else { Vec::new() };
        Optimizer { settings, segments, moments: Moments { first: vec![0.0; len], second, steps: 0 } }
    }

    /// The moments, to save them.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Goes on from saved moments.
    ///
    /// # Panics
    /// When they belong to another rule or another number of parameters.
    pub fn restore(&mut self, moments: Moments) {
        assert_eq!(moments.first.len(), self.moments.first.len(), "first moments");
        assert_eq!(moments.second.len(), self.moments.second.len(), "second moments");
        self.moments = moments;
    }

    /// One step on `params` against `grads`.
    pub fn step(&mut self, params: &mut [f32], grads: &[f32], rates: &Rates) {
        self.moments.steps += 1;
        for segment in &self.segments {
            let range = segment.range.clone();
            let base = if segment.role == Role::Bias { rates.bias_lr } else { rates.lr };
            let lr = base * segment.lr_factor;
            let decay = if segment.role == Role::Weight { self.settings.weight_decay } else { 0.0 };
            let (params, grads) = (&mut params[range.clone()], &grads[range.clone()]);
            let first = &mut self.moments.first[range.clone()];
            match self.settings.rule {
                Rule::Sgd => nesterov(params, grads, first, lr, rates.momentum, decay),
                Rule::AdamW => {
                    let second = &mut self.moments.second[range];
                    adamw(params, grads, first, second, lr, self.settings.beta1, decay, self.moments.steps);
                }
            }
        }
    }
}

/// `buffer = momentum * buffer + g`, `p -= lr * (g + momentum * buffer)` with `g = grad + decay * p`.
fn nesterov(params: &mut [f32], grads: &[f32], buffer: &mut [f32], lr: f64, momentum: f64, decay: f64) {
    let (lr, momentum, decay) = (lr as f32, momentum as f32, decay as f32);
    for ((p, g), buffer) in params.iter_mut().zip(grads).zip(buffer) {
        let g = g + decay * *p;
        *buffer = momentum * *buffer + g;
        *p -= lr * (g + momentum * *buffer);
    }
}

/// Adam with bias correction and a decay apart from the gradient.
fn adamw(
    params: &mut [f32],
    grads: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    lr: f64,
    beta1: f64,
    decay: f64,
    step: u64,
) {
    let keep = (1.0 - lr * decay) as f32;
    let step_size = (lr / (1.0 - beta1.powf(step as f64))) as f32;
    let root_scale = (1.0 / (1.0 - BETA2.powf(step as f64)).sqrt()) as f32;
    let (new1, new2, epsilon) = ((1.0 - beta1) as f32, (1.0 - BETA2) as f32, EPSILON as f32);
    for (((p, g), first), second) in params.iter_mut().zip(grads).zip(first).zip(second) {
        *first += new1 * (g - *first);
        *second += new2 * (g * g - *second);
        *p = keep * *p - step_size * *first / (second.sqrt() * root_scale + epsilon);
    }
}

/// Scales the gradient so that its norm over all parameters is at most `max_norm`; returns the norm before that.
pub fn clip_gradient(grads: &mut [f32], max_norm: f64) -> f64 {
    let norm = gradient_norm(grads);
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        grads.iter_mut().for_each(|g| *g *= factor as f32);
    }
    norm
}

/// Euclidean norm, summed in `f64`.
fn gradient_norm(grads: &[f32]) -> f64 {
    // Eight partial sums, so that the additions do not wait for each other.
    let mut sums = [0.0f64; 8];
    let chunks = grads.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&g| g as f64 * g as f64).sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &g)| *sum += g as f64 * g as f64);
    }
    (sums.iter().sum::<f64>() + rest).sqrt()
}
