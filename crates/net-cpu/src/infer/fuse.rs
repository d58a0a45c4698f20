//! From nodes to steps: a convolution takes the batch norm, activation and residual that follow it.

use crate::consumers::Consumers;
use crate::{NetError, Params};
use cpu_kernels::activation::Activation;
use cpu_kernels::conv::PackedWeight;
use cpu_kernels::{Isa, depthwise};
use net_graph::{Conv, Graph, NodeId, Op};

/// One kernel call: what it computes, from which values, into which.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<NodeId>,
    pub(crate) result: NodeId,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The image batch, converted; times scale plus shift by channel.
    Images {
        affine: Option<(Vec<f32>, Vec<f32>)>,
    },
    /// `act(conv(x) + bias) + residual`; the residual is the second input, if any.
    Conv {
        conv: Conv,
        weight: PackedWeight,
        bias: Vec<f32>,
        activation: Activation,
    },
    /// `act(depthwise(x) + bias)`.
    Depthwise {
        conv: Conv,
        weight: Vec<f32>,
        bias: Vec<f32>,
        activation: Activation,
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
    params: &Params,
    consumers: &Consumers,
    isa: Isa,
) -> Result<Vec<Step>, NetError> {
    let mut fuser = Fuser { graph, params, consumers, isa, fused: vec![false; graph.nodes().len()] };
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
    params: &'a Params,
    consumers: &'a Consumers,
    isa: Isa,
    fused: Vec<bool>,
}

impl Fuser<'_> {
    fn step(&mut self, id: NodeId) -> Result<Option<Step>, NetError> {
        let node = self.graph.node(id);
        let mut result = id;
        let mut inputs = node.inputs.clone();
        let kind = match &node.op {
            Op::Input => Kind::Images { affine: self.take_affine(&mut result) },
            Op::Conv2d { conv, weight, bias } => {
                let weight = self.params.values(*weight).to_vec();
                let bias = bias.map(|id| self.params.values(id).to_vec());
                self.conv(id, *conv, weight, bias, &mut inputs, &mut result)?
            }
            Op::Linear { weight, bias } => {
                let conv = Conv { kernel: 1, stride: 1, padding: net_graph::Padding::Symmetric, groups: 1 };
                let (weight, bias) =
                    (self.params.values(*weight).to_vec(), self.params.values(*bias).to_vec());
                self.conv(id, conv, weight, Some(bias), &mut inputs, &mut result)?
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
            Op::Gate => Kind::Gate,
            Op::GlobalAvgPool => Kind::GlobalAvgPool,
            Op::MaxPool { kernel, stride } => Kind::MaxPool { kernel: *kernel, stride: *stride },
            Op::Upsample { factor } => Kind::Upsample { factor: *factor },
            Op::Concat => Kind::Concat,
            Op::Slice { .. } | Op::DropPath { .. } | Op::Dropout { .. } => return Ok(None),
            Op::DecodeDetections { strides, bins, .. } => {
                Kind::Decode { strides: strides.clone(), bins: self.params.values(*bins).to_vec() }
            }
        };
        Ok(Some(Step { kind, inputs, result }))
    }

    /// A convolution with what follows it: batch norm into weight and bias, then activation, then residual.
    fn conv(
        &mut self,
        id: NodeId,
        conv: Conv,
        mut weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        inputs: &mut Vec<NodeId>,
        result: &mut NodeId,
    ) -> Result<Kind, NetError> {
        let channels = self.graph.node(id).channels;
        let in_channels = self.graph.node(inputs[0]).channels;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; channels]);
        if let Some(norm) = self.next(*result, |op| matches!(op, Op::BatchNorm { .. })) {
            let (scale, shift) = self.norm(norm);
            fold(&mut weight, &mut bias, &scale, &shift);
            self.take(norm, result);
        }
        let activation = self.take_activation(result);
        if conv.groups == 1 {
            self.take_residual(inputs, result);
            let Conv { kernel, stride, .. } = conv;
            let weight = PackedWeight::new(self.isa, &weight, channels, in_channels, kernel, stride);
            return Ok(Kind::Conv { conv, weight, bias, activation });
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
        Ok(Kind::Depthwise { conv, weight: packed, bias, activation })
    }

    /// Scale and shift of a batch norm in evaluation.
    fn norm(&self, id: NodeId) -> (Vec<f32>, Vec<f32>) {
        let Op::BatchNorm { gamma, beta, mean, var, eps, .. } = self.graph.node(id).op else {
            panic!("`{}` is not a batch norm", self.graph.node(id).name)
        };
        let [gamma, beta, mean, var] = [gamma, beta, mean, var].map(|param| self.params.values(param));
        let scale: Vec<f32> =
            gamma.iter().zip(var).map(|(g, v)| (*g as f64 / (*v as f64 + eps).sqrt()) as f32).collect();
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
    let row = weight.len() / scale.len();
    for (channel, row) in weight.chunks_exact_mut(row).enumerate() {
        row.iter_mut().for_each(|w| *w *= scale[channel]);
        bias[channel] = bias[channel] * scale[channel] + shift[channel];
    }
}

/// The error for a node without a kernel.
pub(crate) fn unsupported(graph: &Graph, id: NodeId, reason: &'static str) -> NetError {
    let node = graph.node(id);
    NetError::Unsupported { node: node.name.clone(), kind: node.op.kind(), reason }
}
