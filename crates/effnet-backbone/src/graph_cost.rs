use crate::{EfficientNet, EfficientNetConfig, StagedConfig, StagedNetwork};
use effnet_scaling::{
    ActivationBytes, Cost, CostModel, Footprint, Network, NetworkSpec, SourceError, StagedSpec,
};
use net_graph::{Builder, Graph, GraphError, Op, Padding, Shape};
use std::collections::HashMap;

/// Graph of a classifier with SAME padding, without dropout: for counting and timing.
///
/// # Errors
/// When the channels of a group do not fit, and for a detector: this crate knows classifiers only.
pub fn classifier_graph(network: &Network, classes: usize) -> Result<Graph, SourceError> {
    let mut builder = Builder::new();
    let image = builder.input("image", 3)?;
    match network {
        Network::EfficientNet(spec) => {
            EfficientNet::new(plain(spec)).build_classifier(&mut builder, image, classes)?;
        }
        Network::Staged(spec) => {
            StagedNetwork::new(plain_staged(spec)).build_classifier(&mut builder, image, classes)?;
        }
        Network::Detector(_) => return Err("a detector is no classifier".into()),
    }
    Ok(builder.finish())
}

fn plain(spec: &NetworkSpec) -> EfficientNetConfig {
    EfficientNetConfig {
        spec: spec.clone(),
        padding: Padding::Same,
        bn_eps: 1e-3,
        bn_momentum: 0.01,
        drop_path: 0.0,
        dropout: 0.0,
        normalization: None,
        prefix: String::new(),
        reductions: vec![1],
    }
}

fn plain_staged(spec: &StagedSpec) -> StagedConfig {
    StagedConfig {
        spec: spec.clone(),
        padding: Padding::Same,
        bn_eps: 1e-3,
        bn_momentum: 0.01,
        prefix: String::new(),
        strides: vec![32],
    }
}

/// Counts a graph for one image of `height` x `width` pixels.
///
/// # Errors
/// When a window does not fit its map.
pub fn graph_footprint(graph: &Graph, height: usize, width: usize) -> Result<Footprint, GraphError> {
    let shapes = graph.shapes(1, height, width)?;
    let net_graph::Cost { params, macs } = graph.cost(&shapes);
    Ok(Footprint { cost: Cost { params, macs }, activations: activation_bytes(graph, &shapes) })
}

/// See [`ActivationBytes`] for what counts.
fn activation_bytes(graph: &Graph, shapes: &[Shape]) -> ActivationBytes {
    let last_reader = last_readers(graph);
    let mut held = vec![0u64; shapes.len()];
    let (mut alive, mut bytes) = (0u64, ActivationBytes::default());
    for (index, node) in graph.nodes().iter().enumerate() {
        let first = node.inputs.first().map(|id| id.0);
        match first.filter(|&x| runs_in_place(&node.op) && last_reader[x] == index) {
            Some(x) => held[index] = std::mem::take(&mut held[x]),
            None => {
                held[index] = 4 * shapes[index].len() as u64;
                alive += held[index];
                bytes.sum += held[index];
                bytes.peak = bytes.peak.max(alive);
            }
        }
        for input in node.inputs.iter().filter(|input| last_reader[input.0] == index) {
            alive -= std::mem::take(&mut held[input.0]);
        }
    }
    bytes
}

fn last_readers(graph: &Graph) -> Vec<usize> {
    let mut last: Vec<usize> = (0..graph.nodes().len()).collect();
    for (index, node) in graph.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|input| last[input.0] = index);
    }
    last
}

fn runs_in_place(op: &Op) -> bool {
    matches!(
        op,
        Op::ChannelAffine { .. }
            | Op::BatchNorm { .. }
            | Op::Activation(_)
            | Op::Add
            | Op::Gate
            | Op::DropPath { .. }
            | Op::Dropout { .. }
    )
}

/// Makes the graph of a network with that many classes.
pub type GraphOf = fn(&Network, usize) -> Result<Graph, SourceError>;

/// Counts the networks of all built-in families: EfficientNets in closed form, the others from their graphs, each
/// rounded network and image side once.
#[derive(Debug, Clone)]
pub struct GraphCost {
    classes: usize,
    graph_of: GraphOf,
    counted: HashMap<Network, HashMap<usize, Footprint>>,
}

impl GraphCost {
    /// For classifiers with that many classes.
    pub fn new(classes: usize) -> Self {
        Self::of_graphs(classes, classifier_graph)
    }

    /// For whatever networks `graph_of` can build, with that many classes.
    pub fn of_graphs(classes: usize, graph_of: GraphOf) -> Self {
        GraphCost { classes, graph_of, counted: HashMap::new() }
    }

    /// Parameters, multiply-adds and memory for one square image.
    ///
    /// # Errors
    /// When a window does not fit its map, or the graph cannot be built.
    pub fn footprint(&mut self, network: &Network, resolution: usize) -> Result<Footprint, SourceError> {
        if let Network::EfficientNet(spec) = network {
            return Ok(spec.footprint(resolution, resolution, self.classes));
        }
        if let Some(&known) = self.counted.get(network).and_then(|sides| sides.get(&resolution)) {
            return Ok(known);
        }
        let graph = (self.graph_of)(network, self.classes)?;
        let footprint = graph_footprint(&graph, resolution, resolution)?;
        self.counted.entry(network.clone()).or_default().insert(resolution, footprint);
        Ok(footprint)
    }
}

impl CostModel<Network> for GraphCost {
    /// Multiply-adds.
    fn cost(&mut self, network: &Network, resolution: usize) -> Result<f64, SourceError> {
        let macs = match network {
            // The closed form of the whole footprint would work out the memory too.
            Network::EfficientNet(spec) => spec.cost(resolution, resolution, self.classes).total().macs,
            Network::Staged(_) | Network::Detector(_) => self.footprint(network, resolution)?.cost.macs,
        };
        Ok(macs as f64)
    }
}
