//! From gradients to weights: accumulation, clipping, optimiser and moving average.

use crate::stages::Stages;
use crate::{
    Ema, LearnerState, Moments, Optimizer, OptimizerSettings, Ramp, Rates, Segment, TrainError,
    clip_gradient, full_accumulate,
};
use cpu_kernels::Isa;
use effyolo_config::{EmaRamp, TrainSpec};
use net_cpu::{ParamLayout, Params, Slot};

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
    /// Before the first step.
    pub(crate) fn new(params: &Params, spec: &TrainSpec, stages: &Stages, isa: Isa) -> Self {
        let Params { layout, trained, buffers } = params;
        let settings = OptimizerSettings {
            rule: spec.optimizer,
            beta1: spec.momentum,
            weight_decay: scaled_weight_decay(spec),
            isa,
        };
        let segments = segments(layout, stages);
        Stepper {
            optimizer: Optimizer::new(settings, segments, trained.len(), stages.parts()),
            ema: Ema::new(trained, buffers, 0, spec.ema_decay, ramp(spec), isa),
            gradients: vec![0.0; trained.len()],
            last_step: None,
            clip_norm: spec.clip_norm,
            isa,
        }
    }

    /// The first `frozen` stages are not stepped from here on, all others are.
    pub(crate) fn freeze(&mut self, frozen: usize) {
        self.optimizer.freeze(frozen);
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
fn lengths(state: &LearnerState) -> Vec<usize> {
    let LearnerState { trained, buffers, gradients, moments, ema_trained, ema_buffers, .. } = state;
    let Moments { first, second, steps } = moments;
    let vectors = [trained, buffers, gradients, first, second, ema_trained, ema_buffers];
    vectors.iter().map(|vector| vector.len()).chain([steps.len()]).collect()
}

/// Weight decay for the images that really go into a step, since the given one is meant for the nominal batch.
fn scaled_weight_decay(spec: &TrainSpec) -> f64 {
    let images = spec.batch * full_accumulate(spec);
    spec.weight_decay * images as f64 / spec.nominal_batch as f64
}

fn ramp(spec: &TrainSpec) -> Ramp {
    match spec.ema_ramp {
        EmaRamp::Exponential => Ramp::Exponential { tau: spec.ema_tau },
        EmaRamp::Updates => Ramp::Updates,
    }
}

/// What the optimiser steps: every trained parameter, by the stage that it belongs to.
fn segments(layout: &ParamLayout, stages: &Stages) -> Vec<Segment> {
    let segment = |(param, slot): (&net_graph::Param, &Slot)| match slot {
        Slot::Trained(range) => Some(Segment {
            range: range.clone(),
            role: param.role,
            part: stages.part(&param.name),
            lr_factor: stages.lr_factor(&param.name),
        }),
        Slot::Buffer(_) => None,
    };
    layout.iter().filter_map(segment).collect()
}
