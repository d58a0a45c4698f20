//! Time by step of an inference plan. [`InferPlan::run`] has no part in it and pays nothing.

use super::InferPlan;
use super::fuse::{Kind, Step};
use crate::steps::{bytes, covered, kind, macs, param_values};
use crate::{Images, NetError, Pass, StepInfo};
use cpu_kernels::parallel;
use std::time::{Duration, Instant};

impl InferPlan {
    /// The steps in the order in which they run. Nodes of no step (slices, drop-path, dropout) are addresses.
    pub fn steps(&self) -> Vec<StepInfo> {
        self.model.steps.iter().map(|step| self.info(step)).collect()
    }

    /// [`InferPlan::run`] that adds the time of each of [`InferPlan::steps`] to `times`.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When there are not as many `times` as steps.
    pub fn run_timed(&mut self, images: Images<'_>, times: &mut [Duration]) -> Result<(), NetError> {
        let model = self.model.clone();
        assert_eq!(times.len(), model.steps.len(), "one time a step");
        parallel::with_team(|| {
            for (step, time) in model.steps.iter().zip(times) {
                let started = Instant::now();
                self.run_any(step, images)?;
                *time += started.elapsed();
            }
            Ok(())
        })
    }

    fn info(&self, step: &Step) -> StepInfo {
        let (graph, shapes) = (&self.model.graph, &self.shapes);
        let mut nodes = covered(graph, &step.inputs, step.result);
        if let Some(pooled) = step.pooled {
            nodes.insert(nodes.len() - 1, pooled);
        }
        let maps = match step.kind {
            Kind::Concat => {
                let copies = self.model.placement.copies(graph, step.result);
                copies.map(|(id, _)| 2 * shapes[id.0].len()).sum()
            }
            _ => step.inputs.iter().chain([&step.result]).map(|id| shapes[id.0].len()).sum::<usize>(),
        };
        StepInfo {
            pass: Pass::Forward,
            kind: kind(graph, &nodes, shapes),
            macs: macs(graph, &nodes, shapes),
            bytes: bytes(maps + param_values(graph, &nodes)),
            nodes,
        }
    }
}
