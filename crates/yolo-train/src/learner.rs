//! One batch after another: forward, loss, backward, and every so often a step.

use crate::stages::Stages;
use crate::stepper::Stepper;
use crate::{ImageBatch, LearnerState, Objective, Rates, TrainError, Trainable, step_stream};
use cpu_kernels::Isa;
use effyolo_config::TrainSpec;
use net_cpu::Params;
use std::time::{Duration, Instant};

/// A network that learns, with everything that changes from step to step.
#[derive(Debug)]
pub struct Learner<N, O> {
    network: N,
    objective: O,
    stepper: Stepper,
    stages: Stages,
    epochs: usize,
    seed: u64,
}

impl<N: Trainable, O: Objective<Logits = N::Logits>> Learner<N, O> {
    /// A network before its first step. `stages` are the beginnings of the names of the parameters of each backbone
    /// stage, the stem first: `spec` says which of them learn when, and how fast.
    pub fn new(network: N, objective: O, spec: &TrainSpec, stages: &[Vec<String>], isa: Isa) -> Self {
        let stages = Stages::new(stages, spec);
        let stepper = Stepper::new(network.params(), spec, &stages, isa);
        let mut learner =
            Learner { network, objective, stepper, stages, epochs: spec.epochs, seed: spec.seed };
        learner.begin_epoch(0);
        learner
    }

    /// Freezes the stages that stay as they are in an epoch (from 0), and no others.
    pub fn begin_epoch(&mut self, epoch: usize) {
        let frozen = self.stages.frozen(epoch);
        self.network.freeze(self.stages.prefixes(frozen));
        self.stepper.freeze(frozen);
    }

    /// Learns from batch `number` of the run, counted from 0.
    ///
    /// # Errors
    /// When the batch does not suit the network, or the loss is no longer a number.
    pub fn learn(
        &mut self,
        batch: ImageBatch<'_>,
        targets: &O::Targets,
        number: usize,
        rates: &Rates,
    ) -> Result<O::Value, TrainError> {
        let logits = self.network.forward(batch, &mut step_stream(self.seed, number))?;
        let (value, gradient) = self.objective.value_and_gradient(&logits, batch.size, targets)?;
        let loss = O::total(&value);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { batch: number, loss });
        }
        self.network.backward(&gradient, self.stepper.gradients());
        self.stepper.batch_done(self.network.params_mut(), number, rates);
        Ok(value)
    }

    /// Time of a forward and backward pass of the last epoch, in which the most is learned; the second of two. The
    /// network's values are left as they were; [`Learner::begin_epoch`] must come before the next batch.
    ///
    /// # Errors
    /// When the batch does not suit the network.
    pub fn rehearse(&mut self, batch: ImageBatch<'_>, targets: &O::Targets) -> Result<Duration, TrainError> {
        self.begin_epoch(self.epochs.saturating_sub(1));
        let before = self.network.params().clone();
        let mut gradients = vec![0.0; before.trained.len()];
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let started = Instant::now();
            let logits = self.network.forward(batch, &mut step_stream(self.seed, 0))?;
            let (_, gradient) = self.objective.value_and_gradient(&logits, batch.size, targets)?;
            self.network.backward(&gradient, &mut gradients);
            took = started.elapsed();
        }
        *self.network.params_mut() = before;
        Ok(took)
    }

    /// Bytes of the network's activations and of all parameters, gradients, moments and averages.
    pub fn bytes(&self) -> usize {
        self.network.activation_bytes() + self.stepper.bytes(self.network.params())
    }

    /// The averaged weights, which are validated and saved.
    pub fn averaged(&self) -> Params {
        self.stepper.averaged(self.network.params())
    }

    /// The network as it is now.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// What is learned.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// What to save, so that [`Learner::restore`] goes on from here.
    pub fn state(&self) -> LearnerState {
        self.stepper.state(self.network.params())
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another network or optimiser; nothing is changed then.
    pub fn restore(&mut self, state: LearnerState) -> Result<(), TrainError> {
        self.stepper.restore(self.network.params_mut(), state)
    }
}
