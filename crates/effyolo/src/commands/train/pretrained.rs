//! Weights that training starts from: what a file holds, and how its network was trained.

use anyhow::{Context, Result, bail};
use effyolo_config::{BackboneSpec, Conventions, ModelSpec, Normalization};
use net_formats::{Archive, Averages, Normalization as FileNormalization, PaddingMode, WeightsInfo};
use net_graph::Padding;
use std::path::Path;
use weight_sources::{Convention, Matched, Network, Variant, Wanted};
use yolo_train::{ModelCard, NamedValues, WeightsFile};

/// Metadata key of the files that `train` writes.
const MODEL_CARD: &str = "effyolo";

/// The parameters of a file, under our names.
pub(super) struct Pretrained {
    pub(super) file: WeightsFile,
    /// How an EfficientNet was trained; `None` for another network.
    conventions: Option<Conventions>,
    /// Which of these the file does not tell.
    assumed: Vec<&'static str>,
    /// A licence that binds whoever uses the weights.
    pub(super) notice: Option<String>,
}

impl Pretrained {
    /// Reads a file of ours or of another framework: every format that `net_formats` reads.
    ///
    /// # Errors
    /// When it cannot be read, or holds another network than the backbone of `spec`.
    pub(super) fn read(path: &Path, spec: &ModelSpec) -> Result<Self> {
        let archive = net_formats::load(path, Averages::Prefer)?;
        let ours = archive.metadata.contains_key(MODEL_CARD);
        let read = if ours { trained(path, spec) } else { foreign(path, &archive, spec) };
        read.with_context(|| format!("{}: cannot be what training starts from", path.display()))
    }

    /// Builds the backbone as the weights were trained, and says so.
    ///
    /// # Errors
    /// When the model file states something else.
    pub(super) fn prepare(&self, spec: &mut ModelSpec, model: &Path) -> Result<()> {
        let Some(conventions) = self.conventions else { return Ok(()) };
        let origin = &self.file.origin;
        let changed = spec.adopt(conventions, origin, &model.display().to_string())?;
        if !changed.is_empty() {
            eprintln!("backbone as {origin} was trained: {}", changed.join(", "));
        }
        if !self.assumed.is_empty() {
            eprintln!(
                "note: {origin} does not say its {}: assumed to be those of TensorFlow's weights; if it was trained \
                 otherwise, convert it with `cargo xtask convert-weights --padding ... --bn-eps ...`",
                self.assumed.join(" and ")
            );
        }
        Ok(())
    }
}

/// A file that `train` wrote, for this task or the other.
fn trained(path: &Path, spec: &ModelSpec) -> Result<Pretrained> {
    let file = WeightsFile::read(path)?;
    let ModelCard { model, notice, .. } = file.card()?.clone();
    let source = ModelSpec::from_yaml(&model, &path.display().to_string())
        .context("reading the model that the weights file describes")?;
    let conventions = match (&source.backbone, &spec.backbone) {
        (BackboneSpec::EfficientNet(theirs), BackboneSpec::EfficientNet(ours)) => {
            if theirs.network() != ours.network() {
                return Err(other_network(&Variant::of_backbone(theirs), &Variant::of_backbone(ours)));
            }
            Some(theirs.conventions())
        }
        _ => None,
    };
    Ok(Pretrained { file, conventions, assumed: Vec::new(), notice })
}

fn other_network(theirs: &Variant, ours: &Variant) -> anyhow::Error {
    let name = |variant: &Variant| match variant.network {
        Network::EfficientNet(_) => format!("efficientnet-{}", variant.name),
        Network::Yolov8(_) => variant.name.clone(),
    };
    anyhow::anyhow!(
        "expected weights of the model's backbone, {}, got those of {}; take a model of that backbone, or other weights",
        name(ours),
        name(theirs)
    )
}

/// A file of another framework, or one that was converted.
fn foreign(path: &Path, archive: &Archive, spec: &ModelSpec) -> Result<Pretrained> {
    let own = backbone_variant(&spec.backbone);
    let wanted =
        Wanted { variant: None, also: own.clone().into_iter().collect(), prefix: None, headless: true };
    let matched = weight_sources::find(archive, &wanted)?;
    if let Some(own) = own.filter(|own| own.network != matched.variant.network) {
        return Err(other_network(&matched.variant, &own));
    }
    let architecture = weight_sources::architecture(path, None, archive);
    let convention = Convention::find(archive, &matched, &architecture)?;
    let recorded = archive.metadata.get(WeightsInfo::METADATA_KEY);
    let recorded = recorded.map(|text| WeightsInfo::from_metadata(text)).transpose()?;
    let notice = recorded.and_then(|info| info.notice).or_else(|| matched.notice.map(str::to_string));
    let is_efficientnet = matched.variant.spec().is_some();
    Ok(Pretrained {
        file: weights_file(path, &matched)?,
        conventions: is_efficientnet.then(|| conventions(&convention)),
        assumed: convention.assumed,
        notice,
    })
}

/// What a file of the backbone alone, or of the whole stock detector, would hold.
fn backbone_variant(backbone: &BackboneSpec) -> Option<Variant> {
    match backbone {
        BackboneSpec::EfficientNet(spec) => Some(Variant::of_backbone(spec)),
        BackboneSpec::Csp(spec) => Some(Variant::yolov8(spec.scale)),
        BackboneSpec::Rows(_) => None,
    }
}

fn weights_file(path: &Path, matched: &Matched<'_>) -> Result<WeightsFile> {
    let mut tensors = std::collections::BTreeMap::new();
    for weight in &matched.weights {
        if let Some(index) = weight.values.iter().position(|value| !value.is_finite()) {
            bail!(
                "`{}`: expected finite numbers, got {} at value {index}",
                weight.source,
                weight.values[index]
            );
        }
        let values = NamedValues { dims: weight.dims.clone(), values: weight.values.to_vec() };
        tensors.insert(weight.name.clone(), values);
    }
    Ok(WeightsFile { origin: path.display().to_string(), card: None, tensors })
}

fn conventions(convention: &Convention) -> Conventions {
    Conventions {
        padding: match convention.padding {
            PaddingMode::Same => Padding::Same,
            PaddingMode::Symmetric => Padding::Symmetric,
        },
        bn_eps: convention.bn_eps,
        normalization: match convention.normalization {
            FileNormalization::None => Normalization::None,
            FileNormalization::Imagenet => Normalization::Imagenet,
            FileNormalization::Lite => Normalization::Lite,
            FileNormalization::LiteTensorflow => Normalization::LiteTensorflow,
        },
    }
}
