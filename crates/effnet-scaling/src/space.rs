use crate::{
    Baseline, CompoundCoefficients, CostModel, Grid, ScaledNetwork, Scaling, ScalingError, round_resolution,
};
use serde::Serialize;
use std::sync::Arc;

/// Which coefficients are worth a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Constraint {
    /// `|alpha * beta^2 * gamma^2 - target| <= tolerance`: the paper's rule (eq. 3), free of rounding. The product of
    /// the paper's own answer is 1.92, so that a tolerance below 0.08 leaves it out.
    Analytic {
        /// Wanted product; 2 in the paper.
        target: f64,
        /// Largest distance from it.
        tolerance: f64,
    },
    /// `|cost / cost of the baseline - target| <= tolerance * target`, of the rounded networks.
    Cost {
        /// Wanted ratio.
        target: f64,
        /// Largest distance from it, as a share of it.
        tolerance: f64,
    },
}

/// A grid with more points would fill the memory with candidates.
const MOST_POINTS: u128 = 100_000_000;

/// Products of decimal fractions are not exact.
const SLACK: f64 = 1e-12;

impl Constraint {
    fn check(&self) -> Result<(), ScalingError> {
        let (target, tolerance) = self.numbers();
        ScalingError::check_positive("target of the constraint", target)?;
        if tolerance.is_finite() && tolerance >= 0.0 {
            return Ok(());
        }
        Err(ScalingError::Coefficient { what: "tolerance", expected: "of at least 0", got: tolerance })
    }

    fn numbers(&self) -> (f64, f64) {
        match *self {
            Constraint::Analytic { target, tolerance } => (target, tolerance),
            Constraint::Cost { target, tolerance } => (target, tolerance * target),
        }
    }

    fn admits(&self, value: f64) -> bool {
        let (target, distance) = self.numbers();
        (value - target).abs() <= distance + SLACK
    }

    fn meant(&self) -> &'static str {
        match self {
            Constraint::Analytic { .. } => "alpha * beta^2 * gamma^2",
            Constraint::Cost { .. } => "the cost over that of the baseline",
        }
    }
}

/// Coefficients that meet the constraint, the network they yield, and its cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<N> {
    /// Where the network comes from.
    pub coefficients: CompoundCoefficients,
    /// The scaled network.
    pub scaled: ScaledNetwork<N>,
    /// Its cost by the cost model.
    pub cost: f64,
    /// The same over the baseline's cost; compare with [`CompoundCoefficients::cost_factor`].
    pub cost_ratio: f64,
}

/// A baseline and the coefficients to be tried on it.
#[derive(Debug, Clone, Copy)]
pub struct SearchSpace<'a, B> {
    /// What is scaled.
    pub baseline: &'a B,
    /// Values of the coefficients.
    pub grid: Grid,
    /// Exponent of the coefficients; 1 in the paper's search.
    pub phi: f64,
    /// Image sides are rounded to the nearest multiple of this: 1 for a classifier, 32 for a detector.
    pub resolution_divisor: usize,
    /// Which of them to keep.
    pub constraint: Constraint,
}

impl<B: Baseline> SearchSpace<'_, B> {
    /// All candidates, by alpha, then beta, then gamma.
    ///
    /// # Errors
    /// When phi or the constraint makes no sense, the grid has over a hundred million points, a cost cannot be told, or
    /// nothing meets the constraint.
    pub fn candidates(
        &self,
        cost_model: &mut dyn CostModel<B::Network>,
    ) -> Result<Vec<Candidate<B::Network>>, ScalingError> {
        self.constraint.check()?;
        ScalingError::check_positive("phi", self.phi)?;
        let points = self.grid.points();
        if points > MOST_POINTS {
            return Err(ScalingError::TooManyPoints { points, limit: MOST_POINTS });
        }
        let base_cost = self.baseline_cost(cost_model)?;
        let (target, _) = self.constraint.numbers();
        let mut nearest = f64::INFINITY;
        let mut candidates = Vec::new();
        for alpha in self.grid.alpha.values() {
            for beta in self.grid.beta.values() {
                let mut row = Row { space: self, alpha, beta, base_cost, network: None };
                for gamma in self.grid.gamma.values() {
                    let (value, candidate) = row.judge(gamma, cost_model)?;
                    if (value - target).abs() < (nearest - target).abs() {
                        nearest = value;
                    }
                    candidates.extend(candidate);
                }
            }
        }
        if candidates.is_empty() {
            return Err(self.constraint.nothing(points, nearest));
        }
        Ok(candidates)
    }

    /// Cost of the unscaled network.
    ///
    /// # Errors
    /// When it cannot be told or is no positive number.
    pub fn baseline_cost(&self, cost_model: &mut dyn CostModel<B::Network>) -> Result<f64, ScalingError> {
        let scaled = ScaledNetwork::new(self.baseline, Scaling::ONE, self.resolution_divisor)?;
        checked_cost(cost_model, ONE, &scaled)
    }
}

