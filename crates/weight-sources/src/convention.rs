//! Padding, batch-norm epsilon and input normalisation of a checkpoint: what shapes do not tell.

use crate::{Matched, Names, SourceError, Variant};
use effnet_backbone::Naming;
use effyolo_config::{BackboneSpec, Conventions, EfficientNetSpec, ModelSpec};
use net_formats::{Archive, Normalization, PaddingMode, WeightsInfo};
use net_graph::Padding;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// Key of the metadata that `effyolo train` writes.
const MODEL_CARD: &str = "effyolo";

/// How a checkpoint was trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Convention {
    /// Padding of the convolutions.
    pub padding: PaddingMode,
    /// Epsilon of the batch norms.
    pub bn_eps: f64,
    /// What images were normalised with.
    pub normalization: Normalization,
    /// What the file does not say.
    pub assumed: Vec<&'static str>,
}

impl Convention {
    /// What the file says of itself; else what its naming means. `architecture` is what [`architecture`] found.
    ///
    /// # Errors
    /// When what the file says of itself cannot be read.
    pub fn find(archive: &Archive, matched: &Matched<'_>, architecture: &str) -> Result<Self, SourceError> {
        Ok(match (recorded(archive)?, trained_backbone(archive)?) {
            (Some(info), _) => Convention {
                padding: info.padding,
                bn_eps: info.bn_eps,
                normalization: info.normalization,
                assumed: Vec::new(),
            },
            (None, Some(backbone)) => Convention::of_config(backbone.conventions()),
            (None, None) => of_naming(matched, architecture),
        })
    }

