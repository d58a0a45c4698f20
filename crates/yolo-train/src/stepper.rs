//! From gradients to weights: accumulation, clipping, optimiser and moving average.

use crate::{
    Ema, LearnerState, Optimizer, OptimizerSettings, Rates, Segment, TrainError, clip_gradient,
    full_accumulate,
};
use cpu_kernels::Isa;
use effyolo_config::TrainSpec;
use net_cpu::{ParamLayout, Params, Slot};

/// First part of the names of a backbone's parameters.
const BACKBONE: &str = "backbone.";

/// What changes from step to step beside the network itself.
#[derive(Debug)]
pub(crate) struct Stepper {
    optimizer: Optimizer,
    ema: Ema,
    /// Summed since the last step.
    gradients: Vec<f32>,
    /// Number of the batch after which the last step was made.
    last_step: Option<usize>,
    clip_norm: f64,
    isa: Isa,
}

impl Stepper {
    /// Before the first step. Parameters whose names begin with one of the `frozen` prefixes are not stepped.
    pub(crate) fn new(params: &Params, spec: &TrainSpec, frozen: &[String], isa: Isa) -> Self {
        let Params { layout, trained, buffers } = params;
        let settings = OptimizerSettings {
            rule: spec.optimizer,
            beta1: spec.momentum,
            weight_decay: scaled_weight_decay(spec),
            isa,
        };
        let segments = segments(layout, frozen, spec.backbone_lr_factor);
        Stepper {
            optimizer: Optimizer::new(settings, segments, trained.len()),
            ema: Ema::new(trained, buffers, 0, spec.ema_decay, spec.ema_tau, isa),
            gradients: vec![0.0; trained.len()],
            last_step: None,
            clip_norm: spec.clip_norm,
            isa,
        }
    }

    /// Where a backward pass adds its gradients.
    pub(crate) fn gradients(&mut self) -> &mut [f32] {
        &mut self.gradients
    }

    /// After the backward pass of batch `number`: steps if enough batches were summed.
    pub(crate) fn batch_done(&mut self, params: &mut Params, number: usize, rates: &Rates) {
        let batches = self.last_step.map_or(number + 1, |last| number - last);
        if batches < rates.accumulate {
            return;
        }
        clip_gradient(self.isa, &mut self.gradients, self.clip_norm);
        self.optimizer.step(&mut params.trained, &self.gradients, rates);
        self.gradients.fill(0.0);
        self.ema.update(&params.trained, &params.buffers);
        self.last_step = Some(number);
    }

    /// The averaged parameters.
    pub(crate) fn averaged(&self, params: &Params) -> Params {
        Params {
            layout: params.layout.clone(),
            trained: self.ema.trained.clone(),
            buffers: self.ema.buffers.clone(),
        }
    }

    /// Bytes of the vectors kept here and of the network's own.
    pub(crate) fn bytes(&self, params: &Params) -> usize {
        let moments = self.optimizer.moments();
        let vectors = [
            &self.gradients,
            &moments.first,
            &moments.second,
            &self.ema.trained,
            &self.ema.buffers,
            &params.trained,
            &params.buffers,
        ];
        vectors.iter().map(|vector| vector.len() * size_of::<f32>()).sum()
    }

    /// What to save.
    pub(crate) fn state(&self, params: &Params) -> LearnerState {
        LearnerState {
            last_step: self.last_step,
            trained: params.trained.clone(),
            buffers: params.buffers.clone(),
            gradients: self.gradients.clone(),
            moments: self.optimizer.moments().clone(),
            ema_trained: self.ema.trained.clone(),
            ema_buffers: self.ema.buffers.clone(),
            ema_updates: self.ema.updates,
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another network or optimiser; nothing is changed then.
    pub(crate) fn restore(&mut self, params: &mut Params, state: LearnerState) -> Result<(), TrainError> {
        let (expected, got) = (lengths(&self.state(params)), lengths(&state));
        if expected != got {
            return Err(TrainError::StateMismatch { expected, got });
        }
        (params.trained, params.buffers) = (state.trained, state.buffers);
        self.gradients = state.gradients;
        self.optimizer.restore(state.moments);
        (self.ema.trained, self.ema.buffers, self.ema.updates) =
            (state.ema_trained, state.ema_buffers, state.ema_updates);
        self.last_step = state.last_step;
        Ok(())
    }
}

/// Lengths of all vectors of a state.
fn lengths(state: &LearnerState) -> [usize; 7] {
    let LearnerState { trained, buffers, gradients, moments, ema_trained, ema_buffers, .. } = state;
    [trained, buffers, gradients, &moments.first, &moments.second, ema_trained, ema_buffers]
        .map(|vector| vector.len())
}

/// Weight decay for the images that really go into a step, since the given one is meant for the nominal batch.
fn scaled_weight_decay(spec: &TrainSpec) -> f64 {
    let images = spec.batch * full_accumulate(spec);
    spec.weight_decay * images as f64 / spec.nominal_batch as f64
}

/// What the optimiser steps: every trained parameter that is not frozen.
fn segments(layout: &ParamLayout, frozen: &[String], backbone_factor: f64) -> Vec<Segment> {
    let is_frozen = |name: &str| frozen.iter().any(|prefix| name.starts_with(prefix));
    let segment = |(param, slot): (&net_graph::Param, &Slot)| match slot {
        Slot::Trained(range) if !is_frozen(&param.name) => Some(Segment {
            range: range.clone(),
            role: param.role,
            lr_factor: if param.name.starts_with(BACKBONE) { backbone_factor } else { 1.0 },
        }),
        _ => None,
    };
    layout.iter().filter_map(segment).collect()
}
