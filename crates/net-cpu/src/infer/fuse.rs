//! From nodes to steps: a convolution takes the batch norm, activation and residual that follow it and the gate before
//! it, and a depthwise convolution with its mean over the image where only that reads it.

mod cond_conv;

use crate::consumers::Consumers;
use crate::{NetError, Weights};
use cpu_kernels::activation::Activation;
use cpu_kernels::conv::depthwise_after::DepthwiseAfter;
use cpu_kernels::conv::{Finish, InferenceWeight};
use cpu_kernels::experts::Experts;
use cpu_kernels::{Isa, Precision, depthwise};
use net_graph::{Conv, Graph, NodeId, Op};

pub(crate) use cond_conv::expert_shape;

/// One kernel call: what it computes, from which values, into which.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<NodeId>,
    pub(crate) result: NodeId,
    /// A second result: the mean of the first over every image's positions.
    pub(crate) pooled: Option<NodeId>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The image batch, converted; times scale plus shift by channel.
    Images {
        affine: Option<(Vec<f32>, Vec<f32>)>,
    },
    /// `round(act(conv(x * gate) + bias) + residual)`; inputs are `x`, the gate if it has one, the residual if any.
    Conv {
        conv: Conv,
        weight: InferenceWeight,
        finish: Finish,
        gated: bool,
    },
    /// As [`Kind::Conv`], or [`Kind::Depthwise`] without gate and residual, with a kernel that every image mixes from
    /// experts; inputs are `x`, the gate if it has one, the routing, the residual if any.
    CondConv {
        conv: Conv,
        experts: Experts,
        finish: Finish,
        gated: bool,
    },
    /// `round(act(depthwise(act(conv(x) + bias)) + bias))`; nobody else reads the value of `between`, the convolution.
    ConvDepthwise {
        conv: Conv,
        depthwise: Conv,
        between: NodeId,
        weight: Box<DepthwiseAfter>,
    },
    /// `round(act(depthwise(x) + bias))`.
    Depthwise {
        conv: Conv,
        weight: Vec<f32>,
        finish: Finish,
    },
    /// `act(x * scale + shift)` by channel.
    ScaleShift {
        scale: Vec<f32>,
        shift: Vec<f32>,
        activation: Activation,
    },
    Activation(Activation),
    Add,
    Gate,
    GlobalAvgPool,
    MaxPool {
        kernel: usize,
        stride: usize,
    },
    Upsample {
        factor: usize,
    },
    Concat,
    Decode {
        strides: Vec<usize>,
        bins: Vec<f32>,
    },
}

/// True for a depthwise convolution of so many channels.
fn is_depthwise(op: &Op, channels: usize) -> bool {
    matches!(op, Op::Conv2d { conv, .. } if conv.groups == channels && channels > 1)
}

/// True if the node passes its input on.
pub(crate) fn is_identity(op: &Op) -> bool {
    matches!(op, Op::DropPath { .. } | Op::Dropout { .. })
}

/// The kernel crate's name for an activation.
pub(crate) fn kernel_activation(activation: net_graph::Activation) -> Activation {
    match activation {
        net_graph::Activation::Silu => Activation::Silu,
        net_graph::Activation::Relu => Activation::Relu,
        net_graph::Activation::Relu6 => Activation::Relu6,
        net_graph::Activation::Sigmoid => Activation::Sigmoid,
    }
}

/// The steps that the outputs need, in an order in which they can run.
pub(crate) fn steps(
    graph: &Graph,
    weights: &dyn Weights,
    consumers: &Consumers,
    isa: Isa,
    precision: Precision,
) -> Result<Vec<Step>, NetError> {
    let mut fuser =
        Fuser { graph, weights, consumers, isa, precision, fused: vec![false; graph.nodes().len()] };
    let mut steps = Vec::new();
    for id in graph.ids().filter(|id| consumers.is_needed(*id)) {
        if !fuser.fused[id.0] {
            steps.extend(fuser.step(id)?);
        }
    }
    // A step stands where its last node stood, so that a residual is there before it is added.
    steps.sort_by_key(|step| step.result);
    Ok(steps)
}

