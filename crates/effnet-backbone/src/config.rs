use effnet_scaling::{NetworkSpec, Variant};
use net_graph::Padding;

/// What a checkpoint's images were normalised with: `x * scale[c] + shift[c]` on RGB values in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputNormalization {
    /// Factor a channel.
    pub scale: [f32; 3],
    /// Summand a channel.
    pub shift: [f32; 3],
}

impl InputNormalization {
    /// Mean and standard deviation of ImageNet: B0 to B8 and L2, trained with AutoAugment, RandAugment or NoisyStudent.
    pub fn imagenet() -> Self {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        Self::from_mean_std(mean, std)
    }

    /// `2 x - 1`: the AdvProp checkpoints of B0 to B8.
    pub fn advprop() -> Self {
        Self::lite()
    }

    /// To `[-1, 1]`: the Lite, EdgeTPU and CondConv variants, as timm runs them.
    pub fn lite() -> Self {
        Self::from_mean_std([0.5; 3], [0.5; 3])
    }

    /// `(byte - 127) / 128`: the Lite, EdgeTPU and CondConv variants, as TensorFlow runs them.
    pub fn lite_tensorflow() -> Self {
        Self::from_mean_std([127.0 / 255.0; 3], [128.0 / 255.0; 3])
    }

    /// `(x - mean) / std`.
    pub fn from_mean_std(mean: [f64; 3], std: [f64; 3]) -> Self {
        let channels = [0, 1, 2];
        InputNormalization {
            scale: channels.map(|c| (1.0 / std[c]) as f32),
            shift: channels.map(|c| (-mean[c] / std[c]) as f32),
        }
    }
}

/// An EfficientNet and how it was, or is to be, trained.
///
/// Padding, batch-norm epsilon and input normalisation belong to a checkpoint: weights trained with one convention
/// lose accuracy under another.
#[derive(Debug, Clone, PartialEq)]
pub struct EfficientNetConfig {
    /// Stages.
    pub spec: NetworkSpec,
    /// Padding of all convolutions.
    pub padding: Padding,
    /// Epsilon of all batch norms.
    pub bn_eps: f64,
    /// Weight of the new batch in the running statistics (PyTorch's sense).
    pub bn_momentum: f64,
    /// Drop-path rate that block `i` of `n` gets `i / n` of; 0.2 in all published variants, 0 for no such nodes.
    pub drop_path: f64,
    /// Dropout rate before the classifier; 0 for no such node.
    pub dropout: f64,
    /// Applied to the image first, where the checkpoint needs it.
    pub normalization: Option<InputNormalization>,
    /// First part of every name; may be empty.
    pub prefix: String,
    /// Which reductions are levels of the backbone, from 1 (stride 2) up, strictly increasing.
    pub reductions: Vec<usize>,
}

impl EfficientNetConfig {
    /// A published variant to be trained from scratch: symmetric padding, batch-norm epsilon 1e-3 and momentum 0.01,
    /// drop-path 0.2, the variant's dropout, images as they are, no prefix, levels of strides 4, 8, 16 and 32.
    pub fn from_scratch(variant: &Variant) -> Self {
        EfficientNetConfig {
            spec: variant.network(),
            padding: Padding::Symmetric,
            bn_eps: 1e-3,
            bn_momentum: 0.01,
            drop_path: 0.2,
            dropout: variant.dropout,
            normalization: None,
            prefix: String::new(),
            reductions: vec![2, 3, 4, 5],
        }
    }

    /// A published variant as its weights were trained with TensorFlow (timm's `tf_efficientnet_...`): its padding, and
    /// the input normalisation that the weights expect. All else as for [`EfficientNetConfig::from_scratch`].
    pub fn tensorflow(variant: &Variant) -> Self {
        let normalization = if variant.is_lite() || variant.is_edgetpu() || variant.experts().is_some() {
            InputNormalization::lite()
        } else {
            InputNormalization::imagenet()
        };
        EfficientNetConfig {
            padding: Padding::Same,
            normalization: Some(normalization),
            ..Self::from_scratch(variant)
        }
    }
}
