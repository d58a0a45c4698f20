//! One batch after another: forward, loss, backward, and every so often a step.

use crate::{
    Ema, HeadLogits, ImageBatch, LearnerState, Optimizer, OptimizerSettings, Rates, Segment, TrainError,
    Trainable, clip_gradient, full_accumulate, step_stream,
};
use box_geometry::AnchorGrid;
use cpu_kernels::Isa;
use effyolo_config::{LossGains, Rules, TrainSpec};
use net_cpu::{ParamLayout, Params, Slot};
use yolo_loss::{DetectionLoss, Gains, LossValue, Overlap, Targets, TaskAligned};

/// First part of the names of a backbone's parameters.
const BACKBONE: &str = "backbone.";

/// A network that learns, with everything that changes from step to step.
#[derive(Debug)]
pub struct Learner<N> {
    network: N,
    loss: DetectionLoss,
    strides: Vec<usize>,
    optimizer: Optimizer,
    ema: Ema,
    /// Summed since the last step.
    gradients: Vec<f32>,
    /// Number of the batch after which the last step was made.
    last_step: Option<usize>,
    clip_norm: f64,
    seed: u64,
    isa: Isa,
}

/// The loss of YOLOv8 for a head with that many classes and bins a side.
///
/// # Errors
/// When the head has no class or fewer than two bins.
pub fn detection_loss(
    gains: LossGains,
    rules: Rules,
    classes: usize,
    bins: usize,
) -> Result<DetectionLoss, TrainError> {
    let rules = match rules {
        Rules::Classic => yolo_loss::Rules::Classic,
        Rules::Current => yolo_loss::Rules::Current,
    };
    let gains = Gains { boxes: gains.boxes.into(), class: gains.class.into(), dfl: gains.dfl.into() };
    let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules };
    Ok(DetectionLoss::new(classes, bins, gains, assigner, Overlap::Ciou)?)
}

impl<N: Trainable> Learner<N> {
    /// A network before its first step. `strides` are those of the head's levels; parameters whose names begin with one
    /// of the `frozen` prefixes are not stepped.
    pub fn new(
        network: N,
        loss: DetectionLoss,
        strides: Vec<usize>,
        spec: &TrainSpec,
        frozen: &[String],
        isa: Isa,
    ) -> Self {
        let Params { layout, trained, buffers } = network.params();
        let settings = OptimizerSettings {
            rule: spec.optimizer,
            beta1: spec.momentum,
            weight_decay: scaled_weight_decay(spec),
            isa,
        };
        let optimizer =
            Optimizer::new(settings, segments(layout, frozen, spec.backbone_lr_factor), trained.len());
        let ema = Ema::new(trained, buffers, 0, spec.ema_decay, spec.ema_tau, isa);
        let gradients = vec![0.0; trained.len()];
        let (clip_norm, seed) = (spec.clip_norm, spec.seed);
        Learner { network, loss, strides, optimizer, ema, gradients, last_step: None, clip_norm, seed, isa }
    }

    /// Learns from batch `number` of the run, counted from 0.
    ///
    /// # Errors
    /// When the batch does not suit the network, or the loss is no longer a number.
    pub fn learn(
        &mut self,
        batch: ImageBatch<'_>,
        targets: &Targets,
        number: usize,
        rates: &Rates,
    ) -> Result<LossValue, TrainError> {
        let grid = AnchorGrid::for_input(batch.size, &self.strides)?;
        let logits = self.network.forward(batch, &mut step_stream(self.seed, number))?;
        let (loss, gradient) = self.value_and_gradient(&logits, &grid, targets)?;
        if !loss.total.is_finite() {
            return Err(TrainError::Diverged { batch: number, loss: loss.total });
        }
        self.network.backward(&gradient, &mut self.gradients);
        if self.is_step_due(number, rates.accumulate) {
            self.step(rates);
            self.last_step = Some(number);
        }
        Ok(loss)
    }

    fn value_and_gradient(
        &self,
        logits: &HeadLogits,
        grid: &AnchorGrid,
        targets: &Targets,
    ) -> Result<(LossValue, HeadLogits), TrainError> {
        let HeadLogits { boxes, classes } = logits;
        let mut gradient = HeadLogits { boxes: vec![0.0; boxes.len()], classes: vec![0.0; classes.len()] };
        let HeadLogits { boxes: d_boxes, classes: d_classes } = &mut gradient;
        let loss = self.loss.value_and_gradient(boxes, classes, grid, targets, d_boxes, d_classes)?;
        Ok((loss, gradient))
    }

    fn is_step_due(&self, number: usize, accumulate: usize) -> bool {
        let batches = self.last_step.map_or(number + 1, |last| number - last);
        batches >= accumulate
    }

    /// Clips, steps, forgets the gradient, and moves the average.
    fn step(&mut self, rates: &Rates) {
        clip_gradient(self.isa, &mut self.gradients, self.clip_norm);
        let params = self.network.params_mut();
        self.optimizer.step(&mut params.trained, &self.gradients, rates);
        self.gradients.fill(0.0);
        self.ema.update(&params.trained, &params.buffers);
    }

    /// The averaged weights, which are validated and saved.
    pub fn averaged(&self) -> Params {
        let layout = self.network.params().layout.clone();
        Params { layout, trained: self.ema.trained.clone(), buffers: self.ema.buffers.clone() }
    }

    /// The network as it is now.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The loss.
    pub fn loss(&self) -> &DetectionLoss {
        &self.loss
    }

    /// What to save, so that [`Learner::restore`] goes on from here.
    pub fn state(&self) -> LearnerState {
        let Params { trained, buffers, .. } = self.network.params();
        LearnerState {
            last_step: self.last_step,
            trained: trained.clone(),
            buffers: buffers.clone(),
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
    pub fn restore(&mut self, state: LearnerState) -> Result<(), TrainError> {
        let (expected, got) = (lengths(&self.state()), lengths(&state));
        if expected != got {
            return Err(TrainError::StateMismatch { expected, got });
        }
        let params = self.network.params_mut();
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
