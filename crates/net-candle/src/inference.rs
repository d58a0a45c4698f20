//! Compiled models over one snapshot of a network's values.

use crate::CandleNetError;
use crate::engine::{KEPT, Size};
use crate::host::with_values;
use candle_core::{Device, Tensor, Var};
use net_cpu::{Images, InferModel, InferPlan, Isa, NetError, Params, Precision};
use net_graph::{Graph, NodeId, ParamId};
use std::sync::Arc;

/// The values that the models were compiled with, and the models.
///
/// A variable does not tell when it is set, so every run compares all values where they may change: what runs is never
/// stale.
#[derive(Debug)]
pub(crate) struct Inference {
    graph: Arc<Graph>,
    params: Params,
    isa: Isa,
    models: Vec<Compiled>,
}

/// A model for some outputs, and its plans, the last used one last.
#[derive(Debug)]
struct Compiled {
    outputs: Vec<NodeId>,
    /// `None` if a node has no kernel.
    model: Option<Arc<InferModel>>,
    plans: Vec<(Size, InferPlan)>,
}

impl Inference {
    /// No model yet; `params` may hold anything.
    pub(crate) fn new(graph: Arc<Graph>, params: Params, isa: Isa) -> Self {
        Inference { graph, params, isa, models: Vec::new() }
    }

    /// The outputs for a batch, by the values of the last refresh; `None` if a node has no kernel.
    pub(crate) fn run(
        &mut self,
        images: &Tensor,
        outputs: &[NodeId],
    ) -> Result<Option<Vec<Tensor>>, CandleNetError> {
        let compiled = self.compiled(outputs)?;
        let (batch, _, height, width) = images.dims4().map_err(CandleNetError::Candle)?;
        let Some(plan) = compiled.plan((batch, height, width))? else { return Ok(None) };
        with_values(images, |values| plan.run(Images::Nchw(values))).map_err(CandleNetError::Candle)??;
        let map =
            |index| Tensor::from_vec(plan.output_nchw(index), &plan.output_shape(index).dims(), &Device::Cpu);
        (0..outputs.len()).map(map).collect::<Result<_, _>>().map(Some).map_err(CandleNetError::Candle)
    }

    /// Takes over values that have changed, and then forgets the models.
    pub(crate) fn refresh(&mut self, vars: &[Var]) -> candle_core::Result<()> {
        let layout = self.params.layout.clone();
        for (index, var) in vars.iter().enumerate() {
            let held = self.params.slice_mut(layout.slot(ParamId(index)));
            let is_new = with_values(var, |values| {
                let is_new = differ(held, values);
                if is_new {
                    held.copy_from_slice(values);
                }
                is_new
            })?;
            if is_new {
                self.models.clear();
            }
        }
        Ok(())
    }

    /// The model for these outputs.
    fn compiled(&mut self, outputs: &[NodeId]) -> Result<&mut Compiled, CandleNetError> {
        let index = match self.models.iter().position(|compiled| compiled.outputs == outputs) {
            Some(index) => index,
            None => {
                let model = match InferModel::new(
                    self.graph.clone(),
                    &self.params,
                    outputs,
                    self.isa,
                    Precision::F32,
                ) {
                    Err(NetError::Unsupported { .. }) => None,
                    model => Some(model?),
                };
                self.models.push(Compiled { outputs: outputs.to_vec(), model, plans: Vec::new() });
                self.models.len() - 1
            }
        };
        Ok(&mut self.models[index])
    }
}

/// True if any bit differs; without an early end, so that it runs at the speed of memory.
fn differ(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a.to_bits() ^ b.to_bits())) != 0
}

impl Compiled {
    /// The plan for a size, laid out if it is not among those at hand.
    fn plan(&mut self, size: Size) -> Result<Option<&mut InferPlan>, NetError> {
        let Some(model) = &self.model else { return Ok(None) };
        let plan = match self.plans.iter().position(|(planned, _)| *planned == size) {
            Some(index) => self.plans.remove(index),
            None => {
                self.plans.drain(..self.plans.len().saturating_sub(KEPT - 1));
                (size, model.plan(size.0, size.1, size.2)?)
            }
        };
        self.plans.push(plan);
        Ok(self.plans.last_mut().map(|(_, plan)| plan))
    }
}
