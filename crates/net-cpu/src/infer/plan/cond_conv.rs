//! The step of a convolution with kernels of experts.

use super::{InferPlan, window};
use crate::infer::fuse::{Kind, Step};
use cpu_kernels::experts;

impl InferPlan {
    pub(super) fn cond_conv(&mut self, step: &Step) {
        let Kind::CondConv { conv, experts, finish, gated } = &step.kind else {
            unreachable!("the caller has looked")
        };
        let region = |index: usize| step.inputs.get(index).map(|id| self.regions[id.0]);
        let x_region = region(0).expect("it has an input");
        let first = usize::from(*gated);
        // What there is none of is lent nowhere: its region is that of the input.
        let [gate, routing, residual] =
            [first, 1 + first, 2 + first].map(|index| region(index).unwrap_or(x_region));
        let window = window(*conv, self.shapes[step.inputs[0].0], self.shapes[step.result.0]);
        let reads = [x_region, gate, routing, residual];
        let ([x, gate, routing, residual], [mut y]) = self.arena.borrow(reads, [self.regions[step.result.0]]);
        let residual = (step.inputs.len() > 2 + first).then_some(residual);
        let fused = finish.fused(gated.then_some(gate), residual);
        experts::forward(self.model.isa, x, routing, experts, &window, &fused, &mut y);
    }
}
