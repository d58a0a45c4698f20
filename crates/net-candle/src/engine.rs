//! A graph run by net-cpu: `f32` on the CPU, forward and backward as one candle operation.

use crate::CandleNetError;
use crate::inference::Inference;
use crate::training::{Pass, Plans, run_on_tape};
use candle_core::{Tensor, Var};
use net_cpu::{Isa, NetError, ParamLayout, Params, TrainPlan};
use net_graph::{Graph, NodeId, Op, ParamId, Shape};
use std::sync::{Arc, Mutex};

/// Batch, height and width that a plan is laid out for.
pub(crate) type Size = (usize, usize, usize);

/// Plans laid out for sizes seen before are kept, this many a kind: enough to alternate between two sizes, and few
/// since a plan owns the memory of all maps.
pub(crate) const KEPT: usize = 2;

/// What net-cpu holds of a network: layouts, packed weights and plans.
#[derive(Debug)]
pub(crate) struct Engine {
    graph: Arc<Graph>,
    layout: Arc<ParamLayout>,
    isa: Isa,
    /// Callers take turns: a kernel uses all threads anyway.
    inference: Mutex<Inference>,
    plans: Arc<Plans>,
}

impl Engine {
    pub(crate) fn new(graph: Arc<Graph>) -> Self {
        let (layout, isa) = (Arc::new(ParamLayout::new(&graph)), Isa::best());
        let inference = Mutex::new(Inference::new(graph.clone(), zeros(&layout), isa));
        Engine { graph, layout, isa, inference, plans: Arc::default() }
    }

    /// Takes over the variables' values, where any has changed, for [`Engine::infer`].
    pub(crate) fn refresh(&self, vars: &[Var]) -> Result<(), CandleNetError> {
        self.inference.lock().expect("no run has panicked").refresh(vars).map_err(CandleNetError::Candle)
    }

    /// The outputs by running statistics, as constants. `None` if a node has no kernel.
    pub(crate) fn infer(
        &self,
        images: &Tensor,
        outputs: &[NodeId],
    ) -> Result<Option<Vec<Tensor>>, CandleNetError> {
        self.inference.lock().expect("no run has panicked").run(images, outputs)
    }

    /// The outputs by batch statistics, which the running ones follow, on the tape of the images and of the
    /// variables that are not frozen. `None` if a node has no kernel.
    pub(crate) fn train(
        &self,
        vars: &[Var],
        frozen: &[bool],
        images: &Tensor,
        outputs: &[NodeId],
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Option<Vec<Tensor>>, CandleNetError> {
        let (batch, _, height, width) = images.dims4().map_err(CandleNetError::Candle)?;
        let size = (batch, height, width);
        let image_grad = images.track_op();
        let lay_out = || {
            let is_frozen = |name: &str| {
                let index = self.graph.params().iter().position(|param| param.name == name);
                index.is_some_and(|index| frozen[index])
            };
            let (graph, layout) = (self.graph.clone(), self.layout.clone());
            let plan = if image_grad { TrainPlan::with_image_grad } else { TrainPlan::new };
            plan(graph, layout, outputs, size, self.isa, &is_frozen)
        };
        let plan = match self.plans.take((outputs.to_vec(), size, frozen.to_vec(), image_grad), lay_out) {
            Err(NetError::Unsupported { .. }) => return Ok(None),
            plan => plan?,
        };
        let needed = self.graph.needed_for(outputs);
        let learnt = self.learnt(frozen, &needed);
        let followed = self.followed(frozen, &needed);
        let numbers = self.draw(&needed, size, uniform)?;
        let pass = Pass::new(plan, zeros(&self.layout), numbers, &learnt, outputs.len());
        run_on_tape(pass, vars, &learnt, &followed, images).map(Some).map_err(CandleNetError::Candle)
    }

    /// Forgets the plans that no tape holds.
    pub(crate) fn release(&self) {
        self.plans.clear();
    }

    /// Parameters that get a gradient.
    fn learnt(&self, frozen: &[bool], needed: &[bool]) -> Vec<ParamId> {
        let nodes = self.graph.nodes().iter().zip(needed).filter(|(_, needed)| **needed);
        let params = nodes.flat_map(|(node, _)| node.op.params());
        params.filter(|id| self.graph.param(*id).role.is_trained() && !frozen[id.0]).collect()
    }

    /// Running statistics that follow the batch.
    fn followed(&self, frozen: &[bool], needed: &[bool]) -> Vec<ParamId> {
        let nodes = self.graph.nodes().iter().zip(needed).filter(|(_, needed)| **needed);
        let statistics = nodes.filter_map(|(node, _)| match node.op {
            Op::BatchNorm { gamma, mean, var, .. } if !frozen[gamma.0] => Some([mean, var]),
            _ => None,
        });
        statistics.flatten().collect()
    }

    /// The numbers that a pass draws, in the order of [`crate::Mode::Train`], put into the order in which a plan
    /// asks for them: its maps are NHWC.
    fn draw(
        &self,
        needed: &[bool],
        (batch, height, width): Size,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Vec<f64>, CandleNetError> {
        let shapes = self.graph.shapes(batch, height, width)?;
        let mut numbers = Vec::new();
        for (id, node) in self.graph.ids().zip(self.graph.nodes()).filter(|(id, _)| needed[id.0]) {
            match node.op {
                Op::DropPath { rate } if rate > 0.0 => numbers.extend((0..batch).map(|_| uniform())),
                Op::Dropout { rate } if rate > 0.0 => {
                    let drawn: Vec<f64> = (0..shapes[id.0].len()).map(|_| uniform()).collect();
                    numbers.extend(to_rows(&drawn, shapes[id.0]));
                }
                _ => {}
            }
        }
        Ok(numbers)
    }
}

fn zeros(layout: &Arc<ParamLayout>) -> Params {
    let (trained, buffers) = (vec![0.0; layout.trained_len()], vec![0.0; layout.buffer_len()]);
    Params { layout: layout.clone(), trained, buffers }
}

/// `[B, C, H, W]` to `[B, H, W, C]`.
fn to_rows(values: &[f64], shape: Shape) -> impl Iterator<Item = f64> {
    let (channels, plane) = (shape.channels, shape.height * shape.width);
    let from = move |i: usize| {
        let (row, channel) = (i / channels, i % channels);
        (row / plane * channels + channel) * plane + row % plane
    };
    (0..values.len()).map(move |i| values[from(i)])
}
