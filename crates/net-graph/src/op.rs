use crate::{Padding, ParamId};

/// An element-wise non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Size, step, padding and grouping of a convolution with a square kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Kernel height and width.
    pub kernel: usize,
    /// Step in both axes.
    pub stride: usize,
    /// Padding rule.
    pub padding: Padding,
    /// Channel groups; equal to the channels for a depthwise convolution.
    pub groups: usize,
}

/// What a node computes. Shapes are `[B, C, H, W]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The image batch.
    Input,
    /// `x * scale[c] + shift[c]` with constants: the input normalisation a checkpoint was trained with.
    ChannelAffine {
        /// One factor a channel.
        scale: Vec<f32>,
        /// One summand a channel.
        shift: Vec<f32>,
    },
    /// Convolution; weight `[C_out, C_in / groups, k, k]`, bias `[C_out]`.
    Conv2d {
        /// Geometry.
        conv: Conv,
        /// Weight.
        weight: ParamId,
        /// Bias, if any.
        bias: Option<ParamId>,
    },
    /// Convolution with a kernel of its own for every image (CondConv, arXiv 1904.04971, section 3). Inputs are the map
    /// and the routing `[B, E, 1, 1]`; the kernel of image `b` is the sum over the experts `e` of `routing[b, e] *
    /// weight[e]`. Weight `[E, C_out * (C_in / groups) * k * k]`, every row a kernel in the order of [`Op::Conv2d`]'s.
    CondConv {
        /// Geometry.
        conv: Conv,
        /// One kernel an expert.
        weight: ParamId,
    },
    /// Batch norm over B, H, W of each channel. The running variance takes the unbiased batch variance
    /// (biased where there is one value), and `running = (1 - momentum) * running + momentum * batch`.
    BatchNorm {
        /// Scale `[C]`.
        gamma: ParamId,
        /// Shift `[C]`.
        beta: ParamId,
        /// Running mean `[C]`.
        mean: ParamId,
        /// Running variance `[C]`.
        var: ParamId,
        /// Added to the variance.
        eps: f64,
        /// Weight of the new batch in the running statistics (PyTorch's sense).
        momentum: f64,
    },
    /// Element-wise non-linearity.
    Activation(Activation),
    /// Sum of two maps of one shape.
    Add,
    /// First input `[B, C, H, W]` times second input `[B, C, 1, 1]`.
    Gate,
    /// Mean over H and W: `[B, C, 1, 1]`.
    GlobalAvgPool,
    /// Maximum over a window; symmetric padding that never wins. In the gradient the first maximum takes all.
    MaxPool {
        /// Window side.
        kernel: usize,
        /// Step.
        stride: usize,
    },
    /// Nearest-neighbour enlargement by a whole factor.
    Upsample {
        /// Factor in both axes.
        factor: usize,
    },
    /// Joins channels of maps of one size, in order.
    Concat,
    /// Channels `start .. start + len`.
    Slice {
        /// First channel.
        start: usize,
        /// Number of channels.
        len: usize,
    },
    /// Stochastic depth: in training each image's value is dropped with probability `rate`, else divided by
    /// `1 - rate`. Identity otherwise.
    DropPath {
        /// Probability of dropping.
        rate: f64,
    },
    /// In training each value is dropped with probability `rate`, else divided by `1 - rate`.
    Dropout {
        /// Probability of dropping.
        rate: f64,
    },
    /// `W x + b` on `[B, C, 1, 1]`; weight `[C_out, C_in]`.
    Linear {
        /// Weight.
        weight: ParamId,
        /// Bias.
        bias: ParamId,
    },
    /// Decoded detections `[B, 4 + K, 1, A]`: centre x, centre y, width, height in input pixels, then the sigmoid of
    /// the class logits. Inputs: the box map `[B, 4 * reg_max, H_l, W_l]` of every level, then the class map
    /// `[B, K, H_l, W_l]` of every level. A box map's channels are side-major: left, top, right, bottom, each with
    /// `reg_max` bins; a side is the expectation of the softmax over its bins, in units of the stride, from the
    /// cell's centre (Generalized Focal Loss, arXiv 2006.04388, section 3.2).
    DecodeDetections {
        /// Stride of every level in input pixels.
        strides: Vec<usize>,
        /// Bins a side.
        reg_max: usize,
        /// Values of the bins, `[1, reg_max, 1, 1]`: 0, 1, 2 ...; a constant.
        bins: ParamId,
    },
}

impl Op {
    /// Short name of the kind, for tables and profiles.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::ChannelAffine { .. } => "ChannelAffine",
            Op::Conv2d { conv, .. } if conv.groups > 1 => "DepthwiseConv",
            Op::Conv2d { .. } => "Conv",
            Op::CondConv { conv, .. } if conv.groups > 1 => "DepthwiseCondConv",
            Op::CondConv { .. } => "CondConv",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::Activation(Activation::Silu) => "SiLU",
            Op::Activation(Activation::Relu) => "ReLU",
            Op::Activation(Activation::Relu6) => "ReLU6",
            Op::Activation(Activation::Sigmoid) => "Sigmoid",
            Op::Add => "Add",
            Op::Gate => "Gate",
            Op::GlobalAvgPool => "GlobalAvgPool",
            Op::MaxPool { .. } => "MaxPool",
            Op::Upsample { .. } => "Upsample",
            Op::Concat => "Concat",
            Op::Slice { .. } => "Slice",
            Op::DropPath { .. } => "DropPath",
            Op::Dropout { .. } => "Dropout",
            Op::Linear { .. } => "Linear",
            Op::DecodeDetections { .. } => "DecodeDetections",
        }
    }

    /// Parameters that the node reads, in a fixed order.
    pub fn params(&self) -> Vec<ParamId> {
        match *self {
            Op::Conv2d { weight, bias, .. } => std::iter::once(weight).chain(bias).collect(),
            Op::CondConv { weight, .. } => vec![weight],
            Op::BatchNorm { gamma, beta, mean, var, .. } => vec![gamma, beta, mean, var],
            Op::Linear { weight, bias } => vec![weight, bias],
            Op::DecodeDetections { bins, .. } => vec![bins],
            _ => Vec::new(),
        }
    }
}
