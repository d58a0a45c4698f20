//! Single dimensions beside compound scaling, at equal cost (arXiv 1905.11946, figures 3 and 8).

use super::definition::Definition;
use crate::network_graph::graph_cost;
use anyhow::Result;
use effnet_backbone::GraphCost;
use effnet_scaling::{
    AccuracyOracle, Candidate, CompoundCoefficients, CostModel, Dimension, NamedBaseline, Network,
    ScaledNetwork, Scaling, compound_at_cost, single_dimension,
};
use serde::Serialize;

/// A point of a curve that is to be trained. The coefficients of its candidate are its multipliers.
pub(super) struct Planned {
    curve: String,
    pub(super) candidate: Candidate<Network>,
}

/// A point of a curve.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CurvePoint {
    /// `depth`, `width`, `resolution` or `compound`.
    pub(super) curve: String,
    #[serde(flatten)]
    pub(super) multipliers: Scaling,
    pub(super) side: usize,
    /// Multiply-adds.
    pub(super) macs: f64,
    pub(super) cost_ratio: f64,
    /// `None` if its trials broke.
    pub(super) accuracy: Option<f64>,
    pub(super) standard_error: Option<f64>,
    /// Why there is no accuracy.
    pub(super) broken: Option<String>,
}

/// The networks nearest to `ratios` times the baseline's multiply-adds. The baseline begins every curve.
pub(super) fn plan(
    definition: &Definition,
    best: CompoundCoefficients,
    ratios: &[f64],
) -> Result<Vec<Planned>> {
    let baseline = definition.baseline()?;
    let mut planner = Planner { baseline: &baseline, definition, best, cost: graph_cost(definition.classes) };
    let base_macs =
        planner.macs(&ScaledNetwork::new(&baseline, Scaling::ONE, definition.resolution_divisor)?)?;
    let mut planned = Vec::new();
    for ratio in std::iter::once(1.0).chain(ratios.iter().copied().filter(|&ratio| ratio > 1.0)) {
        for (curve, scaled) in planner.networks(ratio * base_macs)? {
            match scaled {
                Some(scaled) => {
                    let macs = planner.macs(&scaled)?;
                    planned.push(Planned { curve, candidate: candidate(scaled, macs, base_macs) });
                }
                None => eprintln!("--curves: no {curve} scaling reaches {ratio} times the cost"),
            }
        }
    }
    Ok(planned)
}

struct Planner<'a> {
    baseline: &'a NamedBaseline,
    definition: &'a Definition,
    best: CompoundCoefficients,
    cost: GraphCost,
}

impl Planner<'_> {
    /// For every curve the network nearest to a cost, if one reaches it.
    fn networks(&mut self, macs: f64) -> Result<Vec<(String, Option<ScaledNetwork<Network>>)>> {
        let (baseline, divisor, cost) = (self.baseline, self.definition.resolution_divisor, &mut self.cost);
        let mut found = Vec::new();
        for dimension in Dimension::ALL {
            found.push((dimension.to_string(), single_dimension(baseline, dimension, macs, divisor, cost)?));
        }
        found.push(("compound".into(), compound_at_cost(baseline, self.best, macs, divisor, cost)?));
        Ok(found)
    }

    fn macs(&mut self, scaled: &ScaledNetwork<Network>) -> Result<f64> {
        self.cost.cost(&*scaled.network, scaled.resolution).map_err(anyhow::Error::from_boxed)
    }
}

fn candidate(scaled: ScaledNetwork<Network>, cost: f64, base_cost: f64) -> Candidate<Network> {
    let Scaling { depth: alpha, width: beta, resolution: gamma } = scaled.scaling;
    let coefficients = CompoundCoefficients { alpha, beta, gamma };
    Candidate { coefficients, scaled, cost, cost_ratio: cost / base_cost }
}

/// What the oracle says of each.
pub(super) fn judge(planned: Vec<Planned>, oracle: &mut dyn AccuracyOracle<Network>) -> Vec<CurvePoint> {
    let point = |Planned { curve, candidate }: Planned| {
        let (accuracy, broken) = match oracle.accuracy(&candidate) {
            Ok(accuracy) => (accuracy, None),
            Err(error) => (None, Some(error.to_string())),
        };
        CurvePoint {
            curve,
            multipliers: candidate.scaled.scaling,
            side: candidate.scaled.resolution,
            macs: candidate.cost,
            cost_ratio: candidate.cost_ratio,
            accuracy: accuracy.map(|accuracy| accuracy.mean),
            standard_error: accuracy.and_then(|accuracy| accuracy.standard_error),
            broken,
        }
    };
    planned.into_iter().map(point).collect()
}
