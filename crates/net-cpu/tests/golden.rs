//! Whole networks against the reference values: forward passes and real weights, on every instruction set.

#[path = "../../net-candle/tests/forward_cases/mod.rs"]
mod forward_cases;

use forward_cases::{Engine, Map};
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use net_graph::{Graph, NodeId, Param};
use std::sync::Arc;

/// The compiled inference plan.
struct Compiled(Isa);

impl Engine for Compiled {
    fn run(
        &self,
        graph: Graph,
        values: &dyn Fn(&Param) -> Vec<f32>,
        images: &[f32],
        size: [usize; 4],
        outputs: &[NodeId],
    ) -> Vec<Map> {
        let mut params = Params::init(&graph, |_| || 0.0);
        graph.params().iter().for_each(|param| params.set(&param.name, &values(param)).unwrap());
        let model = InferModel::new(Arc::new(graph), &params, outputs, self.0, Precision::F32).unwrap();
        let mut plan = model.plan(size[0], size[2], size[3]).unwrap();
        plan.run(Images::Nchw(images)).unwrap();
        let map = |index| Map { values: plan.output_nchw(index), dims: plan.output_shape(index).dims() };
        (0..outputs.len()).map(map).collect()
    }
}

fn on_every_instruction_set(check: impl Fn(&dyn Engine)) {
    Isa::available().iter().for_each(|isa| check(&Compiled(*isa)));
}

#[test]
fn efficientnet_forward_is_golden() {
    on_every_instruction_set(|engine| forward_cases::efficientnet_forward(engine));
}

#[test]
fn yolov8_forward_is_golden() {
    on_every_instruction_set(|engine| forward_cases::yolov8_forward(engine));
}

#[test]
fn logits_of_real_weights_are_golden() {
    on_every_instruction_set(|engine| {
        forward_cases::real_weights(engine, "net-cpu: logits_of_real_weights_are_golden")
    });
}
