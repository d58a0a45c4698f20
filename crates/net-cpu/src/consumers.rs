use net_graph::{Graph, NodeId};

/// Who reads each node's value, among the nodes that are needed for the outputs.
pub(crate) struct Consumers {
    users: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    needed: Vec<bool>,
}

impl Consumers {
    pub(crate) fn new(graph: &Graph, outputs: &[NodeId]) -> Self {
        let needed = graph.needed_for(outputs);
        let mut users = vec![Vec::new(); graph.nodes().len()];
        for id in graph.ids().filter(|id| needed[id.0]) {
            graph.node(id).inputs.iter().for_each(|input| users[input.0].push(id));
        }
        let mut is_output = vec![false; users.len()];
        outputs.iter().for_each(|id| is_output[id.0] = true);
        Consumers { users, is_output, needed }
    }

    /// True if the node has to run.
    pub(crate) fn is_needed(&self, id: NodeId) -> bool {
        self.needed[id.0]
    }

    /// The readers of the node's value.
    pub(crate) fn of(&self, id: NodeId) -> &[NodeId] {
        &self.users[id.0]
    }

    /// The one reader of the node's value, if there is exactly one and the value is not asked for from outside.
    pub(crate) fn sole(&self, id: NodeId) -> Option<NodeId> {
        match self.users[id.0][..] {
            [user] if !self.is_output[id.0] => Some(user),
            _ => None,
        }
    }
}
