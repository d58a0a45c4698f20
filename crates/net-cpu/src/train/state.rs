//! What the steps keep beside the arena: packed weights, batch statistics, masks.

use super::compile::{Backward, Into, Schedule};
use crate::infer::{expert_shape, window};
use cpu_kernels::Isa;
use cpu_kernels::conv::{PackedTransposed, PackedWeight};
use cpu_kernels::experts::{Experts, TransposedExperts};
use net_graph::{Graph, NodeId, Op, Shape};
use std::collections::HashMap;

/// Packed weights of a convolution or linear layer; repacked whenever the weights have changed.
#[derive(Debug)]
// A plan has some hundred of these: what the small variant wastes is nothing beside the maps.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Packed {
    Dense { forward: PackedWeight, backward: Option<PackedTransposed> },
    Depthwise(Vec<f32>),
    Experts { forward: Experts, backward: Option<TransposedExperts> },
}

/// Statistics a batch norm was run with.
#[derive(Debug)]
pub(crate) struct NormState {
    pub(crate) mean: Vec<f32>,
    pub(crate) var: Vec<f32>,
    pub(crate) inv_std: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) packed: HashMap<NodeId, Packed>,
    pub(crate) norms: HashMap<NodeId, NormState>,
    /// Factors of drop-path (one an image) and dropout (one a value) nodes in the last forward pass.
    pub(crate) factors: HashMap<NodeId, Vec<f32>>,
    /// Where gradients go that nobody wants.
    pub(crate) discard: Vec<f32>,
}

impl State {
    pub(crate) fn new(graph: &Graph, schedule: &Schedule, shapes: &[Shape], isa: Isa) -> Self {
        let mut state = State {
            packed: HashMap::new(),
            norms: HashMap::new(),
            factors: HashMap::new(),
            discard: Vec::new(),
        };
        for step in &schedule.forward {
            let id = step.first();
            let node = graph.node(id);
            match &node.op {
                Op::Conv2d { weight, conv, .. } if conv.groups > 1 => {
                    let values = graph.param(*weight).len();
                    state.packed.insert(id, Packed::Depthwise(vec![0.0; values]));
                }
                Op::Conv2d { .. } | Op::Linear { .. } => {
                    let to_input = wants_input_grad(schedule, id);
                    state.packed.insert(id, dense(graph, id, shapes, isa, to_input));
                }
                Op::CondConv { .. } => {
                    let to_input = wants_input_grad(schedule, id);
                    state.packed.insert(id, experts(graph, id, shapes, isa, to_input));
                }
                Op::BatchNorm { .. } => {
                    let zeros = || vec![0.0; node.channels];
                    let norm = NormState {
                        mean: zeros(),
                        var: zeros(),
                        inv_std: zeros(),
                        scale: zeros(),
                        shift: zeros(),
                    };
                    state.norms.insert(id, norm);
                    state.discard.resize(state.discard.len().max(node.channels), 0.0);
                }
                Op::DropPath { .. } => drop(state.factors.insert(id, vec![1.0; shapes[id.0].batch])),
                Op::Dropout { .. } => drop(state.factors.insert(id, vec![1.0; shapes[id.0].len()])),
                _ => {}
            }
        }
        state
    }
}

fn wants_input_grad(schedule: &Schedule, id: NodeId) -> bool {
    schedule.backward.iter().any(|step| match step {
        Backward::Step { forward, into } => forward.first() == id && into[0] != Into::Skip,
        Backward::Zero { .. } => false,
    })
}

fn dense(graph: &Graph, id: NodeId, shapes: &[Shape], isa: Isa, to_input: bool) -> Packed {
    let node = graph.node(id);
    let (x, y) = (shapes[node.inputs[0].0], shapes[id.0]);
    let conv = super::run::conv_of(&node.op);
    let zeros = vec![0.0; y.channels * x.channels * conv.kernel * conv.kernel];
    let window = window(conv, x, y);
    let backward = to_input.then(|| {
        PackedTransposed::new(
            isa,
            &zeros,
            y.channels,
            x.channels,
            conv.kernel,
            conv.stride,
            window.pad_top,
            window.pad_left,
        )
    });
    let forward = PackedWeight::new(isa, &zeros, y.channels, x.channels, conv.kernel, conv.stride);
    Packed::Dense { forward, backward }
}

fn experts(graph: &Graph, id: NodeId, shapes: &[Shape], isa: Isa, to_input: bool) -> Packed {
    let node = graph.node(id);
    let Op::CondConv { conv, weight } = node.op else { unreachable!("the caller has looked") };
    let shape = expert_shape(graph, id, conv, weight).expect("the schedule has looked at the groups");
    let zeros = vec![0.0; graph.param(weight).len()];
    let window = window(conv, shapes[node.inputs[0].0], shapes[id.0]);
    let pads = [window.pad_top, window.pad_left];
    let backward = to_input.then(|| TransposedExperts::new(isa, &zeros, &shape, pads));
    Packed::Experts { forward: Experts::new(isa, &zeros, &shape), backward }
}
