use effnet_scaling::NetworkSpec;
use std::fmt;

/// How a file of EfficientNet weights names its arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// timm's: `conv_stem.weight`, `blocks.1.0.conv_dw.weight`. The names of this project.
    Timm,
    /// torchvision's: `features.0.0.weight`, `features.2.0.block.1.0.weight`.
    Torchvision,
    /// Those of `efficientnet_pytorch` (lukemelas) and its Lite packages: `_conv_stem.weight`,
    /// `_blocks.1._depthwise_conv.weight`, with blocks counted through all stages.
    Lukemelas,
    /// The official TensorFlow code's: `stem/conv2d/kernel`, `blocks_1/depthwise_conv2d/depthwise_kernel`.
    TensorFlow,
    /// `keras.applications`': `stem_conv/kernel`, `block2a_dwconv/kernel`.
    Keras,
    /// The same layers by class and number, where a Keras 3 file does not say their names: `conv2d/kernel`,
    /// `depthwise_conv2d_1/kernel`.
    KerasNumbered,
}

impl Naming {
    /// All namings.
    pub const ALL: [Naming; 6] = [
        Naming::Timm,
        Naming::Torchvision,
        Naming::Lukemelas,
        Naming::TensorFlow,
        Naming::Keras,
        Naming::KerasNumbered,
    ];

    /// Name in reports and options.
    pub fn name(self) -> &'static str {
        match self {
            Naming::Timm => "timm",
            Naming::Torchvision => "torchvision",
            Naming::Lukemelas => "lukemelas",
            Naming::TensorFlow => "tensorflow",
            Naming::Keras | Naming::KerasNumbered => "keras",
        }
    }

    /// Name of a kernel that every network has and no other naming has: what a file is recognised by.
    pub fn marker(self) -> &'static str {
        match self {
            Naming::Timm => "conv_stem.weight",
            Naming::Torchvision => "features.0.0.weight",
            Naming::Lukemelas => "_conv_stem.weight",
            Naming::TensorFlow => "stem/conv2d/kernel",
            Naming::Keras => "stem_conv/kernel",
            Naming::KerasNumbered => "depthwise_conv2d/kernel",
        }
    }

    /// True if it has names for all layers of the network: kernels of experts and their routing are named by timm and by the
    /// official TensorFlow code alone.
    pub fn names(self, spec: &NetworkSpec) -> bool {
        matches!(self, Naming::Timm | Naming::TensorFlow)
            || spec.stages.iter().all(|stage| stage.experts.is_none())
    }

    /// True if dimensions and names are PyTorch's.
    pub(crate) fn is_torch(self) -> bool {
        matches!(self, Naming::Timm | Naming::Torchvision | Naming::Lukemelas)
    }
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A layer that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    StemConv,
    StemNorm,
    Block(Place, Part),
    HeadConv,
    HeadNorm,
    Classifier,
}

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Through all stages, from 0.
    pub(crate) index: usize,
    /// From 0.
    pub(crate) stage: usize,
    /// From 0.
    pub(crate) index_in_stage: usize,
    /// One full convolution in place of expansion and depthwise convolution: it counts as the expansion.
    pub(crate) is_full: bool,
    pub(crate) expands: bool,
    pub(crate) squeezes: bool,
    /// Mixes its kernels from experts.
    pub(crate) mixes: bool,
    /// Dense convolutions before it in the network.
    pub(crate) convs: usize,
    /// Batch norms before it in the network.
    pub(crate) norms: usize,
}

/// A layer of a block, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Routing,
    Expand,
    ExpandNorm,
    Depthwise,
    DepthwiseNorm,
    Reduce,
    Restore,
    Project,
    ProjectNorm,
}

/// Which numbers of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Kernel,
    Bias,
    Gamma,
    Beta,
    Mean,
    Variance,
}

/// How many there are in the whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) stages: usize,
    /// Dense convolutions before the head.
    pub(crate) convs: usize,
    /// Batch norms before the head.
    pub(crate) norms: usize,
}

/// Name of a layer's numbers.
pub(crate) fn name(naming: Naming, layer: Layer, slot: Slot, totals: Totals) -> String {
    match naming {
        Naming::Timm => format!("{}.{}", timm(layer), torch_slot(slot)),
        Naming::Torchvision => format!("{}.{}", torchvision(layer, totals.stages), torch_slot(slot)),
        Naming::Lukemelas => format!("{}.{}", lukemelas(layer), torch_slot(slot)),
        Naming::TensorFlow => format!("{}/{}", tensorflow(layer), tensorflow_slot(layer, slot)),
        Naming::Keras => format!("{}/{}", keras(layer), keras_slot(slot)),
        Naming::KerasNumbered => format!("{}/{}", keras_numbered(layer, totals), keras_slot(slot)),
    }
}

