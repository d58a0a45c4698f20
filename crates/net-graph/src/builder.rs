use crate::{Activation, Conv, Graph, GraphError, Init, Node, NodeId, Op, Param, ParamId, Role};
use std::collections::HashSet;

/// Appends nodes to a graph. Every method returns the new node, so that blocks read like a forward pass.
///
/// ```
/// use net_graph::{Activation, Builder, Conv, Init, Padding};
/// let mut b = Builder::new();
/// let image = b.input("image", 3)?;
/// let conv = Conv { kernel: 3, stride: 2, padding: Padding::Symmetric, groups: 1 };
/// let x = b.conv("stem.conv", image, 16, conv, Init::Normal { std: 0.1 }, None)?;
/// let x = b.batch_norm("stem.bn", x, 1e-3, 0.03)?;
/// let x = b.activation("stem.act", x, Activation::Silu)?;
/// let graph = b.finish();
/// assert_eq!(graph.shapes(1, 64, 64)?[x.0].dims(), [1, 16, 32, 32]);
/// # Ok::<(), net_graph::GraphError>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    params: Vec<Param>,
    node_names: HashSet<String>,
    param_names: HashSet<String>,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        Graph { nodes: self.nodes, params: self.params }
    }

    /// Channels of a node's value.
    pub fn channels(&self, node: NodeId) -> usize {
        self.nodes[node.0].channels
    }

    /// The image batch with that many channels.
    pub fn input(&mut self, name: &str, channels: usize) -> Result<NodeId, GraphError> {
        self.push(name, Op::Input, &[], channels)
    }

    /// [`Op::ChannelAffine`].
    pub fn channel_affine(
        &mut self,
        name: &str,
        x: NodeId,
        scale: &[f32],
        shift: &[f32],
    ) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        self.expect(name, scale.len() == channels && shift.len() == channels, || {
            (format!("{channels} factors and summands"), format!("{} and {}", scale.len(), shift.len()))
        })?;
        self.push(name, Op::ChannelAffine { scale: scale.to_vec(), shift: shift.to_vec() }, &[x], channels)
    }

    /// [`Op::Conv2d`]; parameters `{name}.weight` and, where `bias` says how it starts, `{name}.bias`.
    pub fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        conv: Conv,
        init: Init,
        bias: Option<Init>,
    ) -> Result<NodeId, GraphError> {
        let dims = self.kernel_dims(name, x, out, conv)?;
        let weight = self.param(format!("{name}.weight"), dims, Role::Weight, init)?;
        let bias =
            bias.map(|init| self.param(format!("{name}.bias"), vec![out], Role::Bias, init)).transpose()?;
        self.push(name, Op::Conv2d { conv, weight, bias }, &[x], out)
    }

    /// [`Op::CondConv`] with as many experts as `routing` has channels; parameter `{name}.weight`.
    pub fn cond_conv(
        &mut self,
        name: &str,
        x: NodeId,
        routing: NodeId,
        out: usize,
        conv: Conv,
        init: Init,
    ) -> Result<NodeId, GraphError> {
        let kernel = self.kernel_dims(name, x, out, conv)?.iter().product();
        let dims = vec![self.channels(routing), kernel];
        let weight = self.param(format!("{name}.weight"), dims, Role::Weight, init)?;
        self.push(name, Op::CondConv { conv, weight }, &[x, routing], out)
    }

    /// [`Op::BatchNorm`]; parameters `{name}.weight`, `.bias`, `.running_mean`, `.running_var`.
    pub fn batch_norm(
        &mut self,
        name: &str,
        x: NodeId,
        eps: f64,
        momentum: f64,
    ) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        let mut param = |suffix: &str, role, value| {
            self.param(format!("{name}.{suffix}"), vec![channels], role, Init::Constant(value))
        };
        let gamma = param("weight", Role::NormScale, 1.0)?;
        let beta = param("bias", Role::Bias, 0.0)?;
        let mean = param("running_mean", Role::RunningMean, 0.0)?;
        let var = param("running_var", Role::RunningVar, 1.0)?;
        self.push(name, Op::BatchNorm { gamma, beta, mean, var, eps, momentum }, &[x], channels)
    }

    /// [`Op::Linear`]; parameters `{name}.weight` and `{name}.bias`.
    pub fn linear(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        weight: Init,
        bias: Init,
    ) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        let weight = self.param(format!("{name}.weight"), vec![out, channels], Role::Weight, weight)?;
        let bias = self.param(format!("{name}.bias"), vec![out], Role::Bias, bias)?;
        self.push(name, Op::Linear { weight, bias }, &[x], out)
    }

    /// [`Op::Activation`].
    pub fn activation(
        &mut self,
        name: &str,
        x: NodeId,
        activation: Activation,
    ) -> Result<NodeId, GraphError> {
        self.push(name, Op::Activation(activation), &[x], self.channels(x))
    }

    /// [`Op::Add`].
    pub fn add(&mut self, name: &str, left: NodeId, right: NodeId) -> Result<NodeId, GraphError> {
        let channels = self.channels(left);
        self.expect_channels(name, right, channels)?;
        self.push(name, Op::Add, &[left, right], channels)
    }

    /// [`Op::Gate`].
    pub fn gate(&mut self, name: &str, x: NodeId, gate: NodeId) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        self.expect_channels(name, gate, channels)?;
        self.push(name, Op::Gate, &[x, gate], channels)
    }

    /// [`Op::GlobalAvgPool`].
    pub fn global_avg_pool(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        self.push(name, Op::GlobalAvgPool, &[x], self.channels(x))
    }

    /// [`Op::MaxPool`].
    pub fn max_pool(
        &mut self,
        name: &str,
        x: NodeId,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        self.push(name, Op::MaxPool { kernel, stride }, &[x], self.channels(x))
    }

    /// [`Op::Upsample`].
    pub fn upsample(&mut self, name: &str, x: NodeId, factor: usize) -> Result<NodeId, GraphError> {
        self.push(name, Op::Upsample { factor }, &[x], self.channels(x))
    }

    /// [`Op::Concat`].
    pub fn concat(&mut self, name: &str, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        self.expect(name, !inputs.is_empty(), || ("at least one input".into(), "none".into()))?;
        self.push(name, Op::Concat, inputs, inputs.iter().map(|&id| self.channels(id)).sum())
    }

    /// [`Op::Slice`].
    pub fn slice(&mut self, name: &str, x: NodeId, start: usize, len: usize) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        self.expect(name, len > 0 && start + len <= channels, || {
            (format!("a range within {channels} channels"), format!("{start}..{}", start + len))
        })?;
        self.push(name, Op::Slice { start, len }, &[x], len)
    }

    /// [`Op::DropPath`].
    pub fn drop_path(&mut self, name: &str, x: NodeId, rate: f64) -> Result<NodeId, GraphError> {
        self.push(name, Op::DropPath { rate }, &[x], self.channels(x))
    }

    /// [`Op::Dropout`].
    pub fn dropout(&mut self, name: &str, x: NodeId, rate: f64) -> Result<NodeId, GraphError> {
        self.push(name, Op::Dropout { rate }, &[x], self.channels(x))
    }

    /// [`Op::DecodeDetections`] of box and class maps, one each a level; the constant `{name}.weight` holds the bins.
    pub fn decode_detections(
        &mut self,
        name: &str,
        boxes: &[NodeId],
        classes: &[NodeId],
        strides: &[usize],
        reg_max: usize,
    ) -> Result<NodeId, GraphError> {
        let count = strides.len();
        self.expect(name, count > 0 && boxes.len() == count && classes.len() == count, || {
            (format!("{count} box and class maps"), format!("{} and {}", boxes.len(), classes.len()))
        })?;
        let class_count = self.channels(classes[0]);
        boxes.iter().try_for_each(|&id| self.expect_channels(name, id, 4 * reg_max))?;
        classes.iter().try_for_each(|&id| self.expect_channels(name, id, class_count))?;
        let bins =
            self.param(format!("{name}.weight"), vec![1, reg_max, 1, 1], Role::Constant, Init::Range)?;
        let inputs = [boxes, classes].concat();
        self.push(
            name,
            Op::DecodeDetections { strides: strides.to_vec(), reg_max, bins },
            &inputs,
            4 + class_count,
        )
    }

    /// Dimensions of a convolution's kernel, `[C_out, C_in / groups, k, k]`.
    fn kernel_dims(&self, name: &str, x: NodeId, out: usize, conv: Conv) -> Result<Vec<usize>, GraphError> {
        let channels = self.channels(x);
        let whole =
            conv.groups > 0 && channels.is_multiple_of(conv.groups) && out.is_multiple_of(conv.groups);
        self.expect(name, whole && out > 0, || {
            (
                format!("channels in and out that divide into {} groups", conv.groups),
                format!("{channels} and {out}"),
            )
        })?;
        Ok(vec![out, channels / conv.groups, conv.kernel, conv.kernel])
    }

    fn param(
        &mut self,
        name: String,
        dims: Vec<usize>,
        role: Role,
        init: Init,
    ) -> Result<ParamId, GraphError> {
        if !self.param_names.insert(name.clone()) {
            return Err(GraphError::DuplicateParam { param: name });
        }
        self.params.push(Param { name, dims, role, init });
        Ok(ParamId(self.params.len() - 1))
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[NodeId], channels: usize) -> Result<NodeId, GraphError> {
        if !self.node_names.insert(name.to_string()) {
            return Err(GraphError::DuplicateNode { node: name.to_string() });
        }
        self.nodes.push(Node { name: name.to_string(), op, inputs: inputs.to_vec(), channels });
        Ok(NodeId(self.nodes.len() - 1))
    }

    fn expect_channels(&self, name: &str, input: NodeId, channels: usize) -> Result<(), GraphError> {
        let got = self.channels(input);
        self.expect(name, got == channels, || {
            (format!("{channels} channels"), format!("{got} from `{}`", self.nodes[input.0].name))
        })
    }

    fn expect(
        &self,
        name: &str,
        holds: bool,
        sides: impl FnOnce() -> (String, String),
    ) -> Result<(), GraphError> {
        if holds {
            return Ok(());
        }
        let (expected, got) = sides();
        Err(GraphError::Channels { node: name.to_string(), expected, got })
    }
}
