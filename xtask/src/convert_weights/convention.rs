//! Padding, batch-norm epsilon and input normalisation of a checkpoint: what shapes do not tell.

use super::matching::Matched;
use super::network::{Names, Variant};
use super::{Arguments, Target, require};
use anyhow::{Context, Result};
use effnet_backbone::Naming;
use effyolo_config::{BackboneSpec, EfficientNetSpec, ModelSpec};
use net_formats::{Archive, Normalization, PaddingMode, WeightsInfo};
use net_graph::Padding;
use serde_json::Value;
use std::path::Path;

/// Key of the metadata that `effyolo train` writes.
const MODEL_CARD: &str = "effyolo";

/// How a checkpoint was trained.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Convention {
    pub(super) padding: PaddingMode,
    pub(super) bn_eps: f64,
    pub(super) normalization: Normalization,
    /// What neither the user nor the file says.
    pub(super) assumed: Vec<&'static str>,
}

/// Options first; then what the file says of itself; then what its naming means.
pub(super) fn find(arguments: &Arguments, archive: &Archive, matched: &Matched<'_>) -> Result<Convention> {
    let mut convention = match (recorded(archive)?, trained_backbone(archive)?) {
        (Some(info), _) => Convention {
            padding: info.padding,
            bn_eps: info.bn_eps,
            normalization: info.normalization,
            assumed: Vec::new(),
        },
        (None, Some(backbone)) => of_backbone(&backbone),
        (None, None) => of_naming(matched, &architecture(arguments, archive)),
    };
    let assumed = &mut convention.assumed;
    let mut given = |what| assumed.retain(|other| *other != what);
    if let Some(padding) = arguments.padding {
        convention.padding = padding;
        given("padding");
    }
    if let Some(bn_eps) = arguments.bn_eps {
        require(bn_eps.is_finite() && bn_eps > 0.0, || format!("--bn-eps: expected above 0, got {bn_eps}"))?;
        convention.bn_eps = bn_eps;
        given("bn_eps");
    }
    if let Some(normalization) = arguments.normalize {
        convention.normalization = normalization;
        given("normalization");
    }
    Ok(convention)
}

/// The record of an earlier conversion.
fn recorded(archive: &Archive) -> Result<Option<WeightsInfo>> {
    let text = archive.metadata.get(WeightsInfo::METADATA_KEY);
    Ok(text.map(|text| WeightsInfo::from_metadata(text)).transpose()?)
}

/// The backbone of a detector that `effyolo train` wrote.
pub(super) fn trained_backbone(archive: &Archive) -> Result<Option<EfficientNetSpec>> {
    let Some(card) = archive.metadata.get(MODEL_CARD) else { return Ok(None) };
    let card: Value = serde_json::from_str(card).with_context(|| format!("metadata `{MODEL_CARD}`"))?;
    let Some(model) = card["card"]["model"].as_str() else { return Ok(None) };
    match ModelSpec::from_yaml(model, "the file's model")?.backbone {
        BackboneSpec::EfficientNet(backbone) => Ok(Some(backbone)),
        BackboneSpec::Csp(_) | BackboneSpec::Rows(_) => Ok(None),
    }
}

fn of_backbone(backbone: &EfficientNetSpec) -> Convention {
    Convention {
        padding: match backbone.padding {
            Padding::Same => PaddingMode::Same,
            Padding::Symmetric => PaddingMode::Symmetric,
        },
        bn_eps: backbone.bn_eps,
        normalization: match backbone.normalization {
            effyolo_config::Normalization::None => Normalization::None,
            effyolo_config::Normalization::Imagenet => Normalization::Imagenet,
            effyolo_config::Normalization::Lite => Normalization::Lite,
        },
        assumed: Vec::new(),
    }
}

