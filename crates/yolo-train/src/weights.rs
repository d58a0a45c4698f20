//! Weights files: parameters by name, with a card that says which network they belong to.

use crate::safetensors_file::{Checked, FORMAT, floats, save};
use crate::{TrainError, files};
use net_cpu::{ParamLayout, Params, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
    /// A licence that binds whoever uses the weights, taken over from those that training started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

impl ModelCard {
    /// A card of the current format.
    pub fn new(model: String, names: Vec<String>, image_size: usize) -> Self {
        ModelCard { format: FORMAT, model, names, image_size, epoch: 0, fitness: 0.0, notice: None }
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

    /// Reads the bytes of a safetensors file; `origin` is its name in messages.
    ///
    /// # Errors
    /// As [`WeightsFile::read`].
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Self, TrainError> {
        let file = Checked::parse(bytes, origin)?;
        let card: Option<ModelCard> = file.card()?;
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
        for (name, view) in file.tensors.iter().filter(|(name, _)| !name.ends_with(UNUSED_COUNTER)) {
            let values = floats(&view).ok_or_else(|| TrainError::WeightsFormat {
                origin: origin.into(),
                reason: format!("tensor `{name}`: expected 32-bit floats, got {:?}", view.dtype()),
            })?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let reason = format!(
                    "tensor `{name}`: expected finite numbers, got {} at value {index}",
                    values[index]
                );
                return Err(TrainError::WeightsFormat { origin: origin.into(), reason });
            }
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
    /// When nothing fits, or only a part of the backbone: of the parameters whose names `is_backbone` holds for.
    pub fn load_pretrained(
        &self,
        params: &mut Params,
        is_backbone: impl Fn(&str) -> bool,
    ) -> Result<LoadReport, TrainError> {
        let layout = params.layout.clone();
        let rename = |name: &str| match layout.find(name) {
            Some(_) => name.to_string(),
            None => format!("{BACKBONE}{name}"),
        };
        let report = self.compare(&layout, rename);
        let half_backbone = report.missing.iter().any(|name| is_backbone(name))
            || report.misshaped.iter().any(|(name, ..)| is_backbone(name));
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
