//! Time by step of a training plan. [`TrainPlan::forward`] and [`TrainPlan::backward`] have no part in it and pay
//! nothing.

use super::TrainPlan;
use super::compile::{Backward, Forward, Into};
use crate::steps::{bytes, covered, kind, macs, param_values};
use crate::{Images, NetError, Params, Pass, StepInfo};
use cpu_kernels::parallel;
use net_graph::{NodeId, Op};
use std::time::{Duration, Instant};

impl TrainPlan {
    /// The steps of the forward pass in the order in which they run.
    pub fn forward_steps(&self) -> Vec<StepInfo> {
        self.schedule.forward.iter().map(|step| self.forward_info(step)).collect()
    }

    /// The steps of the backward pass in the order in which they run.
    pub fn backward_steps(&self) -> Vec<StepInfo> {
        self.schedule.backward.iter().map(|step| self.backward_info(step)).collect()
    }

    /// [`TrainPlan::forward`] that adds the time of each of [`TrainPlan::forward_steps`] to `times`.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When there are not as many `times` as steps.
    pub fn forward_timed(
        &mut self,
        params: &mut Params,
        images: Images<'_>,
        uniform: &mut dyn FnMut() -> f64,
        times: &mut [Duration],
    ) -> Result<(), NetError> {
        assert_eq!(times.len(), self.schedule.forward.len(), "one time a step");
        parallel::with_team(|| {
            for (index, time) in times.iter_mut().enumerate() {
                let step = self.schedule.forward[index];
                let started = Instant::now();
                self.run_forward(&step, params, images, uniform)?;
                *time += started.elapsed();
            }
            Ok(())
        })
    }

    /// [`TrainPlan::backward`] that adds the time of each of [`TrainPlan::backward_steps`] to `times`.
    ///
    /// # Panics
    /// When there are not as many `times` as steps.
    pub fn backward_timed(&mut self, params: &Params, grads: &mut [f32], times: &mut [Duration]) {
        assert_eq!(times.len(), self.schedule.backward.len(), "one time a step");
        parallel::with_team(|| {
            for (index, time) in times.iter_mut().enumerate() {
                let step = self.schedule.backward[index].clone();
                let started = Instant::now();
                self.run_backward(&step, params, grads);
                *time += started.elapsed();
            }
        });
    }

    fn len(&self, id: NodeId) -> usize {
        self.shapes[id.0].len()
    }

    fn forward_info(&self, step: &Forward) -> StepInfo {
        let (graph, shapes) = (&self.graph, &self.shapes);
        let inputs = step.inputs(graph);
        let nodes = covered(graph, &inputs, step.result());
        let maps = if graph.node(step.result()).op == Op::Concat {
            let copies = self.schedule.values.copies(graph, step.result());
            copies.map(|(id, _)| 2 * self.len(id)).sum()
        } else {
            inputs.iter().chain([&step.result()]).map(|id| self.len(*id)).sum::<usize>()
        };
        StepInfo {
            pass: Pass::Forward,
            kind: kind(graph, &nodes, shapes),
            macs: macs(graph, &nodes, shapes),
            bytes: bytes(maps + param_values(graph, &nodes)),
            nodes,
        }
    }

    fn backward_info(&self, step: &Backward) -> StepInfo {
        let (forward, into) = match step {
            Backward::Zero { node, len, .. } => {
                let written = bytes(self.shapes[node.0].positions() * len);
                let kind = "Zero".to_string();
                return StepInfo { pass: Pass::Backward, kind, nodes: vec![*node], macs: 0, bytes: written };
            }
            Backward::Step { forward, into } => (forward, into),
        };
        let mut info = self.forward_info(forward);
        // A convolution multiplies once for the weight's gradient, of which that of a routing is made too, and once for its
        // input's.
        let op = &self.graph.node(forward.first()).op;
        let is_routed = matches!(op, Op::CondConv { .. }) && into[1] != Into::Skip;
        let is_trained =
            is_routed || op.params().first().is_some_and(|weight| self.schedule.trained[weight.0]);
        info.macs *= u64::from(is_trained) + u64::from(into[0] != Into::Skip);
        let read: usize = step.values(&self.graph).iter().map(|id| self.len(*id)).sum();
        let inputs = forward.inputs(&self.graph);
        let written: usize =
            inputs.iter().zip(into).map(|(id, into)| passes(*into, forward) * self.len(*id)).sum();
        let gradient = if written > 0 || read > 0 { self.len(forward.result()) } else { 0 };
        info.bytes = bytes(read + written + gradient + 2 * param_values(&self.graph, &info.nodes));
        info.pass = Pass::Backward;
        info
    }
}

/// How often an input's gradient is read or written.
fn passes(into: Into, step: &Forward) -> usize {
    match into {
        Into::Skip => 0,
        // A norm changes the gradient where it lies.
        Into::InPlace => usize::from(matches!(step, Forward::Norm { .. })),
        Into::Write => 1,
        Into::Accumulate => 2,
    }
}