/// Name and tag of the model in the `config.json` that timm publishes beside its weights.
fn beside(source: &Path) -> Option<String> {
    let text = std::fs::read_to_string(source.with_file_name("config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    let tag = config["pretrained_cfg"]["tag"].as_str().unwrap_or("");
    Some(format!("{}.{tag}", config["architecture"].as_str()?))
}

/// timm's name of the model, from the option, the checkpoint itself, what lies beside it, or the name of the file.
fn architecture(arguments: &Arguments, archive: &Archive) -> String {
    let is_full = |name: &&str| name.contains("efficientnet_");
    let file = arguments.source.file_stem().and_then(|name| name.to_str());
    let recorded = archive.metadata.get("architecture").map(String::as_str);
    let beside = beside(&arguments.source);
    let all = [arguments.variant.as_deref(), recorded, beside.as_deref(), file];
    all.into_iter().flatten().find(is_full).unwrap_or("").into()
}

fn of_naming(matched: &Matched<'_>, architecture: &str) -> Convention {
    let Names::EfficientNet(naming) = matched.names else { return stock_yolov8() };
    let is_lite = matched.variant.is_lite;
    let tensorflow = (PaddingMode::Same, 1e-3);
    let torch = (PaddingMode::Symmetric, 1e-5);
    let (padding, bn_eps) = match naming {
        Naming::Torchvision if is_large(&matched.variant) => (PaddingMode::Symmetric, 1e-3),
        Naming::Torchvision => torch,
        // The files that timm and this project call `efficientnet_lite<n>` are ports of TensorFlow's.
        Naming::Timm if is_torch_trained(architecture) && !is_lite => torch,
        _ => tensorflow,
    };
    let normalization = match naming {
        _ if is_adversarial(architecture) => Normalization::Lite,
        Naming::TensorFlow | Naming::Keras | Naming::KerasNumbered if is_lite => {
            Normalization::LiteTensorflow
        }
        _ if is_lite => Normalization::Lite,
        _ => Normalization::Imagenet,
    };
    let told = naming != Naming::Timm || architecture.contains("tf_") || is_torch_trained(architecture);
    let assumed = if told { Vec::new() } else { vec!["padding", "bn_eps"] };
    Convention { padding, bn_eps, normalization, assumed }
}

fn stock_yolov8() -> Convention {
    let (padding, normalization) = (PaddingMode::Symmetric, Normalization::None);
    Convention { padding, bn_eps: 1e-3, normalization, assumed: Vec::new() }
}

/// timm calls what it trained itself `efficientnet_b0`, and what it took from TensorFlow `tf_efficientnet_b0`.
fn is_torch_trained(architecture: &str) -> bool {
    architecture.starts_with("efficientnet_")
}

/// AdvProp checkpoints (arXiv 1911.09665) were trained on images in `[-1, 1]`.
fn is_adversarial(architecture: &str) -> bool {
    architecture.split(['_', '.', '-']).any(|part| part == "ap" || part == "advprop")
}

/// The variants that torchvision gives TensorFlow's epsilon.
fn is_large(variant: &Variant) -> bool {
    ["b5", "b6", "b7"].contains(&variant.name.as_str())
}

/// Fails where the names of another tool would make it run the weights wrongly.
pub(super) fn check_target(target: Target, info: &WeightsInfo, variant: &Variant) -> Result<()> {
    let same = info.padding == PaddingMode::Same;
    require(target == Target::Timm || variant.spec().is_some(), || {
        "--to: those names exist for EfficientNets only; this is a YOLOv8 detector".into()
    })?;
    match target {
        Target::Timm => Ok(()),
        Target::Lukemelas => require(same && info.bn_eps == 1e-3, || {
            format!(
                "--to lukemelas: that code pads like TensorFlow and has a batch-norm epsilon of 0.001; these weights \
                 are for {} padding and {}",
                info.padding, info.bn_eps
            )
        }),
        Target::Torchvision => {
            let name = &variant.name;
            let known = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"].contains(&name.as_str());
            require(known, || format!("--to torchvision: it has B0 to B7, not `{name}`"))?;
            require(!same, || {
                "--to torchvision: it pads symmetrically, and these weights were trained with TensorFlow's SAME \
                 padding, whose grid lies one pixel beside; they would lose accuracy without a message"
                    .into()
            })?;
            let eps = if is_large(variant) { 1e-3 } else { 1e-5 };
            require(info.bn_eps == eps, || {
                format!(
                    "--to torchvision: its {name} has a batch-norm epsilon of {eps}, these weights {}",
                    info.bn_eps
                )
            })
        }
    }
}
