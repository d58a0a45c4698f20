use super::arguments::{Arguments, ConstraintKind};
use super::latency::{Latencies, Timed};
use super::trial::Settings;
use crate::baseline::ChosenBaseline;
use crate::network_graph::graph_cost;
use anyhow::{Result, ensure};
use effnet_scaling::{
    Baseline, Candidate, Constraint, CostModel, Grid, NamedBaseline, Network, ScaledNetwork, Scaling,
    SearchSpace,
};
use serde::{Deserialize, Serialize};

/// What a search is: with the same definition two runs look at the same candidates and do the same trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) baseline: String,
    pub(super) phi: f64,
    pub(super) step: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) target: f64,
    pub(super) tolerance: f64,
    pub(super) constraint: ConstraintKind,
    pub(super) max_params: Option<f64>,
    pub(super) max_activation_mb: Option<f64>,
    pub(super) resolution_divisor: usize,
    pub(super) classes: usize,
    /// `None` where accuracies come from a table.
    pub(super) training: Option<Settings>,
}

/// A network is timed only if its multiply-adds over the baseline's are the target times or over at most this.
const TIMED_WITHIN: f64 = 2.0;

impl Definition {
    pub(super) fn new(arguments: &Arguments, training: Option<Settings>) -> Result<Self> {
        let ChosenBaseline { baseline, resolution_divisor, classes } = arguments.baseline.resolve()?;
        Ok(Definition {
            baseline: baseline.name().into(),
            phi: arguments.phi,
            step: arguments.step,
            min: arguments.min,
            max: arguments.max,
            target: arguments.target,
            tolerance: arguments.tolerance,
            constraint: arguments.constraint,
            max_params: arguments.max_params,
            max_activation_mb: arguments.max_activation_mb,
            resolution_divisor,
            classes,
            training,
        })
    }

    pub(super) fn baseline(&self) -> Result<NamedBaseline> {
        Ok(NamedBaseline::find(&self.baseline)?)
    }

    /// The target at this phi.
    fn ratio(&self) -> f64 {
        self.target.powf(self.phi)
    }

    /// Cost of the baseline times the target, in units of the cost model.
    pub(super) fn target_cost(&self) -> Result<f64> {
        Ok(self.ratio() * self.baseline_cost()?)
    }

    /// Cost of the unscaled network: multiply-adds, or milliseconds.
    pub(super) fn baseline_cost(&self) -> Result<f64> {
        let baseline = self.baseline()?;
        let scaled = ScaledNetwork::new(&baseline, Scaling::ONE, self.resolution_divisor)?;
        let mut counted = graph_cost(self.classes);
        let mut timed_latencies = Latencies::default();
        let mut timed = Timed { classes: self.classes, latencies: &mut timed_latencies };
        let model: &mut dyn CostModel<Network> =
            if self.constraint == ConstraintKind::Latency { &mut timed } else { &mut counted };
        let cost = model.cost(&scaled.network, scaled.resolution);
        cost.map_err(anyhow::Error::from_boxed)
    }

    /// All candidates that meet the constraint.
    pub(super) fn candidates(&self, latencies: &mut Latencies<'_>) -> Result<Vec<Candidate<Network>>> {
        let baseline = self.baseline()?;
        let grid = Grid::cube(self.min, self.max, self.step)?;
        let (phi, resolution_divisor) = (self.phi, self.resolution_divisor);
        let by_cost = |tolerance| Constraint::Cost { target: self.ratio(), tolerance };
        let constraint = match self.constraint {
            ConstraintKind::Analytic => {
                Constraint::Analytic { target: self.target, tolerance: self.tolerance }
            }
            ConstraintKind::Real => by_cost(self.tolerance),
            ConstraintKind::Latency => by_cost(TIMED_WITHIN - 1.0),
        };
        let space = SearchSpace { baseline: &baseline, grid, phi, resolution_divisor, constraint };
        let counted = self.within_limits(space.candidates(&mut graph_cost(self.classes))?)?;
        if self.constraint != ConstraintKind::Latency {
            return Ok(counted);
        }
        eprintln!(
            "timing the networks of {} of {} grid points, those whose multiply-adds are at most {TIMED_WITHIN} times \
             the target",
            counted.len(),
            grid.points()
        );
        let mut timed = Timed { classes: self.classes, latencies };
        let base = space.baseline_cost(&mut timed)?;
        Ok(by_cost(self.tolerance).keep(counted, base, &mut timed)?)
    }

    /// The paper's other condition: what must fit into a memory.
    fn within_limits(&self, candidates: Vec<Candidate<Network>>) -> Result<Vec<Candidate<Network>>> {
        if self.max_params.is_none() && self.max_activation_mb.is_none() {
            return Ok(candidates);
        }
        let (met, mut cost) = (candidates.len(), graph_cost(self.classes));
        let mut kept = Vec::new();
        for candidate in candidates {
            let counted = cost.footprint(&candidate.scaled.network, candidate.scaled.resolution);
            let footprint = counted.map_err(anyhow::Error::from_boxed)?;
            let few = self.max_params.is_none_or(|most| footprint.cost.params as f64 <= most);
            let megabytes = footprint.activations.peak as f64 / 1e6;
            if few && self.max_activation_mb.is_none_or(|most| megabytes <= most) {
                kept.push(candidate);
            }
        }
        ensure!(
            !kept.is_empty(),
            "none of the {met} candidates that meet the constraint is within --max-params and --max-activation-mb"
        );
        Ok(kept)
    }
}