struct Fuser<'a> {
    graph: &'a Graph,
    weights: &'a dyn Weights,
    consumers: &'a Consumers,
    isa: Isa,
    precision: Precision,
    fused: Vec<bool>,
}

impl Fuser<'_> {
    fn step(&mut self, id: NodeId) -> Result<Option<Step>, NetError> {
        let node = self.graph.node(id);
        let mut result = id;
        let mut inputs = node.inputs.clone();
        let mut pooled = None;
        let kind = match &node.op {
            Op::Input => Kind::Images { affine: self.take_affine(&mut result) },
            Op::Conv2d { conv, weight, bias } => {
                let weight = self.weights.values(*weight).into_owned();
                let bias = bias.map(|id| self.weights.values(id).into_owned());
                self.conv(id, *conv, weight, bias, &mut inputs, &mut result, &mut pooled)?
            }
            Op::CondConv { conv, weight } => self.cond_conv(id, *conv, *weight, &mut inputs, &mut result)?,
            Op::Linear { weight, bias } => {
                let conv = Conv { kernel: 1, stride: 1, padding: net_graph::Padding::Symmetric, groups: 1 };
                let (weight, bias) =
                    (self.weights.values(*weight).into_owned(), self.weights.values(*bias).into_owned());
                self.conv(id, conv, weight, Some(bias), &mut inputs, &mut result, &mut pooled)?
            }
            Op::BatchNorm { .. } => {
                let (scale, shift) = self.norm(id);
                Kind::ScaleShift { scale, shift, activation: self.take_activation(&mut result) }
            }
            Op::ChannelAffine { scale, shift } => Kind::ScaleShift {
                scale: scale.clone(),
                shift: shift.clone(),
                activation: Activation::Identity,
            },
            Op::Activation(activation) => Kind::Activation(kernel_activation(*activation)),
            Op::Add => Kind::Add,
            Op::Gate if self.takes_gate(id) => return Ok(None),
            Op::Gate => Kind::Gate,
            Op::GlobalAvgPool => Kind::GlobalAvgPool,
            Op::MaxPool { kernel, stride } => Kind::MaxPool { kernel: *kernel, stride: *stride },
            Op::Upsample { factor } => Kind::Upsample { factor: *factor },
            Op::Concat => Kind::Concat,
            Op::Slice { .. } | Op::DropPath { .. } | Op::Dropout { .. } => return Ok(None),
            Op::DecodeDetections { strides, bins, .. } => {
                Kind::Decode { strides: strides.clone(), bins: self.weights.values(*bins).into_owned() }
            }
        };
        Ok(Some(Step { kind, inputs, result, pooled }))
    }

    /// A convolution with what is fused to it.
    #[allow(clippy::too_many_arguments)]
    fn conv(
        &mut self,
        id: NodeId,
        conv: Conv,
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        inputs: &mut Vec<NodeId>,
        result: &mut NodeId,
        pooled: &mut Option<NodeId>,
    ) -> Result<Kind, NetError> {
        let channels = self.graph.node(id).channels;
        let in_channels = self.graph.node(inputs[0]).channels;
        let (weight, mut finish) = self.folded(weight, bias, channels, result);
        if conv.groups == 1 {
            if let Some(next) = self.next(*result, |op| is_depthwise(op, channels)) {
                let sizes = [channels, in_channels, conv.kernel];
                return Ok(self.conv_depthwise(conv, weight, sizes, finish, next, result, pooled));
            }
            let gated = self.take_gate(inputs);
            self.take_residual(inputs, result);
            let sizes = [channels, in_channels, conv.kernel];
            let weight = InferenceWeight::new(self.isa, self.precision, &weight, sizes, conv.stride);
            finish.precision = self.precision_of(*result);
            return Ok(Kind::Conv { conv, weight, finish, gated });
        }
        if conv.groups != in_channels || channels != in_channels {
            return Err(unsupported(
                self.graph,
                id,
                "only dense and depthwise convolutions have a CPU kernel",
            ));
        }
        let mut packed = vec![0.0; weight.len()];
        depthwise::pack(&weight, channels, conv.kernel, &mut packed);
        finish.precision = self.precision_of(*result);
        Ok(Kind::Depthwise { conv, weight: packed, finish })
    }

    /// A convolution with the depthwise convolution `next` that alone reads it, and the mean of that.
    #[allow(clippy::too_many_arguments)]
    fn conv_depthwise(
        &mut self,
        conv: Conv,
        weight: Vec<f32>,
        sizes: [usize; 3],
        finish: Finish,
        next: NodeId,
        result: &mut NodeId,
        pooled: &mut Option<NodeId>,
    ) -> Kind {
        let between = *result;
        let Op::Conv2d { conv: depthwise, weight: next_weight, bias } = &self.graph.node(next).op else {
            unreachable!("`next` is a depthwise convolution")
        };
        let next_weight = self.weights.values(*next_weight).into_owned();
        let next_bias = bias.map(|id| self.weights.values(id).into_owned());
        self.take(next, result);
        let (next_weight, mut next_finish) = self.folded(next_weight, next_bias, sizes[0], result);
        next_finish.precision = self.precision_of(*result);
        let pool = |id: &&NodeId| self.graph.node(**id).op == Op::GlobalAvgPool;
        *pooled = self.consumers.of(*result).iter().find(pool).copied();
        pooled.iter().for_each(|pooled| self.fused[pooled.0] = true);
        let weight = DepthwiseAfter::new(
            self.isa,
            self.precision,
            &weight,
            sizes,
            finish,
            &next_weight,
            depthwise.kernel,
            next_finish,
        );
        Kind::ConvDepthwise { conv, depthwise: *depthwise, between, weight: Box::new(weight) }
    }

    /// Weight, bias and activation of a convolution, with the batch norm that follows it folded into them. Nothing is rounded.
    fn folded(
        &mut self,
        mut weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        channels: usize,
        result: &mut NodeId,
    ) -> (Vec<f32>, Finish) {
        let mut bias = bias.unwrap_or_else(|| vec![0.0; channels]);
        if let Some(norm) = self.next(*result, |op| matches!(op, Op::BatchNorm { .. })) {
            let (scale, shift) = self.norm(norm);
            fold(&mut weight, &mut bias, &scale, &shift);
            self.take(norm, result);
        }
        (weight, Finish { bias, activation: self.take_activation(result), precision: Precision::F32 })
    }

    /// What a convolution rounds its result to: the precision of the dense convolutions that read it, if any do.
    fn precision_of(&self, result: NodeId) -> Precision {
        if self.is_multiplied(result) { self.precision } else { Precision::F32 }
    }

    /// True if a dense convolution or a linear layer with one kernel reads the value, or what has copies of it or multiplies it
    /// with a gate.
    fn is_multiplied(&self, id: NodeId) -> bool {
        self.consumers.of(id).iter().any(|reader| {
            let node = self.graph.node(*reader);
            match &node.op {
                Op::Conv2d { conv, .. } => conv.groups == 1,
                Op::Linear { .. } => true,
                Op::Gate => node.inputs[0] == id && self.is_multiplied(*reader),
                Op::MaxPool { .. }
                | Op::Upsample { .. }
                | Op::Concat
                | Op::Slice { .. }
                | Op::DropPath { .. }
                | Op::Dropout { .. } => self.is_multiplied(*reader),
                _ => false,
            }
        })
    }

    /// True if a pointwise convolution alone reads the gated value: it multiplies its input itself.
    fn takes_gate(&self, gate: NodeId) -> bool {
        let is_pointwise = |op: &Op| match op {
            Op::Conv2d { conv, .. } | Op::CondConv { conv, .. } => {
                matches!(conv, Conv { kernel: 1, stride: 1, groups: 1, .. })
            }
            _ => false,
        };
        self.next(gate, is_pointwise).is_some_and(|next| self.graph.node(next).inputs[0] == gate)
    }

    /// Replaces a gated input by what is gated and the gate.
    fn take_gate(&mut self, inputs: &mut Vec<NodeId>) -> bool {
        let gate = inputs[0];
        let gated = self.graph.node(gate).op == Op::Gate && self.takes_gate(gate);
        if gated {
            inputs.splice(0..1, self.graph.node(gate).inputs.iter().copied());
        }
        gated
    }

    /// Scale and shift of a batch norm in evaluation.
    fn norm(&self, id: NodeId) -> (Vec<f32>, Vec<f32>) {
        let Op::BatchNorm { gamma, beta, mean, var, eps, .. } = self.graph.node(id).op else {
            panic!("`{}` is not a batch norm", self.graph.node(id).name)
        };
        let [gamma, beta, mean, var] = [gamma, beta, mean, var].map(|param| self.weights.values(param));
        let scale: Vec<f32> = gamma
            .iter()
            .zip(var.iter())
            .map(|(g, v)| (*g as f64 / (*v as f64 + eps).sqrt()) as f32)
            .collect();
        let shift =
            (0..scale.len()).map(|c| (beta[c] as f64 - mean[c] as f64 * scale[c] as f64) as f32).collect();
        (scale, shift)
    }

    /// The one reader of a value, if it is of the kind asked for.
    fn next(&self, id: NodeId, kind: impl Fn(&Op) -> bool) -> Option<NodeId> {
        self.consumers.sole(id).filter(|next| kind(&self.graph.node(*next).op))
    }

    fn take(&mut self, node: NodeId, result: &mut NodeId) {
        self.fused[node.0] = true;
        *result = node;
    }

    fn take_affine(&mut self, result: &mut NodeId) -> Option<(Vec<f32>, Vec<f32>)> {
        let next = self.next(*result, |op| matches!(op, Op::ChannelAffine { .. }))?;
        self.take(next, result);
        match &self.graph.node(next).op {
            Op::ChannelAffine { scale, shift } => Some((scale.clone(), shift.clone())),
            _ => None,
        }
    }

    fn take_activation(&mut self, result: &mut NodeId) -> Activation {
        match self
            .next(*result, |op| matches!(op, Op::Activation(_)))
            .map(|next| (next, &self.graph.node(next).op))
        {
            Some((next, Op::Activation(activation))) => {
                self.take(next, result);
                kernel_activation(*activation)
            }
            _ => Activation::Identity,
        }
    }

    /// Takes an addition whose other side is computed before this step can run.
    fn take_residual(&mut self, inputs: &mut Vec<NodeId>, result: &mut NodeId) {
        let mut end = *result;
        while let Some(next) = self.next(end, is_identity) {
            end = next;
        }
        let Some(add) = self.next(end, |op| *op == Op::Add) else { return };
        let other = self.graph.node(add).inputs.iter().copied().find(|input| *input != end);
        if let Some(other) = other.filter(|other| *other < *result) {
            inputs.push(other);
            self.fused[add.0] = true;
            *result = add;
        }
    }
}

/// Multiplies weights by the norm's scale, output channel by output channel, and moves the bias along.
fn fold(weight: &mut [f32], bias: &mut [f32], scale: &[f32], shift: &[f32]) {
    scale_rows(weight, scale);
    for (channel, bias) in bias.iter_mut().enumerate() {
        *bias = *bias * scale[channel] + shift[channel];
    }
}

/// Multiplies weights, output channel by output channel.
fn scale_rows(weight: &mut [f32], scale: &[f32]) {
    let row = weight.len() / scale.len();
    for (row, scale) in weight.chunks_exact_mut(row).zip(scale) {
        row.iter_mut().for_each(|w| *w *= scale);
    }
}

/// The error for a node without a kernel.
pub(crate) fn unsupported(graph: &Graph, id: NodeId, reason: &'static str) -> NetError {
    let node = graph.node(id);
    NetError::Unsupported { node: node.name.clone(), kind: node.op.kind(), reason }
}
