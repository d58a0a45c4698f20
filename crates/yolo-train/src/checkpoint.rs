//! Weights in safetensors files, and the state from which a run goes on.
//!
//! A weights file holds the averaged (EMA) weights by name and a [`ModelCard`], so that validation and prediction need
//! nothing else. A state file holds everything an uninterrupted run would have in memory after the same epoch.

use crate::{EpochRow, Moments, TrainError, files};
use net_cpu::{ParamLayout, Params, Slot};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Version of the files that this crate writes.
const FORMAT: u32 = 1;
/// The one key of the file's metadata; its value is JSON. (Several keys would be written in a random order.)
const METADATA_KEY: &str = "effyolo";
/// Counters that PyTorch keeps beside running statistics and that nothing here needs.
const UNUSED_COUNTER: &str = "num_batches_tracked";
/// Where a backbone's parameters live in a detector.
const BACKBONE: &str = "backbone.";

/// What a weights file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of the file format.
    pub format: u32,
    /// The model's configuration, as YAML text.
    pub model: String,
    /// Names of the classes, by number.
    pub names: Vec<String>,
    /// Side of the training images in pixels.
    pub image_size: usize,
    /// Epochs behind these weights.
    pub epoch: usize,
    /// Fitness that validation gave them.
    pub fitness: f64,
}

impl ModelCard {
    /// A card of the current format.
    pub fn new(model: String, names: Vec<String>, image_size: usize) -> Self {
        ModelCard { format: FORMAT, model, names, image_size, epoch: 0, fitness: 0.0 }
    }
}

/// A tensor of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedValues {
    /// Dimensions in PyTorch's order.
    pub dims: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f32>,
}

/// The content of a weights file, ours or another tool's.
#[derive(Debug, Clone)]
pub struct WeightsFile {
    /// Where it was read from.
    pub origin: String,
    /// Our metadata; `None` for another tool's file.
    pub card: Option<ModelCard>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, NamedValues>,
}

/// What became of each name when weights were loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Parameters of the network that were set.
    pub loaded: Vec<String>,
    /// Parameters of the network that the file lacks.
    pub missing: Vec<String>,
    /// Names of the file that the network lacks.
    pub unexpected: Vec<String>,
    /// Parameters whose dimensions differ: name, expected, got.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl WeightsFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, holds something else than 32-bit floats, or has a newer format than ours.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        Self::parse(&files::read(path)?, &path.display().to_string())
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self, TrainError> {
        let file = open(bytes, origin)?;
        let card: Option<ModelCard> = metadata(bytes, origin)?;
        if let Some(card) = &card
            && card.format > FORMAT
        {
            let reason = format!(
                "expected format {FORMAT} or older, got {}; use a newer version of this program",
                card.format
            );
            return Err(TrainError::WeightsFormat { origin: origin.into(), reason });
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter().filter(|(name, _)| !name.ends_with(UNUSED_COUNTER)) {
            let values = floats(&view).ok_or_else(|| TrainError::WeightsFormat {
                origin: origin.into(),
                reason: format!("tensor `{name}`: expected 32-bit floats, got {:?}", view.dtype()),
            })?;
            tensors.insert(name.to_string(), NamedValues { dims: view.shape().to_vec(), values });
        }
        Ok(WeightsFile { origin: origin.to_string(), card, tensors })
    }

    /// Our metadata.
    ///
    /// # Errors
    /// When another tool wrote the file.
    pub fn card(&self) -> Result<&ModelCard, TrainError> {
        self.card.as_ref().ok_or_else(|| TrainError::WeightsFormat {
            origin: self.origin.clone(),
            reason: "expected a file written by `effyolo train` (with its model and class names), got bare tensors".into(),
        })
    }

    /// Sets every parameter of the network.
    ///
    /// # Errors
    /// When a name is missing, unexpected or of other dimensions; all of them are named, and nothing is set.
    pub fn load_all(&self, params: &mut Params) -> Result<(), TrainError> {
        let report = self.compare(&params.layout, str::to_string);
        if !(report.missing.is_empty() && report.unexpected.is_empty() && report.misshaped.is_empty()) {
            return Err(TrainError::WeightsMismatch {
                origin: self.origin.clone(),
                report: Box::new(report),
            });
        }
        self.copy(params, &report.loaded, str::to_string);
        Ok(())
    }

    /// Sets what fits, as a start for training: names as they are, or, for a bare backbone, below `backbone.`.
    ///
    /// Parameters of other dimensions keep their values (the head, for another number of classes); the report names
    /// them, and the names that were not used (a backbone's classifier).
    ///
    /// # Errors
    /// When nothing fits, or only a part of the backbone.
    pub fn load_pretrained(&self, params: &mut Params) -> Result<LoadReport, TrainError> {
        let layout = params.layout.clone();
        let rename = |name: &str| match layout.find(name) {
            Some(_) => name.to_string(),
            None => format!("{BACKBONE}{name}"),
        };
        let report = self.compare(&layout, rename);
        let in_backbone = |name: &String| name.starts_with(BACKBONE);
        let half_backbone = report.missing.iter().any(in_backbone)
            || report.misshaped.iter().any(|(name, ..)| in_backbone(name));
        if report.loaded.is_empty() || half_backbone {
            return Err(TrainError::WeightsMismatch {
                origin: self.origin.clone(),
                report: Box::new(report),
            });
        }
        self.copy(params, &report.loaded, rename);
        Ok(report)
    }

    fn compare(&self, layout: &ParamLayout, rename: impl Fn(&str) -> String) -> LoadReport {
        let mut report = LoadReport::default();
        for (name, tensor) in &self.tensors {
            let target = rename(name);
            match layout.find(&target) {
                None => report.unexpected.push(name.clone()),
                Some((param, _)) if param.dims != tensor.dims => {
                    report.misshaped.push((target, param.dims.clone(), tensor.dims.clone()));
                }
                Some(_) => report.loaded.push(target),
            }
        }
        report.loaded.sort();
        let known = |name: &String| {
            report.loaded.binary_search(name).is_ok()
                || report.misshaped.iter().any(|(shaped, ..)| shaped == name)
        };
        report.missing =
            layout.iter().map(|(param, _)| param.name.clone()).filter(|name| !known(name)).collect();
        report
    }

    /// Copies the tensors whose new names are among `wanted` (sorted).
    fn copy(&self, params: &mut Params, wanted: &[String], rename: impl Fn(&str) -> String) {
        for (name, tensor) in &self.tensors {
            let target = rename(name);
            if wanted.binary_search(&target).is_ok() {
                params.set(&target, &tensor.values).expect("names and dimensions were compared");
            }
        }
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} parameters fit", self.loaded.len())?;
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", listed(names))?;
            }
        }
        for (name, expected, got) in self.misshaped.iter().take(LISTED) {
            write!(f, "; `{name}`: expected {expected:?}, got {got:?}")?;
        }
        match self.misshaped.len().checked_sub(LISTED) {
            Some(more @ 1..) => write!(f, " and {more} more of other dimensions"),
            _ => Ok(()),
        }
    }
}

