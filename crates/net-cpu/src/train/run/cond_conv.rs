//! The steps of a convolution with kernels of experts. Its inputs are the map and the routing.

use super::{Into, Packed, TrainPlan};
use crate::Params;
use crate::infer::{expert_shape, window};
use cpu_kernels::{Window, conv, experts};
use net_graph::{Conv, NodeId, Op, ParamId};

impl TrainPlan {
    /// Geometry and weight of the node, and its window.
    fn cond_conv_of(&self, id: NodeId) -> (Conv, ParamId, Window) {
        let node = self.graph.node(id);
        let Op::CondConv { conv, weight } = node.op else { unreachable!("the caller has looked") };
        (conv, weight, window(conv, self.shapes[node.inputs[0].0], self.shapes[id.0]))
    }

    pub(super) fn cond_conv_forward(&mut self, id: NodeId, params: &Params) {
        let (_, weight, window) = self.cond_conv_of(id);
        let inputs = &self.graph.node(id).inputs;
        let reads = [self.values[inputs[0].0], self.values[inputs[1].0]];
        let Some(Packed::Experts { forward, .. }) = self.state.packed.get_mut(&id) else {
            unreachable!("its experts are packed")
        };
        forward.repack(params.values(weight));
        let ([x, routing], [mut y]) = self.arena.borrow(reads, [self.values[id.0]]);
        experts::forward(self.isa, x, routing, forward, &window, &conv::Fused::NONE, &mut y);
    }

    pub(super) fn cond_conv_backward(
        &mut self,
        id: NodeId,
        into: &[Into],
        params: &Params,
        grads: &mut [f32],
    ) {
        self.cond_conv_backward_data(id, into[0], params);
        let (conv, weight, window) = self.cond_conv_of(id);
        let shape =
            expert_shape(&self.graph, id, conv, weight).expect("the schedule has looked at the groups");
        let inputs = &self.graph.node(id).inputs;
        let [x, routing] = [self.values[inputs[0].0], self.values[inputs[1].0]];
        let reads = [x, self.grads[id.0], routing];
        let dw = self.schedule.trained[weight.0].then(|| self.layout.trained_range(weight));
        let dw = dw.map(|range| &mut grads[range]);
        let values = params.values(weight);
        if matches!(into[1], Into::Write | Into::Accumulate) {
            let ([x, dy, routing], [mut d_routing]) = self.arena.borrow(reads, [self.grads[inputs[1].0]]);
            let d_routing = Some((&mut d_routing, into[1] == Into::Accumulate));
            experts::backward_experts(self.isa, x, dy, routing, values, &shape, &window, dw, d_routing);
        } else if dw.is_some() {
            let ([x, dy, routing], []) = self.arena.borrow(reads, []);
            experts::backward_experts(self.isa, x, dy, routing, values, &shape, &window, dw, None);
        }
    }

    /// The gradient of the map.
    fn cond_conv_backward_data(&mut self, id: NodeId, into: Into, params: &Params) {
        if !matches!(into, Into::Write | Into::Accumulate) {
            return;
        }
        let (_, weight, window) = self.cond_conv_of(id);
        let inputs = &self.graph.node(id).inputs;
        let Some(Packed::Experts { backward: Some(backward), .. }) = self.state.packed.get_mut(&id) else {
            unreachable!("packed where an input gradient is wanted")
        };
        backward.repack(params.values(weight));
        let reads = [self.grads[id.0], self.values[inputs[1].0]];
        let ([dy, routing], [mut dx]) = self.arena.borrow(reads, [self.grads[inputs[0].0]]);
        let accumulate = into == Into::Accumulate;
        experts::backward_data(self.isa, dy, routing, backward, &window, accumulate, &mut dx);
    }
}