const ONE: CompoundCoefficients = CompoundCoefficients { alpha: 1.0, beta: 1.0, gamma: 1.0 };

impl Constraint {
    /// Keeps the candidates that meet the constraint by another cost model, which is asked about every one; their
    /// costs become its own. For a model that is slow to ask, such as a stopwatch, after a coarse choice by a fast one.
    ///
    /// # Errors
    /// When the constraint makes no sense, a cost cannot be told, or nothing meets the constraint.
    pub fn keep<N>(
        &self,
        candidates: Vec<Candidate<N>>,
        base_cost: f64,
        cost_model: &mut dyn CostModel<N>,
    ) -> Result<Vec<Candidate<N>>, ScalingError> {
        self.check()?;
        let (target, _) = self.numbers();
        let points = candidates.len() as u128;
        let mut nearest = f64::INFINITY;
        let mut kept = Vec::new();
        for candidate in candidates {
            let cost = checked_cost(cost_model, candidate.coefficients, &candidate.scaled)?;
            let cost_ratio = cost / base_cost;
            let value = match self {
                Constraint::Analytic { .. } => candidate.coefficients.cost_factor(),
                Constraint::Cost { .. } => cost_ratio,
            };
            if (value - target).abs() < (nearest - target).abs() {
                nearest = value;
            }
            if self.admits(value) {
                kept.push(Candidate { cost, cost_ratio, ..candidate });
            }
        }
        if kept.is_empty() { Err(self.nothing(points, nearest)) } else { Ok(kept) }
    }

    fn nothing(&self, points: u128, nearest: f64) -> ScalingError {
        let (target, tolerance) = self.numbers();
        ScalingError::NoCandidates { meant: self.meant(), target, tolerance, points, nearest }
    }
}

/// What the constraint looks at, and the candidate if it meets it.
type Judged<N> = (f64, Option<Candidate<N>>);

/// Candidates of one alpha and beta: they share their network.
struct Row<'a, B: Baseline> {
    space: &'a SearchSpace<'a, B>,
    alpha: f64,
    beta: f64,
    base_cost: f64,
    network: Option<Arc<B::Network>>,
}

impl<B: Baseline> Row<'_, B> {
    fn judge(
        &mut self,
        gamma: f64,
        cost_model: &mut dyn CostModel<B::Network>,
    ) -> Result<Judged<B::Network>, ScalingError> {
        let coefficients = CompoundCoefficients { alpha: self.alpha, beta: self.beta, gamma };
        let constraint = &self.space.constraint;
        let product = coefficients.cost_factor();
        let analytic = matches!(constraint, Constraint::Analytic { .. });
        if analytic && !constraint.admits(product) {
            return Ok((product, None));
        }
        let scaled = self.scaled(coefficients)?;
        let cost = checked_cost(cost_model, coefficients, &scaled)?;
        let cost_ratio = cost / self.base_cost;
        let value = if analytic { product } else { cost_ratio };
        let candidate = Candidate { coefficients, scaled, cost, cost_ratio };
        Ok((value, constraint.admits(value).then_some(candidate)))
    }

    fn scaled(
        &mut self,
        coefficients: CompoundCoefficients,
    ) -> Result<ScaledNetwork<B::Network>, ScalingError> {
        let space = self.space;
        let scaling = coefficients.scaling(space.phi);
        let network = match &self.network {
            Some(network) => network.clone(),
            None => {
                let network = Arc::new(space.baseline.scaled(scaling.width, scaling.depth)?);
                self.network.insert(network).clone()
            }
        };
        ScalingError::check_multiplier("resolution multiplier", scaling.resolution)?;
        let side = space.baseline.resolution();
        let resolution = round_resolution(side, scaling.resolution, space.resolution_divisor);
        Ok(ScaledNetwork { scaling, network, resolution })
    }
}

