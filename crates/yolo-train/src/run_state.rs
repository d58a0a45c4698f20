//! The state of a run: everything that an uninterrupted one would have in memory at the same batch.

use crate::safetensors_file::{Checked, FORMAT, floats, save};
use crate::{Moments, Progress, TrainError, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything a run needs to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// How far it is.
    pub progress: Progress,
    /// What changes from step to step.
    pub learner: LearnerState,
}

/// What a [`crate::Learner`] carries from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerState {
    /// Number of the batch after which the last step was made; `None` before the first.
    pub last_step: Option<usize>,
    /// Trained values.
    pub trained: Vec<f32>,
    /// Running statistics and constants.
    pub buffers: Vec<f32>,
    /// Gradients summed since the last step.
    pub gradients: Vec<f32>,
    /// Moments of the optimiser.
    pub moments: Moments,
    /// Averaged trained values.
    pub ema_trained: Vec<f32>,
    /// Averaged running statistics.
    pub ema_buffers: Vec<f32>,
    /// Updates of the average.
    pub ema_updates: u64,
}

/// The numbers of a [`RunState`] that are no tensors.
#[derive(Debug, Serialize, Deserialize)]
struct StateCard {
    format: u32,
    progress: Progress,
    last_step: Option<usize>,
    optimizer_steps: Vec<u64>,
    ema_updates: u64,
}

impl RunState {
    /// Writes the state.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let learner = &self.learner;
        let card = StateCard {
            format: FORMAT,
            progress: self.progress.clone(),
            last_step: learner.last_step,
            optimizer_steps: learner.moments.steps.clone(),
            ema_updates: learner.ema_updates,
        };
        let vectors = [
            ("trained", &learner.trained),
            ("buffers", &learner.buffers),
            ("gradients", &learner.gradients),
            ("first_moment", &learner.moments.first),
            ("second_moment", &learner.moments.second),
            ("ema_trained", &learner.ema_trained),
            ("ema_buffers", &learner.ema_buffers),
        ];
        save(
            path,
            vectors.map(|(name, values)| (name.to_string(), vec![values.len()], &values[..])).into(),
            &card,
        )
    }

    /// Reads a state.
    ///
    /// # Errors
    /// When the file cannot be read or is none of ours.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        Self::parse(&files::read(path)?, &path.display().to_string())
    }

    /// Reads the bytes of a state; `origin` is its name in messages.
    ///
    /// # Errors
    /// As [`RunState::read`].
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Self, TrainError> {
        let no_state = |reason: String| TrainError::WeightsFormat { origin: origin.into(), reason };
        let file = Checked::parse(bytes, origin)?;
        let card: StateCard = file.card()?.ok_or_else(|| no_state("expected the state of a run".into()))?;
        let vector = |name: &str| {
            let view = file.tensors.tensor(name).ok();
            view.and_then(|view| floats(&view))
                .ok_or_else(|| no_state(format!("expected a vector of floats `{name}`")))
        };
        let learner = LearnerState {
            last_step: card.last_step,
            trained: vector("trained")?,
            buffers: vector("buffers")?,
            gradients: vector("gradients")?,
            moments: Moments {
                first: vector("first_moment")?,
                second: vector("second_moment")?,
                steps: card.optimizer_steps,
            },
            ema_trained: vector("ema_trained")?,
            ema_buffers: vector("ema_buffers")?,
            ema_updates: card.ema_updates,
        };
        Ok(RunState { progress: card.progress, learner })
    }
}
