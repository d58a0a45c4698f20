//! The networks whose weights are converted, and the names that files give them.

use crate::SourceError;
use effnet_backbone::{Layout, MappedWeight, Naming, Section, weight_map};
use effnet_scaling::NetworkSpec;
use effyolo_config::EfficientNetSpec;
use std::fmt;
use yolo_neck_head::{NeckScale, yolov8};

/// How a file names its arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// One of the namings of EfficientNets.
    EfficientNet(Naming),
    /// Ultralytics' names of a stock YOLOv8 detector, which are ours too.
    Ultralytics,
}

impl Names {
    /// All namings.
    pub fn all() -> impl Iterator<Item = Names> {
        Naming::ALL.into_iter().map(Names::EfficientNet).chain([Names::Ultralytics])
    }

    /// The name that a file is recognised by.
    pub fn marker(self) -> &'static str {
        match self {
            Names::EfficientNet(naming) => naming.marker(),
            Names::Ultralytics => "model.22.dfl.conv.weight",
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Names::EfficientNet(naming) => naming.name(),
            Names::Ultralytics => "ultralytics",
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a variant is.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// An EfficientNet of these stages.
    EfficientNet(NetworkSpec),
    /// The stock detector at this scale.
    Yolov8(NeckScale),
}

/// A network that a file may hold.
#[derive(Debug, Clone)]
pub struct Variant {
    /// `b0`, `yolov8n`, or `b0 x 0.25 x 0.4` with multipliers.
    pub name: String,
    /// What it is.
    pub network: Network,
    /// True for a Lite variant.
    pub is_lite: bool,
    /// Side of the training images; `None` where nobody published it.
    pub resolution: Option<usize>,
}

impl Variant {
    /// All published variants that have such names.
    pub fn published(names: Names) -> Vec<Self> {
        match names {
            Names::EfficientNet(naming) => {
                let all = effnet_scaling::Variant::ALL.iter();
                all.filter(|variant| naming.names(&variant.network())).map(Self::efficientnet).collect()
            }
            Names::Ultralytics => NeckScale::ALL.into_iter().map(Self::yolov8).collect(),
        }
    }

    /// A variant by name, also timm's full ones; with multipliers (width, depth), its baseline scaled by them.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str, multipliers: Option<(f64, f64)>) -> Result<Self, SourceError> {
        let mut yolo = NeckScale::ALL.into_iter().map(Self::yolov8);
        if let Some(variant) = yolo.find(|variant| variant.name == name) {
            return Ok(variant);
        }
        let published = effnet_scaling::Variant::find(short_name(name))?;
        let Some((width, depth)) = multipliers else { return Ok(Self::efficientnet(&published)) };
        Ok(Variant {
            name: format!("{} x {width} x {depth}", published.name),
            network: Network::EfficientNet(published.baseline().scaled(width, depth)?),
            is_lite: published.is_lite(),
            resolution: None,
        })
    }

    /// The backbone of a detector, with its multipliers where they are not the published ones.
    pub fn of_backbone(backbone: &EfficientNetSpec) -> Self {
        let EfficientNetSpec { variant, width, depth, .. } = backbone;
        if (*width, *depth) == (variant.width, variant.depth) {
            return Self::efficientnet(variant);
        }
        Variant {
            name: format!("{} x {width} x {depth}", variant.name),
            network: Network::EfficientNet(backbone.network()),
            is_lite: variant.is_lite(),
            resolution: None,
        }
    }

    fn efficientnet(published: &effnet_scaling::Variant) -> Self {
        Variant {
            name: published.name.into(),
            network: Network::EfficientNet(published.network()),
            is_lite: published.is_lite(),
            resolution: Some(published.resolution),
        }
    }

    /// The stock detector.
    pub fn yolov8(scale: NeckScale) -> Self {
        let name = format!("yolov8{}", scale.letter());
        Variant { name, network: Network::Yolov8(scale), is_lite: false, resolution: None }
    }

    /// True if images mix kernels from experts (CondConv).
    pub fn has_experts(&self) -> bool {
        self.spec().is_some_and(|spec| spec.stages.iter().any(|stage| stage.experts.is_some()))
    }

    /// The stages, if it is an EfficientNet.
    pub fn spec(&self) -> Option<&NetworkSpec> {
        match &self.network {
            Network::EfficientNet(spec) => Some(spec),
            Network::Yolov8(_) => None,
        }
    }

    /// Its parameters as a file of those names has them.
    ///
    /// # Errors
    /// When it never has those names.
    pub fn map(&self, names: Names, classes: usize) -> Result<Vec<MappedWeight>, SourceError> {
        match (&self.network, names) {
            (Network::EfficientNet(spec), Names::EfficientNet(naming)) if naming.names(spec) => {
                Ok(weight_map(spec, classes, naming))
            }
            (Network::Yolov8(scale), Names::Ultralytics) => detector_map(*scale, classes),
            _ => Err(SourceError::OtherNames { names: names.to_string(), variant: self.name.clone() }),
        }
    }
}

/// Names and layouts are ours already.
fn detector_map(scale: NeckScale, classes: usize) -> Result<Vec<MappedWeight>, SourceError> {
    let detector = yolov8(scale, classes.max(1), 0.0)?;
    let weight = |param: &net_graph::Param| MappedWeight {
        name: param.name.clone(),
        dims: param.dims.clone(),
        file_name: param.name.clone(),
        layout: Layout::Torch,
        section: Section::Backbone,
    };
    Ok(detector.graph.params().iter().map(weight).collect())
}

/// `b0` of `tf_efficientnet_b0.ns_jft_in1k` or `tf_efficientnet_b0_ns`, `cc_b0_4e` of `tf_efficientnet_cc_b0_4e.in1k`.
fn short_name(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("tf_efficientnet_").or_else(|| name.strip_prefix("efficientnet_"))
    else {
        return name;
    };
    let parts = if rest.starts_with("cc_") { 3 } else { 1 };
    let end = rest.match_indices(['_', '.']).nth(parts - 1).map_or(rest.len(), |(at, _)| at);
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_of_timm_are_variants() {
        for name in ["b3", "efficientnet_b3", "tf_efficientnet_b3_ns", "tf_efficientnet_b3.ns_jft_in1k"] {
            assert_eq!(Variant::named(name, None).unwrap().name, "b3");
        }
        for name in ["cc-b0-4e", "tf_efficientnet_cc_b0_4e", "tf_efficientnet_cc_b0_4e.in1k"] {
            assert_eq!(Variant::named(name, None).unwrap().name, "cc-b0-4e");
        }
        assert_eq!(Variant::named("yolov8m", None).unwrap().network, Network::Yolov8(NeckScale::M));
        assert!(Variant::named("resnet50", None).is_err());
    }
}