    /// That of a configuration.
    pub fn of_config(conventions: Conventions) -> Self {
        Convention {
            padding: match conventions.padding {
                Padding::Same => PaddingMode::Same,
                Padding::Symmetric => PaddingMode::Symmetric,
            },
            bn_eps: conventions.bn_eps,
            normalization: match conventions.normalization {
                effyolo_config::Normalization::None => Normalization::None,
                effyolo_config::Normalization::Imagenet => Normalization::Imagenet,
                effyolo_config::Normalization::Lite => Normalization::Lite,
                effyolo_config::Normalization::LiteTensorflow => Normalization::LiteTensorflow,
            },
            assumed: Vec::new(),
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Convention { padding, bn_eps, normalization, .. } = self;
        write!(f, "padding {padding}, batch-norm epsilon {bn_eps}, input normalisation {normalization}")
    }
}

/// The record of an earlier conversion.
fn recorded(archive: &Archive) -> Result<Option<WeightsInfo>, SourceError> {
    let text = archive.metadata.get(WeightsInfo::METADATA_KEY);
    Ok(text.map(|text| WeightsInfo::from_metadata(text)).transpose()?)
}

/// The backbone of a network that `effyolo train` wrote; `None` for other files and for backbones of another kind.
///
/// # Errors
/// When the file's card cannot be read.
pub fn trained_backbone(archive: &Archive) -> Result<Option<EfficientNetSpec>, SourceError> {
    let Some(card) = archive.metadata.get(MODEL_CARD) else { return Ok(None) };
    let card: Value = serde_json::from_str(card)?;
    let Some(model) = card["card"]["model"].as_str() else { return Ok(None) };
    match ModelSpec::from_yaml(model, "the file's model")?.backbone {
        BackboneSpec::EfficientNet(backbone) => Ok(Some(backbone)),
        BackboneSpec::Csp(_) | BackboneSpec::Rows(_) => Ok(None),
    }
}

/// Name and tag of the model in the `config.json` that timm publishes beside its weights.
fn beside(source: &Path) -> Option<String> {
    let text = std::fs::read_to_string(source.with_file_name("config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    let tag = config["pretrained_cfg"]["tag"].as_str().unwrap_or("");
    Some(format!("{}.{tag}", config["architecture"].as_str()?))
}

/// timm's name of the model, which tells how it was trained: what the caller was `told`, what the checkpoint itself or
/// timm's `config.json` beside it records, or the name of the file. Empty where none of them is such a name.
pub fn architecture(source: &Path, told: Option<&str>, archive: &Archive) -> String {
    let is_full = |name: &&str| name.contains("efficientnet_");
    let file = source.file_stem().and_then(|name| name.to_str());
    let recorded = archive.metadata.get("architecture").map(String::as_str);
    let beside = beside(source);
    let all = [told, recorded, beside.as_deref(), file];
    all.into_iter().flatten().find(is_full).unwrap_or("").into()
}

fn of_naming(matched: &Matched<'_>, architecture: &str) -> Convention {
    let Names::EfficientNet(naming) = matched.names else { return stock_yolov8() };
    let is_lite = matched.variant.is_lite;
    // Google trained them all.
    let has_experts = matched.variant.has_experts();
    let is_torch_trained = !has_experts && is_torch_trained(architecture, is_lite);
    let tensorflow = (PaddingMode::Same, 1e-3);
    let torch = (PaddingMode::Symmetric, 1e-5);
    let (padding, bn_eps) = match naming {
        Naming::Torchvision if is_large(&matched.variant) => (PaddingMode::Symmetric, 1e-3),
        Naming::Torchvision => torch,
        Naming::Timm if is_torch_trained => torch,
        _ => tensorflow,
    };
    let normalization = match naming {
        _ if has_inputs_around_zero(architecture) => Normalization::Lite,
        Naming::Timm if is_torch_trained => Normalization::Imagenet,
        Naming::TensorFlow | Naming::Keras | Naming::KerasNumbered if is_lite || has_experts => {
            Normalization::LiteTensorflow
        }
        _ if is_lite || has_experts => Normalization::Lite,
        _ => Normalization::Imagenet,
    };
    let is_timms = architecture.starts_with("efficientnet_") || architecture.contains("tf_");
    let told = naming != Naming::Timm || is_timms || has_experts;
    let assumed = if told { Vec::new() } else { vec!["padding", "bn_eps"] };
    Convention { padding, bn_eps, normalization, assumed }
}

fn stock_yolov8() -> Convention {
    let (padding, normalization) = (PaddingMode::Symmetric, Normalization::None);
    Convention { padding, bn_eps: 1e-3, normalization, assumed: Vec::new() }
}

/// timm calls what it trained itself `efficientnet_b0`, and what it took from TensorFlow `tf_efficientnet_b0`. Of the Lite
/// variants it trained one, with RandAugment; files called `efficientnet_lite<n>` without that tag are TensorFlow's.
fn is_torch_trained(architecture: &str, is_lite: bool) -> bool {
    architecture.starts_with("efficientnet_") && (!is_lite || parts(architecture).any(|part| part == "ra"))
}

/// AdvProp checkpoints (arXiv 1911.09665) and timm's later recipe (`ra4`) were trained on images in `[-1, 1]`.
fn has_inputs_around_zero(architecture: &str) -> bool {
    parts(architecture).any(|part| ["ap", "advprop", "ra4"].contains(&part))
}

fn parts(architecture: &str) -> impl Iterator<Item = &str> {
    architecture.split(['_', '.', '-'])
}

/// The variants that torchvision gives TensorFlow's epsilon.
pub fn is_large(variant: &Variant) -> bool {
    ["b5", "b6", "b7"].contains(&variant.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As timm 1.0 builds the model and states its input (`pretrained_cfg`).
    #[test]
    fn timms_names_tell_how_it_trained() {
        let cases = [
            ("efficientnet_b0.ra_in1k", false, true, false),
            ("efficientnet_b0.ra4_e3600_r224_in1k", false, true, true),
            ("tf_efficientnet_b0.ns_jft_in1k", false, false, false),
            ("tf_efficientnet_b8_ap-00e169fa", false, false, true),
            ("efficientnet_lite0.ra_in1k", true, true, false),
            ("efficientnet_lite0_ra-37913777", true, true, false),
            ("efficientnet_lite0", true, false, false),
            ("tf_efficientnet_lite0.in1k", true, false, false),
        ];
        for (name, is_lite, torch, around_zero) in cases {
            assert_eq!(is_torch_trained(name, is_lite), torch, "{name}");
            assert_eq!(has_inputs_around_zero(name), around_zero, "{name}");
        }
    }
}