/// Names that a message spells out.
const LISTED: usize = 8;

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(LISTED) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// Writes weights by name, with their card.
///
/// # Errors
/// When the file cannot be written.
pub fn save_weights(path: &Path, params: &Params, card: &ModelCard) -> Result<(), TrainError> {
    let tensors = params
        .layout
        .iter()
        .map(|(param, slot): (_, &Slot)| (param.name.clone(), param.dims.clone(), params.slice(slot)));
    save(path, tensors.collect(), card)
}

/// Everything a run needs to go on after an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// Epochs done.
    pub epoch: usize,
    /// Best fitness so far.
    pub best_fitness: f64,
    /// Rows of `results.csv` so far.
    pub rows: Vec<EpochRow>,
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
    epoch: usize,
    best_fitness: f64,
    rows: Vec<EpochRow>,
    last_step: Option<usize>,
    optimizer_steps: u64,
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
            epoch: self.epoch,
            best_fitness: self.best_fitness,
            rows: self.rows.clone(),
            last_step: learner.last_step,
            optimizer_steps: learner.moments.steps,
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
        let (bytes, origin) = (files::read(path)?, path.display().to_string());
        let no_state = |reason: String| TrainError::WeightsFormat { origin: origin.clone(), reason };
        let card: StateCard =
            metadata(&bytes, &origin)?.ok_or_else(|| no_state("expected the state of a run".into()))?;
        let file = open(&bytes, &origin)?;
        let vector = |name: &str| {
            let view = file.tensor(name).ok();
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
        Ok(RunState { epoch: card.epoch, best_fitness: card.best_fitness, rows: card.rows, learner })
    }
}

fn save(
    path: &Path,
    tensors: Vec<(String, Vec<usize>, &[f32])>,
    card: &impl Serialize,
) -> Result<(), TrainError> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, dims, values)| (name, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, dims, data)| {
        (name, TensorView::new(Dtype::F32, dims.clone(), data).expect("as many values as the dimensions say"))
    });
    let card = serde_json::to_string(card).expect("a card of plain values always serialises");
    let file = safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_string(), card)])))
        .expect("unique names and whole tensors always serialise");
    files::write_atomically(path, &file)
}

fn open<'a>(bytes: &'a [u8], origin: &str) -> Result<SafeTensors<'a>, TrainError> {
    SafeTensors::deserialize(bytes)
        .map_err(|source| TrainError::Safetensors { origin: origin.to_string(), source })
}

/// Our part of a file's metadata, if it has one.
fn metadata<T: DeserializeOwned>(bytes: &[u8], origin: &str) -> Result<Option<T>, TrainError> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|source| TrainError::Safetensors { origin: origin.to_string(), source })?;
    let Some(text) = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY)) else {
        return Ok(None);
    };
    let parsed = serde_json::from_str(text).map_err(|error| TrainError::WeightsFormat {
        origin: origin.to_string(),
        reason: format!("metadata `{METADATA_KEY}`: {error}"),
    })?;
    Ok(Some(parsed))
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    (view.dtype() == Dtype::F32).then(|| view.data().chunks_exact(4).map(number).collect())
}
