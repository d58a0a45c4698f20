//! A safetensors file with timm's names, and what its metadata says about it.

use super::EfficientNetError;
use crate::{EfficientNetConfig, InputNormalization};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use effnet_scaling::Variant;
use net_candle::CandleNet;
use net_graph::{Graph, Padding, Role};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Key of the description in the file's metadata.
const KEY: &str = "effyolo-weights";

pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
    description: Option<String>,
}

/// The JSON object under [`KEY`]; keys that are not read here are left alone.
#[derive(Deserialize)]
struct Description {
    variant: String,
    padding: String,
    bn_eps: f64,
    normalization: Option<Normalization>,
}

/// Name of a convention, or its numbers on RGB in `[0, 1]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Normalization {
    Named(String),
    MeanStd { mean: [f64; 3], std: [f64; 3] },
    Affine { scale: [f32; 3], shift: [f32; 3] },
}

impl Checkpoint {
    pub(super) fn read(path: &Path) -> Result<Self, EfficientNetError> {
        let path = path.to_path_buf();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(EfficientNetError::Read { path, source }),
        };
        let parsed =
            SafeTensors::read_metadata(&bytes).map_err(candle_core::Error::from).and_then(|(_, header)| {
                let description = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY).cloned());
                Ok((candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?, description))
            });
        match parsed {
            Ok((tensors, description)) => Ok(Checkpoint { path, tensors, description }),
            Err(source) => Err(EfficientNetError::Format { path, source: Box::new(source) }),
        }
    }

    /// The configuration that the metadata describes, with the levels of strides 4 to 32; rates of dropping and the
    /// momentum of batch norm are the published ones.
    pub(super) fn config(&self) -> Result<EfficientNetConfig, EfficientNetError> {
        let text = self.description.as_ref();
        let text = text.ok_or_else(|| EfficientNetError::NoMetadata { path: self.path.clone(), key: KEY })?;
        let description: Description =
            serde_json::from_str(text).map_err(|error| self.wrong(error.to_string()))?;
        let variant = Variant::find(&description.variant).map_err(|error| self.wrong(error.to_string()))?;
        Ok(EfficientNetConfig {
            padding: self.padding(&description.padding)?,
            bn_eps: description.bn_eps,
            normalization: self.normalization(description.normalization)?,
            ..EfficientNetConfig::from_scratch(&variant)
        })
    }

    fn padding(&self, name: &str) -> Result<Padding, EfficientNetError> {
        match name {
            "same" => Ok(Padding::Same),
            "symmetric" => Ok(Padding::Symmetric),
            other => Err(self.wrong(format!("padding: expected `same` or `symmetric`, got `{other}`"))),
        }
    }

    fn normalization(
        &self,
        given: Option<Normalization>,
    ) -> Result<Option<InputNormalization>, EfficientNetError> {
        Ok(match given {
            None => None,
            Some(Normalization::MeanStd { mean, std }) => Some(InputNormalization::from_mean_std(mean, std)),
            Some(Normalization::Affine { scale, shift }) => Some(InputNormalization { scale, shift }),
            Some(Normalization::Named(name)) => match name.as_str() {
                "none" => None,
                "imagenet" => Some(InputNormalization::imagenet()),
                "lite" => Some(InputNormalization::lite()),
                other => {
                    let expected = "`none`, `imagenet`, `lite` or numbers";
                    return Err(self.wrong(format!("normalization: expected {expected}, got `{other}`")));
                }
            },
        })
    }

    fn wrong(&self, reason: String) -> EfficientNetError {
        EfficientNetError::Metadata { path: self.path.clone(), key: KEY, reason }
    }

    /// Rows of the file's classifier.
    pub(super) fn classes(&self, config: &EfficientNetConfig) -> Result<usize, EfficientNetError> {
        let name = match config.prefix.as_str() {
            "" => "classifier.weight".to_string(),
            prefix => format!("{prefix}.classifier.weight"),
        };
        let found = self.tensors.get(&name).and_then(|weight| weight.dims().first().copied());
        found.ok_or_else(|| self.unfit(&format!("`{name}` is missing")))
    }

    /// The graph with the file's values.
    pub(super) fn net(&self, graph: Graph, device: &Device) -> Result<CandleNet, EfficientNetError> {
        let params = graph.params().iter().filter(|param| param.role != Role::Constant);
        let problem = |param: &net_graph::Param| match self.tensors.get(&param.name) {
            None => Some(format!("`{}` is missing", param.name)),
            Some(found) if found.dims() != param.dims => {
                Some(format!("`{}` is {:?}, expected {:?}", param.name, found.dims(), param.dims))
            }
            Some(_) => None,
        };
        let problems: Vec<String> = params.filter_map(problem).collect();
        if !problems.is_empty() {
            return Err(self.unfit(&problems.join(", ")));
        }
        let vb = VarBuilder::from_tensors(self.tensors.clone(), DType::F32, device);
        Ok(CandleNet::from_var_builder(graph, &vb, &mut || unreachable!("no parameter is missing"))?)
    }

    fn unfit(&self, problems: &str) -> EfficientNetError {
        EfficientNetError::Weights { path: self.path.clone(), problems: problems.to_string() }
    }
}
