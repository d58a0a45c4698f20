//! A network on net-cpu's plans, to train and to run, whatever it computes.

use crate::{ImageBatch, TrainError};
use net_cpu::{InferModel, InferPlan, Isa, Params, Precision, TrainPlan};
use net_graph::{Graph, NodeId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Batch, height and width that a plan is laid out for.
pub(crate) type PlanSize = (usize, usize, usize);

impl ImageBatch<'_> {
    pub(crate) fn plan_size(&self) -> PlanSize {
        (self.count, self.size.height, self.size.width)
    }
}

/// A network before its first step.
#[derive(Debug, Clone)]
pub struct UntrainedNetwork<O> {
    /// The graph.
    pub graph: Arc<Graph>,
    /// What it computes: the head of a detector, the logits of a classifier.
    pub outputs: O,
    /// Values of its parameters.
    pub params: Params,
    /// Beginnings of the names of the parameters of each backbone stage, the stem first.
    pub stages: Vec<Vec<String>>,
}

/// A network with its parameters and the plan of one input size at a time: a plan owns the memory of all activations,
/// and laying out another takes far less time than a step.
#[derive(Debug)]
pub(crate) struct PlannedNetwork {
    graph: Arc<Graph>,
    outputs: Vec<NodeId>,
    pub(crate) params: Params,
    frozen: Vec<String>,
    isa: Isa,
    plan: Option<(PlanSize, TrainPlan)>,
}

impl PlannedNetwork {
    pub(crate) fn new(graph: Arc<Graph>, outputs: Vec<NodeId>, params: Params, isa: Isa) -> Self {
        PlannedNetwork { graph, outputs, params, frozen: Vec::new(), isa, plan: None }
    }

    /// From the next forward pass on, the parameters whose names begin with one of the prefixes stay as they are.
    pub(crate) fn freeze(&mut self, frozen: Vec<String>) {
        if frozen != self.frozen {
            (self.frozen, self.plan) = (frozen, None);
        }
    }

    /// Computes the outputs of a batch.
    pub(crate) fn forward(
        &mut self,
        batch: ImageBatch<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<&TrainPlan, TrainError> {
        self.lay_out(batch.plan_size())?;
        let (_, plan) = self.plan.as_mut().expect("just laid out");
        plan.forward(&mut self.params, batch.images, uniform)?;
        Ok(plan)
    }

    /// Runs backward, after `write` has written the outputs' gradients; it is given the number of images.
    pub(crate) fn backward(&mut self, gradients: &mut [f32], write: impl FnOnce(usize, &mut TrainPlan)) {
        let ((images, ..), plan) = self.plan.as_mut().expect("a forward pass came before");
        write(*images, plan);
        plan.backward(&self.params, gradients);
    }

    pub(crate) fn activation_bytes(&self) -> usize {
        self.plan.as_ref().map_or(0, |(_, plan)| plan.arena_bytes())
    }

    /// Lays out a plan, unless it is the one at hand.
    fn lay_out(&mut self, size: PlanSize) -> Result<(), TrainError> {
        if self.plan.as_ref().is_some_and(|(planned, _)| *planned == size) {
            return Ok(());
        }
        // The old plan's memory goes first.
        self.plan = None;
        let frozen = |name: &str| self.frozen.iter().any(|prefix| name.starts_with(prefix));
        let layout = self.params.layout.clone();
        let plan = TrainPlan::new(self.graph.clone(), layout, &self.outputs, size, self.isa, &frozen)?;
        self.plan = Some((size, plan));
        Ok(())
    }
}

/// A network ready to run: batch norm folded, weights packed, one plan an input size.
#[derive(Debug)]
pub(crate) struct PlannedModel {
    model: Arc<InferModel>,
    plans: HashMap<PlanSize, InferPlan>,
}

impl PlannedModel {
    /// Folds and packs a network's weights.
    pub(crate) fn new(
        graph: Arc<Graph>,
        params: &Params,
        outputs: &[NodeId],
        isa: Isa,
        precision: Precision,
    ) -> Result<Self, TrainError> {
        let model = InferModel::new(graph, params, outputs, isa, precision)?;
        Ok(PlannedModel { model, plans: HashMap::new() })
    }

    /// Computes the outputs of a batch.
    pub(crate) fn run(&mut self, batch: ImageBatch<'_>) -> Result<&InferPlan, TrainError> {
        let size @ (count, height, width) = batch.plan_size();
        let plan = match self.plans.entry(size) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.model.plan(count, height, width)?),
        };
        plan.run(batch.images)?;
        Ok(plan)
    }

    /// The plan that ran batches of that size, if any did.
    pub(crate) fn used(&self, batch: ImageBatch<'_>) -> Option<&InferPlan> {
        self.plans.get(&batch.plan_size())
    }
}