fn torch_slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Kernel | Slot::Gamma => "weight",
        Slot::Bias | Slot::Beta => "bias",
        Slot::Mean => "running_mean",
        Slot::Variance => "running_var",
    }
}

fn keras_slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Kernel => "kernel",
        Slot::Bias => "bias",
        Slot::Gamma => "gamma",
        Slot::Beta => "beta",
        Slot::Mean => "moving_mean",
        Slot::Variance => "moving_variance",
    }
}

fn tensorflow_slot(layer: Layer, slot: Slot) -> &'static str {
    match layer {
        Layer::Block(Place { mixes: true, .. }, Part::Expand | Part::Project) => "condconv_kernel",
        Layer::Block(Place { mixes: true, .. }, Part::Depthwise) => "depthwise_condconv_kernel",
        Layer::Block(_, Part::Depthwise) => "depthwise_kernel",
        _ => keras_slot(slot),
    }
}

/// What whoever asks for a name has made sure of, by [`Naming::names`].
const NO_ROUTING: &str = "only timm and TensorFlow name a routing";

/// Number of a batch norm in its block, from 0 in the order they run.
fn norm_number(place: Place, part: Part) -> usize {
    let number = match part {
        Part::ExpandNorm => 0,
        Part::DepthwiseNorm => 1,
        Part::ProjectNorm if place.is_full => 1,
        Part::ProjectNorm => 2,
        _ => unreachable!("asked for batch norms only"),
    };
    number - usize::from(!place.expands)
}

/// timm counts in the order the layers run: without expansion the projection is `conv_pw`.
fn timm(layer: Layer) -> String {
    let (place, part) = match layer {
        Layer::StemConv => return "conv_stem".into(),
        Layer::StemNorm => return "bn1".into(),
        Layer::HeadConv => return "conv_head".into(),
        Layer::HeadNorm => return "bn2".into(),
        Layer::Classifier => return "classifier".into(),
        Layer::Block(place, part) => (place, part),
    };
    let part = match part {
        Part::Routing => "routing_fn".into(),
        Part::Expand if place.is_full => "conv_exp".into(),
        Part::Expand => "conv_pw".into(),
        Part::Depthwise => "conv_dw".into(),
        Part::Reduce => "se.conv_reduce".into(),
        Part::Restore => "se.conv_expand".into(),
        Part::Project if place.expands => "conv_pwl".into(),
        Part::Project => "conv_pw".into(),
        norm => format!("bn{}", norm_number(place, norm) + 1),
    };
    format!("blocks.{}.{}.{part}", place.stage, place.index_in_stage)
}

/// torchvision numbers the parts of a block as they come: expansion, depthwise, squeeze-and-excitation, projection.
fn torchvision(layer: Layer, stages: usize) -> String {
    let (place, part) = match layer {
        Layer::StemConv => return "features.0.0".into(),
        Layer::StemNorm => return "features.0.1".into(),
        Layer::HeadConv => return format!("features.{}.0", stages + 1),
        Layer::HeadNorm => return format!("features.{}.1", stages + 1),
        Layer::Classifier => return "classifier.1".into(),
        Layer::Block(place, part) => (place, part),
    };
    let (expand, squeeze) = (usize::from(place.expands), usize::from(place.squeezes));
    let part = match part {
        Part::Routing => unreachable!("{NO_ROUTING}"),
        Part::Expand => "0.0".into(),
        Part::ExpandNorm => "0.1".into(),
        Part::Depthwise => format!("{expand}.0"),
        Part::DepthwiseNorm => format!("{expand}.1"),
        Part::Reduce => format!("{}.fc1", expand + 1),
        Part::Restore => format!("{}.fc2", expand + 1),
        Part::Project => format!("{}.0", expand + squeeze + 1),
        Part::ProjectNorm => format!("{}.1", expand + squeeze + 1),
    };
    format!("features.{}.{}.block.{part}", place.stage + 1, place.index_in_stage)
}

