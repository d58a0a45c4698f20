//! Optimisers over the flat vector of trained parameters, and clipping of its gradient.

use crate::Rates;
use cpu_kernels::Isa;
use cpu_kernels::optim::{self, RmsPropForm};
use effyolo_config::Optimizer as Rule;
use net_graph::Role;
use std::ops::Range;

/// Decay of AdamW's second moment.
const BETA2: f64 = 0.999;
/// Added to the root of AdamW's second moment.
const EPSILON: f64 = 1e-8;
/// Decay of RMSProp's mean square, and what is added to it: those of EfficientNet's recipe.
const RMSPROP: (f64, f64) = (0.9, 1e-3);

/// Consecutive trained values that are stepped alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Where they lie in the flat vector.
    pub range: Range<usize>,
    /// What they are for: weights decay, biases have a learning rate of their own during warm-up.
    pub role: Role,
    /// Part of the network that they belong to; see [`Optimizer::freeze`].
    pub part: usize,
    /// Factor on the learning rate.
    pub lr_factor: f64,
}

/// What an optimiser is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerSettings {
    /// Update rule: SGD with Nesterov momentum (Sutskever et al., 2013), AdamW (Loshchilov and Hutter, 2019), or
    /// RMSProp in TensorFlow's or PyTorch's form.
    pub rule: Rule,
    /// AdamW's beta1. SGD and RMSProp take their momentum from the [`Rates`] of each step.
    pub beta1: f64,
    /// Decay of weights: SGD and RMSProp add it to the gradient, AdamW shrinks the weight itself.
    pub weight_decay: f64,
    /// Instruction set that the steps run on.
    pub isa: Isa,
}

/// The moments an optimiser carries from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Momentum buffer of SGD and RMSProp, first moment of AdamW; one value a parameter.
    pub first: Vec<f32>,
    /// Second moment of AdamW, mean square of RMSProp; empty for SGD.
    pub second: Vec<f32>,
    /// Steps that each part of the network has made: one that was frozen begins later than the others.
    pub steps: Vec<u64>,
}

/// An optimiser and its moments.
///
/// Values outside every segment never change.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: OptimizerSettings,
    segments: Vec<Segment>,
    moments: Moments,
    /// Parts, from the first, that are not stepped.
    frozen: usize,
}

impl Optimizer {
    /// An optimiser of `len` parameters in so many parts that has made no step.
    pub fn new(settings: OptimizerSettings, segments: Vec<Segment>, len: usize, parts: usize) -> Self {
        let second = match settings.rule {
            Rule::Sgd => Vec::new(),
            Rule::AdamW | Rule::RmsPropTorch => vec![0.0; len],
            Rule::RmsProp => vec![1.0; len],
        };
        let moments = Moments { first: vec![0.0; len], second, steps: vec![0; parts] };
        Optimizer { settings, segments, moments, frozen: 0 }
    }

    /// From the next step on, the first `parts` parts and their moments stay as they are, and no others.
    pub fn freeze(&mut self, parts: usize) {
        self.frozen = parts;
    }

    /// The moments, to save them.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Goes on from saved moments.
    ///
    /// # Panics
    /// When they belong to another rule or another number of parameters or parts.
    pub fn restore(&mut self, moments: Moments) {
        assert_eq!(moments.first.len(), self.moments.first.len(), "first moments");
        assert_eq!(moments.second.len(), self.moments.second.len(), "second moments");
        assert_eq!(moments.steps.len(), self.moments.steps.len(), "steps of each part");
        self.moments = moments;
    }

    /// One step on `params` against `grads`.
    ///
    /// # Panics
    /// When a segment belongs to a part that there is not.
    pub fn step(&mut self, params: &mut [f32], grads: &[f32], rates: &Rates) {
        self.moments.steps.iter_mut().skip(self.frozen).for_each(|steps| *steps += 1);
        let OptimizerSettings { rule, beta1, weight_decay, isa } = self.settings;
        let (rho, eps) = RMSPROP;
        let Moments { first, second, steps } = &mut self.moments;
        for Segment { range, role, part, lr_factor } in &self.segments {
            if *part < self.frozen {
                continue;
            }
            let steps = steps[*part];
            let lr = lr_factor * if *role == Role::Bias { rates.bias_lr } else { rates.lr };
            let decay = if *role == Role::Weight { weight_decay } else { 0.0 };
            let (p, g, m) = (&mut params[range.clone()], &grads[range.clone()], &mut first[range.clone()]);
            match rule {
                Rule::Sgd => optim::sgd_nesterov(isa, lr, rates.momentum, decay, steps == 1, g, m, p),
                Rule::AdamW => {
                    let v = &mut second[range.clone()];
                    optim::adamw(isa, lr, beta1, BETA2, EPSILON, decay, steps, g, m, v, p);
                }
                Rule::RmsProp | Rule::RmsPropTorch => {
                    let form = match rule {
                        Rule::RmsProp => RmsPropForm::TensorFlow,
                        _ => RmsPropForm::PyTorch,
                    };
                    let ms = &mut second[range.clone()];
                    optim::rmsprop(isa, form, lr, rho, rates.momentum, eps, decay, g, m, ms, p);
                }
            }
        }
    }
}

/// Scales the gradient so that its norm over all parameters is at most `max_norm`; returns the norm before that.
pub fn clip_gradient(isa: Isa, grads: &mut [f32], max_norm: f64) -> f64 {
    let norm = optim::norm_squared(isa, grads).sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        optim::scale(isa, factor as f32, grads);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 4] = [Rule::Sgd, Rule::AdamW, Rule::RmsProp, Rule::RmsPropTorch];
    const RATES: Rates = Rates { lr: 0.1, bias_lr: 0.1, momentum: 0.9, accumulate: 1 };

    /// One value in each of two parts.
    fn optimizer(rule: Rule) -> Optimizer {
        let settings = OptimizerSettings { rule, beta1: 0.9, weight_decay: 0.01, isa: Isa::best() };
        let segment = |part| Segment { range: part..part + 1, role: Role::Weight, part, lr_factor: 1.0 };
        Optimizer::new(settings, vec![segment(0), segment(1)], 2, 2)
    }

    #[test]
    fn a_part_that_was_frozen_begins_as_if_it_were_the_first_step() {
        for rule in RULES {
            let (mut fresh, mut late) = (optimizer(rule), optimizer(rule));
            let mut expected = [1.0, 1.0];
            fresh.step(&mut expected, &[0.3, 0.0], &RATES);
            let mut params = [1.0, 1.0];
            late.freeze(1);
            for _ in 0..5 {
                late.step(&mut params, &[0.0, 0.7], &RATES);
            }
            assert_eq!(params[0], 1.0, "{rule:?}");
            assert!(params[1] < 0.9, "{rule:?}: {params:?}");
            late.freeze(0);
            late.step(&mut params, &[0.3, 0.7], &RATES);
            assert_eq!((params[0], &*late.moments().steps), (expected[0], &[1, 6][..]), "{rule:?}");
        }
    }
}
