//! A network described row by row, Ultralytics' way.

use crate::{EfficientNetSpec, Normalization};
use effnet_scaling::Variant;
use net_graph::Padding;

/// A network as a list of rows; widths and repeats are those of the finished network.
///
/// Rows are numbered over backbone and head, and layers are named `model.<row>`, but for an EfficientNet, whose layers
/// are `backbone.<timm name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsSpec {
    /// All rows; the last one detects.
    pub rows: Vec<Row>,
    /// Rows of the backbone.
    pub backbone_rows: usize,
    /// Largest stride of any map: image sides must be multiples of it.
    pub max_stride: usize,
}

/// A row: what it reads and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Values that it reads: the number of one, or below 0 counted back from the row. A row that yields several maps
    /// (see [`Module::Backbone`]) has as many numbers.
    pub from: Vec<isize>,
    /// Repeats: of the bottlenecks in a C2f, of the module as a whole elsewhere.
    pub repeats: usize,
    /// What it does.
    pub module: Module,
}

/// What a row does.
#[derive(Debug, Clone, PartialEq)]
pub enum Module {
    /// Convolution, batch norm, SiLU.
    Conv {
        /// Output channels.
        out: usize,
        /// Kernel size, odd.
        kernel: usize,
        /// Stride.
        stride: usize,
    },
    /// [`yolo_neck_head::c2f`].
    C2f {
        /// Output channels.
        out: usize,
        /// Whether its bottlenecks add their input.
        shortcut: bool,
    },
    /// [`yolo_neck_head::sppf`].
    Sppf {
        /// Output channels.
        out: usize,
    },
    /// Nearest neighbour.
    Upsample {
        /// Factor.
        factor: usize,
    },
    /// Joins channels.
    Concat,
    /// An EfficientNet as one row with five numbers: nothing, then the maps of strides 4, 8, 16, 32.
    Backbone(ScaledVariant),
    /// An EfficientNet whose maps are picked by [`Module::Index`]: 0 is the image, 2 to 8 the stages, 9 the head
    /// convolution.
    Stages(ScaledVariant),
    /// Picks a map of [`Module::Stages`].
    Index {
        /// Its channels.
        channels: usize,
        /// Its number.
        index: usize,
    },
    /// The head.
    Detect,
}

/// A member of the EfficientNet family with further factors on its width and depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaledVariant {
    /// The member.
    pub variant: Variant,
    /// Factor on its width; 1 for the published network.
    pub width: f64,
    /// Factor on its depth; 1 for the published network.
    pub depth: f64,
}

/// Those of every EfficientNet under a YOLOv8 head that starts from scratch.
const BN_EPS: f64 = 1e-3;
const BN_MOMENTUM: f64 = 0.03;
const DROP_PATH: f64 = 0.2;

impl ScaledVariant {
    /// The network that yields these reductions.
    pub(crate) fn spec(&self, levels: Vec<usize>) -> EfficientNetSpec {
        EfficientNetSpec {
            variant: self.variant,
            width: self.variant.width * self.width,
            depth: self.variant.depth * self.depth,
            padding: Padding::Symmetric,
            bn_eps: BN_EPS,
            bn_momentum: BN_MOMENTUM,
            drop_path: DROP_PATH,
            dropout: 0.0,
            normalization: Normalization::None,
            levels,
        }
    }
}

/// Reduction of the EfficientNet that output `index` of [`Module::Stages`] is, if any: the last block of a stage before
/// the next stride.
pub(crate) fn reduction_of_output(index: usize) -> Option<usize> {
    match index {
        2 => Some(1),
        3 => Some(2),
        4 => Some(3),
        6 => Some(4),
        8 => Some(5),
        _ => None,
    }
}

/// Output of [`Module::Stages`] behind the head convolution.
pub(crate) const HEAD_OUTPUT: usize = 9;

/// Numbers that [`Module::Backbone`] takes.
pub(crate) const VALUES_OF_BACKBONE: usize = 5;

impl Module {
    /// Numbers that later rows know its maps by.
    pub(crate) fn value_count(&self) -> usize {
        if matches!(self, Module::Backbone(_)) { VALUES_OF_BACKBONE } else { 1 }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Module::Conv { .. } => "Conv",
            Module::C2f { .. } => "C2f",
            Module::Sppf { .. } => "SPPF",
            Module::Upsample { .. } => "nn.Upsample",
            Module::Concat => "Concat",
            Module::Backbone(_) => "EfficientNet",
            Module::Stages(_) => "TorchVision",
            Module::Index { .. } => "Index",
            Module::Detect => "Detect",
        }
    }
}

impl RowsSpec {
    /// Beginnings of the parameter names of the stem and of each stage. A stage of plain rows begins with a stride; SPPF
    /// belongs to the neck.
    pub(crate) fn stage_prefixes(&self) -> Vec<Vec<String>> {
        let mut stages: Vec<Vec<String>> = Vec::new();
        for (number, row) in self.rows.iter().take(self.backbone_rows).enumerate() {
            match &row.module {
                Module::Backbone(network) | Module::Stages(network) => {
                    let config = network.spec(vec![5]).config();
                    stages.extend(effnet_backbone::EfficientNet::new(config).stage_prefixes());
                }
                Module::Conv { stride, .. } if *stride > 1 || stages.is_empty() => {
                    stages.push(vec![format!("model.{number}.")]);
                }
                Module::Conv { .. } | Module::C2f { .. } => match stages.last_mut() {
                    Some(stage) => stage.push(format!("model.{number}.")),
                    None => stages.push(vec![format!("model.{number}.")]),
                },
                _ => {}
            }
        }
        stages
    }
}
