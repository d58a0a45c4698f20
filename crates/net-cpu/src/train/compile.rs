//! From a graph to forward and backward steps.
//!
//! Gradients mirror values: the gradient of a slice is a range of its input's gradient, and the gradient of what a
//! concat joins is a range of the joined gradient. Two more share memory: a batch norm turns the gradient of its output
//! into that of its input in place, and one side of an addition takes over the sum's gradient.

use crate::NetError;
use crate::consumers::Consumers;
use crate::infer::unsupported;
use crate::placement::Placement;
use net_graph::{Graph, NodeId, Op};

/// A forward step; it computes the value of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// The image batch; `affine` is the channel affine node that is applied on the way.
    Images { input: NodeId, affine: Option<NodeId> },
    /// Batch norm, and the activation node that follows.
    Norm { norm: NodeId, activation: Option<NodeId> },
    /// Any other node by itself.
    Node(NodeId),
}

/// A backward step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backward {
    /// Channels of a node's gradient that nothing has written yet become 0.
    Zero { node: NodeId, start: usize, len: usize },
    /// From the gradient of the step's result to those of its inputs and parameters.
    Step { forward: Forward, into: Vec<Into> },
}

/// What happens to the gradient of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// Nothing depends on it.
    Skip,
    /// It lies where the result's gradient lies.
    InPlace,
    /// It is written for the first time.
    Write,
    /// It is added to.
    Accumulate,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) forward: Vec<Forward>,
    pub(crate) backward: Vec<Backward>,
    pub(crate) values: Placement,
    pub(crate) grads: Placement,
    /// By parameter: it gets a gradient.
    pub(crate) trained: Vec<bool>,
}

impl Forward {
    /// The node whose value the step computes.
    pub(crate) fn result(&self) -> NodeId {
        match *self {
            Forward::Images { input, affine } => affine.unwrap_or(input),
            Forward::Norm { norm, activation } => activation.unwrap_or(norm),
            Forward::Node(id) => id,
        }
    }

    /// The node whose inputs the step reads.
    pub(crate) fn first(&self) -> NodeId {
        match *self {
            Forward::Images { input, .. } => input,
            Forward::Norm { norm, .. } => norm,
            Forward::Node(id) => id,
        }
    }

    /// Values that the step reads.
    pub(crate) fn inputs(&self, graph: &Graph) -> Vec<NodeId> {
        graph.node(self.first()).inputs.clone()
    }
}

impl Schedule {
    /// The step that takes the images in.
    pub(crate) fn images(&self) -> Option<Forward> {
        self.forward.iter().copied().find(|step| matches!(step, Forward::Images { .. }))
    }
}

impl Backward {
    /// Values that the step reads.
    pub(crate) fn values(&self, graph: &Graph) -> Vec<NodeId> {
        let Backward::Step { forward, .. } = self else { return Vec::new() };
        let inputs = forward.inputs(graph);
        match graph.node(forward.first()).op {
            Op::Conv2d { .. }
            | Op::CondConv { .. }
            | Op::Linear { .. }
            | Op::BatchNorm { .. }
            | Op::Activation(_)
            | Op::Gate => inputs,
            Op::MaxPool { .. } => vec![inputs[0], forward.result()],
            _ => Vec::new(),
        }
    }

    /// Gradients that the step reads or writes.
    pub(crate) fn grads(&self, graph: &Graph) -> Vec<NodeId> {
        match self {
            Backward::Zero { node, .. } => vec![*node],
            Backward::Step { forward, into } => {
                let inputs = forward.inputs(graph);
                let used =
                    inputs.iter().zip(into).filter(|(_, into)| **into != Into::Skip).map(|(id, _)| *id);
                used.chain([forward.result()]).collect()
            }
        }
    }
}

/// Compiles both directions.
pub(crate) fn schedule(
    graph: &Graph,
    consumers: &Consumers,
    outputs: &[NodeId],
    frozen: &dyn Fn(&str) -> bool,
    image_grad: bool,
) -> Result<Schedule, NetError> {
    let forward = forward_steps(graph, consumers)?;
    let mut computed = vec![false; graph.nodes().len()];
    forward.iter().for_each(|step| computed[step.result().0] = true);
    let identity: Vec<bool> = graph.ids().map(|id| is_identity(&graph.node(id).op)).collect();
    let values = Placement::new(graph, &computed, &identity);
    let trained: Vec<bool> =
        graph.params().iter().map(|param| param.role.is_trained() && !frozen(&param.name)).collect();
    let wants_grad = wants_grad(graph, &trained, image_grad);
    let grads = place_grads(graph, consumers, &forward, &values);
    let mut backward = BackwardCompiler::new(graph, &grads, &wants_grad);
    outputs.iter().for_each(|id| backward.mark(*id));
    for step in forward.iter().rev().filter(|step| wants_grad[step.result().0]) {
        backward.add(*step, &trained)?;
    }
    Ok(Schedule { backward: backward.steps, forward, values, grads, trained })
}

fn is_identity(op: &Op) -> bool {
    matches!(op, Op::DropPath { rate } | Op::Dropout { rate } if *rate == 0.0)
}

