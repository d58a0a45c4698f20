use crate::RowsSpec;
use effnet_backbone::{EfficientNetConfig, InputNormalization};
use effnet_scaling::{NetworkSpec, Variant};
use net_graph::Padding;
use yolo_neck_head::{CspBackbone, NeckScale};

/// What turns the image into feature maps.
#[derive(Debug, Clone, PartialEq)]
pub enum BackboneSpec {
    /// A member of the EfficientNet family.
    EfficientNet(EfficientNetSpec),
    /// The backbone of YOLOv8.
    Csp(CspSpec),
    /// A network that is described row by row, with its neck and head.
    Rows(RowsSpec),
}

/// Input normalisation that belongs to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// RGB in `[0, 1]` as it is.
    None,
    /// Mean and standard deviation of ImageNet, as plain, AutoAugment, RandAugment and NoisyStudent checkpoints want.
    Imagenet,
    /// To `[-1, 1]`, as timm runs the Lite, EdgeTPU and CondConv variants and the AdvProp checkpoints.
    Lite,
    /// `(byte - 127) / 128`: the Lite and CondConv variants as TensorFlow runs them, half a grey level from [`Self::Lite`].
    LiteTensorflow,
}

/// What belongs to a checkpoint rather than to a network: weights lose accuracy under another convention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conventions {
    /// Padding of all convolutions.
    pub padding: Padding,
    /// Epsilon of all batch norms.
    pub bn_eps: f64,
    /// Input normalisation.
    pub normalization: Normalization,
}

/// A member of the EfficientNet family, possibly with other multipliers than the published ones.
#[derive(Debug, Clone, PartialEq)]
pub struct EfficientNetSpec {
    /// The variant whose baseline is scaled.
    pub variant: Variant,
    /// Width multiplier.
    pub width: f64,
    /// Depth multiplier.
    pub depth: f64,
    /// Padding of all convolutions.
    pub padding: Padding,
    /// Epsilon of all batch norms.
    pub bn_eps: f64,
    /// Weight of the new batch in the running statistics.
    pub bn_momentum: f64,
    /// Largest drop-path rate.
    pub drop_path: f64,
    /// Dropout rate before the classifier.
    pub dropout: f64,
    /// Input normalisation.
    pub normalization: Normalization,
    /// Levels for the neck: 3 is P3, stride 8.
    pub levels: Vec<usize>,
}

/// YOLOv8's backbone at some scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CspSpec {
    /// Scale.
    pub scale: NeckScale,
    /// Levels for the neck: 3 is P3, stride 8.
    pub levels: Vec<usize>,
}

impl EfficientNetSpec {
    /// The scaled network.
    ///
    /// # Panics
    /// When a multiplier is not positive; [`crate::ModelSpec::from_yaml`] checks that.
    pub fn network(&self) -> NetworkSpec {
        self.variant.baseline().scaled(self.width, self.depth).expect("multipliers were checked")
    }

    /// The builder's configuration; all names begin with `backbone.`.
    pub fn config(&self) -> EfficientNetConfig {
        EfficientNetConfig {
            spec: self.network(),
            padding: self.padding,
            bn_eps: self.bn_eps,
            bn_momentum: self.bn_momentum,
            drop_path: self.drop_path,
            dropout: self.dropout,
            normalization: match self.normalization {
                Normalization::None => None,
                Normalization::Imagenet => Some(InputNormalization::imagenet()),
                Normalization::Lite => Some(InputNormalization::lite()),
                Normalization::LiteTensorflow => Some(InputNormalization::lite_tensorflow()),
            },
            prefix: "backbone".into(),
            reductions: self.levels.clone(),
        }
    }
}

impl BackboneSpec {
    /// Largest stride of a map: image sides must be multiples of it.
    pub fn max_stride(&self) -> usize {
        let coarsest = |levels: &[usize]| 1 << levels.last().expect("levels were checked");
        match self {
            BackboneSpec::EfficientNet(spec) => coarsest(&spec.levels),
            BackboneSpec::Csp(spec) => coarsest(&spec.levels),
            BackboneSpec::Rows(spec) => spec.max_stride,
        }
    }

    /// Beginnings of the parameter names of the stem and of each stage.
    pub fn stage_prefixes(&self) -> Vec<Vec<String>> {
        match self {
            BackboneSpec::EfficientNet(spec) => {
                effnet_backbone::EfficientNet::new(spec.config()).stage_prefixes()
            }
            BackboneSpec::Csp(spec) => CspBackbone::new(spec.scale, spec.levels.clone()).stage_prefixes(),
            BackboneSpec::Rows(spec) => spec.stage_prefixes(),
        }
    }
}
