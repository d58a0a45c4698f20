//! What the steps of a plan are and what they cost, for those who measure them.

use net_graph::{Graph, NodeId, Op, Shape};

/// Direction of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// From images to outputs.
    Forward,
    /// From gradients of the outputs to those of the parameters.
    Backward,
}

/// One step of a plan: the nodes that one run of kernels computes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Its direction.
    pub pass: Pass,
    /// Kinds of the nodes that multiply and add, with the kernel's side for convolutions: `Conv 1x1 + DepthwiseConv 3x3`;
    /// that of the first node where none does.
    pub kind: String,
    /// The nodes; the value (or in backward: the gradient) of the last one is the step's result (argument); a mean over it that is
    /// computed along stands before it.
    pub nodes: Vec<NodeId>,
    /// Multiply-adds of the whole batch, counted as [`net_graph::Cost::macs`] is.
    pub macs: u64,
    /// Bytes of all maps and parameters that the step has to read or write once.
    pub bytes: u64,
}

/// Bytes of so many values.
pub(crate) fn bytes(values: usize) -> u64 {
    (values * size_of::<f32>()) as u64
}

/// The nodes between `inputs` and `result`, in the graph's order; `result` is the last one.
pub(crate) fn covered(graph: &Graph, inputs: &[NodeId], result: NodeId) -> Vec<NodeId> {
    let (mut found, mut open) = (vec![result], vec![result]);
    while let Some(id) = open.pop() {
        for &input in graph.node(id).inputs.iter().filter(|input| !inputs.contains(input)) {
            if !found.contains(&input) {
                found.push(input);
                open.push(input);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Multiply-adds of some nodes.
pub(crate) fn macs(graph: &Graph, nodes: &[NodeId], shapes: &[Shape]) -> u64 {
    nodes.iter().map(|id| graph.macs(*id, shapes)).sum()
}

/// Kinds of those of some nodes that multiply and add, in order; of the first node where none does.
pub(crate) fn kind(graph: &Graph, nodes: &[NodeId], shapes: &[Shape]) -> String {
    let name = |id: &NodeId| match &graph.node(*id).op {
        op @ (Op::Conv2d { conv, .. } | Op::CondConv { conv, .. }) => {
            format!("{} {k}x{k}", op.kind(), k = conv.kernel)
        }
        op => op.kind().to_string(),
    };
    let main: Vec<String> = nodes.iter().filter(|id| graph.macs(**id, shapes) > 0).map(name).collect();
    if main.is_empty() { name(nodes.first().expect("a step has nodes")) } else { main.join(" + ") }
}

/// Values of the parameters of some nodes.
pub(crate) fn param_values(graph: &Graph, nodes: &[NodeId]) -> usize {
    let params = nodes.iter().flat_map(|id| graph.node(*id).op.params());
    params.map(|id| graph.param(id).len()).sum()
}
