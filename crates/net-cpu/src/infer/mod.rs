//! Inference: fused steps over weights that are packed once, laid out per input size.

mod fuse;
mod plan;
mod timing;

pub use plan::InferPlan;

use crate::consumers::Consumers;
use crate::placement::Placement;
use crate::{NetError, Weights};
use cpu_kernels::{Isa, Precision};
use fuse::Step;
pub(crate) use fuse::{expert_shape, kernel_activation, unsupported};
use net_graph::{Graph, NodeId};
pub(crate) use plan::{pool_window, window};
use std::sync::Arc;

/// A network ready for inference: batch norm folded, weights packed. Plans for different input sizes share it.
#[derive(Debug)]
pub struct InferModel {
    graph: Arc<Graph>,
    outputs: Vec<NodeId>,
    steps: Vec<Step>,
    placement: Placement,
    isa: Isa,
}

impl InferModel {
    /// Folds and packs what `outputs` need. Keeps nothing of `weights`. The precision is that of dense convolutions and linear
    /// layers; those with kernels mixed from experts, and all other operations, are f32.
    ///
    /// # Errors
    /// When a node has no kernel.
    pub fn new(
        graph: Arc<Graph>,
        weights: &dyn Weights,
        outputs: &[NodeId],
        isa: Isa,
        precision: Precision,
    ) -> Result<Arc<Self>, NetError> {
        let consumers = Consumers::new(&graph, outputs);
        let steps = fuse::steps(&graph, weights, &consumers, isa, precision)?;
        let mut computed = vec![false; graph.nodes().len()];
        for step in &steps {
            [Some(step.result), step.pooled].into_iter().flatten().for_each(|id| computed[id.0] = true);
        }
        let identity: Vec<bool> = graph.ids().map(|id| fuse::is_identity(&graph.node(id).op)).collect();
        let placement = Placement::new(&graph, &computed, &identity);
        Ok(Arc::new(InferModel { graph, outputs: outputs.to_vec(), steps, placement, isa }))
    }

    /// Lays out memory for one input size.
    ///
    /// # Errors
    /// When the size does not suit the network.
    pub fn plan(self: &Arc<Self>, batch: usize, height: usize, width: usize) -> Result<InferPlan, NetError> {
        InferPlan::new(self.clone(), batch, height, width)
    }
}