/// Each part has its own name here, whether the block expands or not.
fn lukemelas(layer: Layer) -> String {
    let (place, part) = match layer {
        Layer::StemConv => return "_conv_stem".into(),
        Layer::StemNorm => return "_bn0".into(),
        Layer::HeadConv => return "_conv_head".into(),
        Layer::HeadNorm => return "_bn1".into(),
        Layer::Classifier => return "_fc".into(),
        Layer::Block(place, part) => (place, part),
    };
    let part = match part {
        Part::Routing => unreachable!("{NO_ROUTING}"),
        Part::Expand => "_expand_conv",
        Part::ExpandNorm => "_bn0",
        Part::Depthwise => "_depthwise_conv",
        Part::DepthwiseNorm => "_bn1",
        Part::Reduce => "_se_reduce",
        Part::Restore => "_se_expand",
        Part::Project => "_project_conv",
        Part::ProjectNorm => "_bn2",
    };
    format!("_blocks.{}.{part}", place.index)
}

fn numbered(name: &str, number: usize) -> String {
    match number {
        0 => name.to_string(),
        _ => format!("{name}_{number}"),
    }
}

/// TensorFlow numbers layers of one kind as they were made: a block without expansion starts at its projection. Layers
/// with experts are numbered within their block here, but through the whole network in files, where some are left out.
fn tensorflow(layer: Layer) -> String {
    let norm = "tpu_batch_normalization";
    let (place, part) = match layer {
        Layer::StemConv => return "stem/conv2d".into(),
        Layer::StemNorm => return format!("stem/{norm}"),
        Layer::HeadConv => return "head/conv2d".into(),
        Layer::HeadNorm => return format!("head/{norm}"),
        Layer::Classifier => return "head/dense".into(),
        Layer::Block(place, part) => (place, part),
    };
    let (conv, depthwise) = match place.mixes {
        true => ("cond_conv2d", "depthwise_cond_conv2d"),
        false => ("conv2d", "depthwise_conv2d"),
    };
    let part = match part {
        Part::Routing => "dense".into(),
        Part::Expand => conv.into(),
        Part::Depthwise => depthwise.into(),
        Part::Reduce => "se/conv2d".into(),
        Part::Restore => "se/conv2d_1".into(),
        Part::Project => numbered(conv, usize::from(place.expands)),
        batch_norm => numbered(norm, norm_number(place, batch_norm)),
    };
    format!("blocks_{}/{part}", place.index)
}

/// Stages are numbered from 1, blocks lettered from `a`.
fn keras(layer: Layer) -> String {
    let (place, part) = match layer {
        Layer::StemConv => return "stem_conv".into(),
        Layer::StemNorm => return "stem_bn".into(),
        Layer::HeadConv => return "top_conv".into(),
        Layer::HeadNorm => return "top_bn".into(),
        Layer::Classifier => return "predictions".into(),
        Layer::Block(place, part) => (place, part),
    };
    let part = match part {
        Part::Routing => unreachable!("{NO_ROUTING}"),
        Part::Expand => "expand_conv",
        Part::ExpandNorm => "expand_bn",
        Part::Depthwise => "dwconv",
        Part::DepthwiseNorm => "bn",
        Part::Reduce => "se_reduce",
        Part::Restore => "se_expand",
        Part::Project => "project_conv",
        Part::ProjectNorm => "project_bn",
    };
    let letter = char::from_u32('a' as u32 + place.index_in_stage as u32).expect("a stage has few blocks");
    format!("block{}{letter}_{part}", place.stage + 1)
}

/// Keras 3 numbers the layers of a class through the whole network, in the order they run.
fn keras_numbered(layer: Layer, totals: Totals) -> String {
    let conv = |number| numbered("conv2d", number);
    let norm = |number| numbered("batch_normalization", number);
    let (place, part) = match layer {
        Layer::StemConv => return conv(0),
        Layer::StemNorm => return norm(0),
        Layer::HeadConv => return conv(totals.convs),
        Layer::HeadNorm => return norm(totals.norms),
        Layer::Classifier => return "dense".into(),
        Layer::Block(place, part) => (place, part),
    };
    let (expand, squeeze) = (usize::from(place.expands), 2 * usize::from(place.squeezes));
    match part {
        Part::Routing => unreachable!("{NO_ROUTING}"),
        Part::Expand => conv(place.convs),
        Part::Reduce => conv(place.convs + expand),
        Part::Restore => conv(place.convs + expand + 1),
        Part::Project => conv(place.convs + expand + squeeze),
        Part::Depthwise => numbered("depthwise_conv2d", place.index),
        batch_norm => norm(place.norms + norm_number(place, batch_norm)),
    }
}
