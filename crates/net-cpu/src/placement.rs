//! Which values are channels of another value, so that joining and splitting costs nothing.
//!
//! A slice is a range of its input's channels. An input of a concat is computed straight into its place in the joined
//! map, where it has no other home. Slices that together are the whole of one map and stand side by side in a concat
//! put that map there.

use net_graph::{Graph, NodeId, Op};

/// For every node, the map it is a range of channels of.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    /// The wider map and the first channel in it.
    parent: Vec<Option<(NodeId, usize)>>,
}

impl Placement {
    /// `computed` marks nodes whose value some step writes; `identity` marks nodes whose value is their input's.
    pub(crate) fn new(graph: &Graph, computed: &[bool], identity: &[bool]) -> Self {
        let mut placement = Placement { parent: vec![None; graph.nodes().len()] };
        for id in graph.ids() {
            match graph.node(id).op {
                Op::Slice { start, .. } => placement.parent[id.0] = Some((graph.node(id).inputs[0], start)),
                _ if identity[id.0] => placement.parent[id.0] = Some((graph.node(id).inputs[0], 0)),
                _ => {}
            }
        }
        for id in graph.ids().filter(|id| computed[id.0] && graph.node(*id).op == Op::Concat) {
            placement.join(graph, id, computed);
        }
        placement
    }

    fn join(&mut self, graph: &Graph, concat: NodeId, computed: &[bool]) {
        let inputs = &graph.node(concat).inputs;
        let (mut at, mut channel) = (0, 0);
        while at < inputs.len() {
            let (whole, count) = whole_of_slices(graph, &inputs[at..]).unwrap_or((inputs[at], 1));
            if computed[whole.0] && self.parent[whole.0].is_none() && graph.node(whole).op != Op::Input {
                self.parent[whole.0] = Some((concat, channel));
            }
            channel += graph.node(whole).channels;
            at += count;
        }
    }

    /// Makes `node` share the memory of `target`, from its first channel.
    pub(crate) fn share(&mut self, node: NodeId, target: NodeId) {
        self.parent[node.0] = Some((target, 0));
    }

    /// True if the node is part of another map.
    pub(crate) fn is_placed(&self, node: NodeId) -> bool {
        self.parent[node.0].is_some()
    }

    /// The map that owns the memory, and the node's first channel in it.
    pub(crate) fn root(&self, node: NodeId) -> (NodeId, usize) {
        let (mut node, mut channel) = (node, 0);
        while let Some((parent, start)) = self.parent[node.0] {
            (node, channel) = (parent, channel + start);
        }
        (node, channel)
    }

    /// Inputs of a concat that lie elsewhere and have to be copied, with their first channel in the joined map.
    pub(crate) fn copies<'a>(
        &'a self,
        graph: &'a Graph,
        concat: NodeId,
    ) -> impl Iterator<Item = (NodeId, usize)> + 'a {
        let (root, start) = self.root(concat);
        let first_channels = graph.node(concat).inputs.iter().scan(0, |channel, &input| {
            let first = *channel;
            *channel += graph.node(input).channels;
            Some((input, first))
        });
        first_channels.filter(move |&(input, channel)| self.root(input) != (root, start + channel))
    }
}

/// If the list starts with slices that together are the whole of one map, in order: that map and their number.
fn whole_of_slices(graph: &Graph, inputs: &[NodeId]) -> Option<(NodeId, usize)> {
    let Op::Slice { .. } = graph.node(*inputs.first()?).op else { return None };
    let whole = graph.node(inputs[0]).inputs[0];
    let mut covered = 0;
    for (count, &input) in inputs.iter().enumerate() {
        match graph.node(input).op {
            Op::Slice { start, len } if graph.node(input).inputs[0] == whole && start == covered => {
                covered += len
            }
            _ => return None,
        }
        if covered == graph.node(whole).channels {
            return Some((whole, count + 1));
        }
    }
    None
}
