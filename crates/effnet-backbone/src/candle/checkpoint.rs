//! A safetensors file with timm's names, and what its metadata says about it.

use super::EfficientNetError;
use crate::{EfficientNetConfig, InputNormalization};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use effnet_scaling::{NetworkSpec, ScalingError, Variant};
use net_candle::CandleNet;
use net_graph::{Graph, Padding, Param, Role};
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

/// The newest version of [`Description`] that is understood.
const FORMAT: u32 = 1;

/// The JSON object under [`KEY`], as `cargo xtask convert-weights` writes it; keys that are not read here are left
/// alone.
#[derive(Deserialize)]
struct Description {
    format: u32,
    /// `b0`, or `b0 x <width> x <depth>` for multipliers that are not published.
    variant: String,
    padding: String,
    bn_eps: f64,
    normalization: String,
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
        let (format, bn_eps) = (description.format, description.bn_eps);
        if format > FORMAT {
            return Err(
                self.wrong(format!("expected format {FORMAT} or older, got {format}; use a newer version"))
            );
        }
        if !(bn_eps.is_finite() && bn_eps > 0.0) {
            return Err(self.wrong(format!("bn_eps: expected a number above 0, got {bn_eps}")));
        }
        let (variant, spec) = self.network(&description.variant)?;
        Ok(EfficientNetConfig {
            spec,
            padding: self.padding(&description.padding)?,
            bn_eps,
            normalization: self.normalization(&description.normalization)?,
            ..EfficientNetConfig::from_scratch(&variant)
        })
    }

    fn network(&self, text: &str) -> Result<(Variant, NetworkSpec), EfficientNetError> {
        let parts: Vec<&str> = text.split(" x ").collect();
        let wrong = |error: ScalingError| self.wrong(format!("variant: {error}"));
        let variant = Variant::find(parts[0]).map_err(wrong)?;
        let multipliers: Result<Vec<f64>, _> = parts[1..].iter().map(|part| part.parse()).collect();
        match multipliers.as_deref() {
            Ok([]) => Ok((variant, variant.network())),
            Ok(&[width, depth]) => Ok((variant, variant.baseline().scaled(width, depth).map_err(wrong)?)),
            _ => Err(self.wrong(format!("variant: expected `b0` or `b0 x <width> x <depth>`, got `{text}`"))),
        }
    }

    fn padding(&self, name: &str) -> Result<Padding, EfficientNetError> {
        match name {
            "same" => Ok(Padding::Same),
            "symmetric" => Ok(Padding::Symmetric),
            other => Err(self.wrong(format!("padding: expected `same` or `symmetric`, got `{other}`"))),
        }
    }

    fn normalization(&self, name: &str) -> Result<Option<InputNormalization>, EfficientNetError> {
        match name {
            "none" => Ok(None),
            "imagenet" => Ok(Some(InputNormalization::imagenet())),
            "lite" => Ok(Some(InputNormalization::lite())),
            "advprop" => Ok(Some(InputNormalization::advprop())),
            "lite-tensorflow" => Ok(Some(InputNormalization::lite_tensorflow())),
            other => {
                let expected = "`none`, `imagenet`, `lite`, `lite-tensorflow` or `advprop`";
                Err(self.wrong(format!("normalization: expected {expected}, got `{other}`")))
            }
        }
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
        self.check(&graph)?;
        let vb = VarBuilder::from_tensors(self.tensors.clone(), DType::F32, device);
        Ok(CandleNet::from_var_builder(graph, &vb, &mut || unreachable!("no parameter is missing"))?)
    }

    /// Sets the network's variables to the file's values.
    pub(super) fn set(&self, net: &CandleNet) -> Result<(), EfficientNetError> {
        self.check(net.graph())?;
        for param in loaded(net.graph()) {
            net.set(&param.name, &self.tensors[&param.name])?;
        }
        Ok(())
    }

    /// Lists all that is missing or mis-shaped.
    fn check(&self, graph: &Graph) -> Result<(), EfficientNetError> {
        let problem = |param: &Param| match self.tensors.get(&param.name) {
            None => Some(format!("`{}` is missing", param.name)),
            Some(found) if found.dims() != param.dims => {
                Some(format!("`{}` is {:?}, expected {:?}", param.name, found.dims(), param.dims))
            }
            Some(_) => None,
        };
        let problems: Vec<String> = loaded(graph).filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(self.unfit(&problems.join(", "))) }
    }

    fn unfit(&self, problems: &str) -> EfficientNetError {
        EfficientNetError::Weights { path: self.path.clone(), problems: problems.to_string() }
    }
}

/// Parameters that a file holds.
fn loaded(graph: &Graph) -> impl Iterator<Item = &Param> {
    graph.params().iter().filter(|param| param.role != Role::Constant)
}

/// The configuration that the metadata of a converted safetensors file describes, with the levels of strides 4, 8, 16 and
/// 32 and the published rates of dropping.
///
/// # Errors
/// When the file cannot be read, or its metadata does not say what it is.
pub fn config_of_file(path: impl AsRef<Path>) -> Result<EfficientNetConfig, EfficientNetError> {
    Checkpoint::read(path.as_ref())?.config()
}