fn forward_steps(graph: &Graph, consumers: &Consumers) -> Result<Vec<Forward>, NetError> {
    let mut fused = vec![false; graph.nodes().len()];
    let mut steps = Vec::new();
    for id in graph.ids().filter(|id| consumers.is_needed(*id)) {
        if fused[id.0] {
            continue;
        }
        let op = &graph.node(id).op;
        let next = |kind: fn(&Op) -> bool| consumers.sole(id).filter(|next| kind(&graph.node(*next).op));
        let step = match op {
            Op::Input => {
                Forward::Images { input: id, affine: next(|op| matches!(op, Op::ChannelAffine { .. })) }
            }
            Op::BatchNorm { .. } => {
                Forward::Norm { norm: id, activation: next(|op| matches!(op, Op::Activation(_))) }
            }
            Op::Slice { .. } => continue,
            Op::DecodeDetections { .. } => {
                return Err(unsupported(graph, id, "training reads the raw maps of the head"));
            }
            Op::Conv2d { conv, .. } | Op::CondConv { conv, .. } if !has_kernel(graph, id, conv.groups) => {
                return Err(unsupported(
                    graph,
                    id,
                    "only dense and depthwise convolutions have a CPU kernel",
                ));
            }
            op if is_identity(op) => continue,
            _ => Forward::Node(id),
        };
        fused[step.result().0] = true;
        steps.push(step);
    }
    Ok(steps)
}

/// A convolution is dense, or has a filter for every channel.
fn has_kernel(graph: &Graph, id: NodeId, groups: usize) -> bool {
    let node = graph.node(id);
    groups == 1 || (groups == node.channels && groups == graph.node(node.inputs[0]).channels)
}

/// By node: a trained parameter, or an image whose gradient is wanted, lies at it or before it.
fn wants_grad(graph: &Graph, trained: &[bool], image_grad: bool) -> Vec<bool> {
    let mut wants = vec![false; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        wants[id.0] = (image_grad && node.op == Op::Input)
            || node.op.params().iter().any(|param| trained[param.0])
            || node.inputs.iter().any(|input| wants[input.0]);
    }
    wants
}

fn place_grads(graph: &Graph, consumers: &Consumers, forward: &[Forward], values: &Placement) -> Placement {
    let mut grads = values.clone();
    for step in forward {
        let inputs = step.inputs(graph);
        let may_share = |grads: &Placement, id: NodeId| consumers.sole(id).is_some() && !grads.is_placed(id);
        match step {
            Forward::Norm { .. } if may_share(&grads, inputs[0]) => grads.share(inputs[0], step.result()),
            Forward::Node(id) if graph.node(*id).op == Op::Add => {
                if let Some(input) = inputs.iter().rev().find(|input| may_share(&grads, **input)) {
                    grads.share(*input, step.result());
                }
            }
            _ => {}
        }
    }
    grads
}

struct BackwardCompiler<'a> {
    graph: &'a Graph,
    grads: &'a Placement,
    wants_grad: &'a [bool],
    /// By node that owns memory, by channel: something has been written.
    written: Vec<Vec<bool>>,
    steps: Vec<Backward>,
}

impl<'a> BackwardCompiler<'a> {
    fn new(graph: &'a Graph, grads: &'a Placement, wants_grad: &'a [bool]) -> Self {
        let written = graph.nodes().iter().map(|node| vec![false; node.channels]).collect();
        BackwardCompiler { graph, grads, wants_grad, written, steps: Vec::new() }
    }

    /// Channels of the node's gradient that are written so far.
    fn written(&mut self, id: NodeId) -> &mut [bool] {
        let (root, channel) = self.grads.root(id);
        &mut self.written[root.0][channel..channel + self.graph.node(id).channels]
    }

    fn mark(&mut self, id: NodeId) {
        self.written(id).fill(true);
    }

    /// Zeroes what is not written yet.
    fn complete(&mut self, id: NodeId) {
        let written = self.written(id).to_vec();
        let mut start = 0;
        for run in written.chunk_by(|a, b| a == b) {
            if !run[0] {
                self.steps.push(Backward::Zero { node: id, start, len: run.len() });
            }
            start += run.len();
        }
        self.mark(id);
    }

    /// How the gradient of an input may be written now; `shared` is where it would lie to need no writing.
    fn into(&mut self, id: NodeId, shared: (NodeId, usize)) -> Into {
        if !self.wants_grad[id.0] {
            return Into::Skip;
        }
        if self.grads.root(id) == shared {
            return Into::InPlace;
        }
        if self.written(id).iter().all(|written| !written) {
            self.mark(id);
            return Into::Write;
        }
        self.complete(id);
        Into::Accumulate
    }

    fn add(&mut self, forward: Forward, trained: &[bool]) -> Result<(), NetError> {
        let first = forward.first();
        let node = self.graph.node(first);
        if matches!(node.op, Op::ChannelAffine { .. }) {
            return Err(unsupported(self.graph, first, "it is trained only right after the images"));
        }
        self.complete(forward.result());
        let (root, mut channel) = self.grads.root(forward.result());
        let mut into = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            into.push(self.into(input, (root, channel)));
            if node.op == Op::Concat {
                channel += self.graph.node(input).channels;
            }
        }
        let useful = into.iter().any(|into| *into != Into::Skip)
            || node.op.params().iter().any(|param| trained[param.0]);
        if useful {
            self.steps.push(Backward::Step { forward, into });
        }
        Ok(())
    }
}