fn checked_cost<N>(
    cost_model: &mut dyn CostModel<N>,
    coefficients: CompoundCoefficients,
    scaled: &ScaledNetwork<N>,
) -> Result<f64, ScalingError> {
    let got = cost_model
        .cost(&scaled.network, scaled.resolution)
        .map_err(|source| ScalingError::Cost { coefficients, source })?;
    if got.is_finite() && got > 0.0 { Ok(got) } else { Err(ScalingError::CostValue { coefficients, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MultiplyAdds, NetworkSpec, Variant};

    fn search(
        step: f64,
        max: f64,
        constraint: Constraint,
    ) -> Result<Vec<Candidate<NetworkSpec>>, ScalingError> {
        let baseline = Variant::find("b0").unwrap();
        let grid = Grid::cube(1.0, max, step)?;
        let space = SearchSpace { baseline: &baseline, grid, phi: 1.0, resolution_divisor: 1, constraint };
        space.candidates(&mut MultiplyAdds { classes: 1000 })
    }

    fn analytic(tolerance: f64) -> Constraint {
        Constraint::Analytic { target: 2.0, tolerance }
    }

    fn real(tolerance: f64) -> Constraint {
        Constraint::Cost { target: 2.0, tolerance }
    }

    #[test]
    fn sizes_of_usual_grids() {
        let sizes = |step| [0.05, 0.1, 0.2].map(|t| search(step, 2.0, analytic(t)).unwrap().len());
        assert_eq!(sizes(0.05), [54, 109, 217]);
        assert_eq!(sizes(0.1), [10, 21, 37]);
    }

    #[test]
    fn the_published_answer_needs_a_tolerance_of_eight_hundredths() {
        let holds = |tolerance| {
            let candidates = search(0.05, 2.0, analytic(tolerance)).unwrap();
            candidates.iter().any(|c| c.coefficients == CompoundCoefficients::PUBLISHED)
        };
        assert_eq!([0.05, 0.08, 0.1].map(holds), [false, true, true]);
        assert!((CompoundCoefficients::PUBLISHED.cost_factor() - 1.9203).abs() < 1e-4);
    }

    #[test]
    fn rounding_makes_the_published_answer_cost_two_and_a_half_times_b0() {
        let candidates = search(0.05, 2.0, analytic(0.1)).unwrap();
        let published =
            candidates.iter().find(|c| c.coefficients == CompoundCoefficients::PUBLISHED).unwrap();
        assert_eq!(published.scaled.resolution, 258);
        assert!((published.cost_ratio - 2.57).abs() < 0.01, "{}", published.cost_ratio);
        let by_cost = search(0.05, 2.0, real(0.05)).unwrap();
        assert!(by_cost.iter().all(|c| (c.cost_ratio - 2.0).abs() <= 0.1));
        assert!(!by_cost.iter().any(|c| c.coefficients == CompoundCoefficients::PUBLISHED));
    }

    #[test]
    fn what_nothing_meets_is_an_error_that_names_the_nearest() {
        let message = search(0.5, 1.0, analytic(0.1)).unwrap_err().to_string();
        assert!(message.contains("nearest of 1 grid points has 1;"), "{message}");
        assert!(matches!(search(0.5, 1.0, real(0.1)), Err(ScalingError::NoCandidates { .. })));
        assert!(matches!(search(1e-6, 2.0, real(0.1)), Err(ScalingError::TooManyPoints { .. })));
        for constraint in
            [analytic(-0.1), analytic(f64::NAN), Constraint::Cost { target: 0.0, tolerance: 0.1 }]
        {
            assert!(matches!(search(0.1, 2.0, constraint), Err(ScalingError::Coefficient { .. })));
        }
    }

    #[test]
    fn a_second_model_narrows_the_choice() {
        struct Params;
        impl CostModel<NetworkSpec> for Params {
            fn cost(&mut self, network: &NetworkSpec, side: usize) -> Result<f64, crate::SourceError> {
                Ok(network.cost(side, side, 1000).total().params as f64)
            }
        }
        let candidates = search(0.1, 2.0, analytic(0.2)).unwrap();
        let base = NetworkSpec::b0().cost(224, 224, 1000).total().params as f64;
        let constraint = Constraint::Cost { target: 1.5, tolerance: 0.2 };
        let kept = constraint.keep(candidates.clone(), base, &mut Params).unwrap();
        assert!(!kept.is_empty() && kept.len() < candidates.len());
        assert!(kept.iter().all(|c| (1.2..=1.8).contains(&c.cost_ratio)));
    }
}
