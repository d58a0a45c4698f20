use crate::{CompoundCoefficients, NetworkSpec, ScalingError};
use serde::Serialize;

/// Coefficients and the network they yield.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Where the network comes from.
    pub coefficients: CompoundCoefficients,
    /// The scaled network.
    pub network: NetworkSpec,
    /// Side of its square image in pixels.
    pub resolution: usize,
}

impl Candidate {
    /// The baseline scaled by the coefficients at `phi`. The image side is rounded to the nearest multiple of
    /// `resolution_multiple`: 1 for a classifier as in the paper, 32 for a detector.
    ///
    /// # Errors
    /// When the multipliers are no positive numbers.
    pub fn new(
        baseline: &NetworkSpec,
        resolution: usize,
        resolution_multiple: usize,
        coefficients: CompoundCoefficients,
        phi: f64,
    ) -> Result<Self, ScalingError> {
        let scaling = coefficients.scaling(phi);
        let network = baseline.scaled(scaling.width, scaling.depth)?;
        let cells = (resolution as f64 * scaling.resolution / resolution_multiple as f64).round();
        Ok(Candidate { coefficients, network, resolution: (cells as usize).max(1) * resolution_multiple })
    }
}

/// Says how accurate a candidate is, for example by training it on a budget.
pub trait AccuracyOracle {
    /// Accuracy in `[0, 1]`.
    ///
    /// # Errors
    /// When the candidate could not be judged; the search stops.
    fn accuracy(&mut self, candidate: &Candidate) -> Result<f64, Box<dyn std::error::Error + Send + Sync>>;
}

/// Says what a candidate costs: multiply-adds, milliseconds, bytes ...
pub trait CostModel {
    /// A positive number.
    fn cost(&self, candidate: &Candidate) -> f64;
}

/// Cost by counting the multiply-adds of a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// Classes of the classifier.
    pub classes: usize,
}

impl CostModel for MultiplyAdds {
    fn cost(&self, candidate: &Candidate) -> f64 {
        candidate.network.cost(candidate.resolution, candidate.resolution, self.classes).total().macs as f64
    }
}

/// One judged candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What was judged.
    pub candidate: Candidate,
    /// Accuracy in `[0, 1]`.
    pub accuracy: f64,
    /// Its cost by the cost model.
    pub cost: f64,
    /// The same over the baseline's cost; compare with [`CompoundCoefficients::cost_factor`].
    pub cost_ratio: f64,
}

/// All trials of a search and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchOutcome {
    /// Every trial, in the order of the candidates.
    pub trials: Vec<Trial>,
    /// Index of the most accurate trial; among equals the cheapest.
    pub best: usize,
}

impl SearchOutcome {
    /// The most accurate trial.
    pub fn best_trial(&self) -> &Trial {
        &self.trials[self.best]
    }
}

/// Step 1 of compound scaling (arXiv 1905.11946, section 3.3): judges every candidate and keeps the most accurate.
/// `baseline` is the unscaled network, for the cost ratios.
///
/// # Errors
/// When there is no candidate, the oracle fails, or an accuracy or cost is out of range.
pub fn grid_search(
    baseline: &Candidate,
    candidates: Vec<Candidate>,
    oracle: &mut dyn AccuracyOracle,
    cost_model: &dyn CostModel,
) -> Result<SearchOutcome, ScalingError> {
    let base_cost = checked_cost(baseline, cost_model)?;
    let judge = |candidate: Candidate| {
        let cost = checked_cost(&candidate, cost_model)?;
        let accuracy = checked_accuracy(&candidate, oracle)?;
        Ok(Trial { candidate, accuracy, cost, cost_ratio: cost / base_cost })
    };
    let trials = candidates.into_iter().map(judge).collect::<Result<Vec<_>, ScalingError>>()?;
    let better = |a: &Trial, b: &Trial| a.accuracy.total_cmp(&b.accuracy).then(b.cost.total_cmp(&a.cost));
    let best = (0..trials.len()).max_by(|&a, &b| better(&trials[a], &trials[b]).then(b.cmp(&a)));
    let best = best.ok_or(ScalingError::NoCandidates)?;
    Ok(SearchOutcome { trials, best })
}

fn checked_accuracy(candidate: &Candidate, oracle: &mut dyn AccuracyOracle) -> Result<f64, ScalingError> {
    let CompoundCoefficients { alpha, beta, gamma } = candidate.coefficients;
    let got =
        oracle.accuracy(candidate).map_err(|source| ScalingError::Trial { alpha, beta, gamma, source })?;
    if (0.0..=1.0).contains(&got) {
        return Ok(got);
    }
    Err(ScalingError::Score { what: "accuracy", alpha, beta, gamma, expected: "a number in 0 ..= 1", got })
}

fn checked_cost(candidate: &Candidate, cost_model: &dyn CostModel) -> Result<f64, ScalingError> {
    let CompoundCoefficients { alpha, beta, gamma } = candidate.coefficients;
    let got = cost_model.cost(candidate);
    if got.is_finite() && got > 0.0 {
        return Ok(got);
    }
    Err(ScalingError::Score { what: "cost", alpha, beta, gamma, expected: "a positive number", got })
}

/// Reward of the search that found B0: `accuracy * (cost / target)^-0.07` (arXiv 1905.11946, section 4).
pub fn accuracy_cost_reward(accuracy: f64, cost: f64, target: f64) -> f64 {
    accuracy * (cost / target).powf(-0.07)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    const ONE: CompoundCoefficients = CompoundCoefficients { alpha: 1.0, beta: 1.0, gamma: 1.0 };

    fn candidate(coefficients: CompoundCoefficients) -> Candidate {
        Candidate::new(&NetworkSpec::b0(), 224, 1, coefficients, 1.0).unwrap()
    }

    /// Peaks at the published coefficients.
    struct Peak;

    impl AccuracyOracle for Peak {
        fn accuracy(
            &mut self,
            candidate: &Candidate,
        ) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
            let CompoundCoefficients { alpha, beta, gamma } = candidate.coefficients;
            Ok(0.8 - (alpha - 1.2).powi(2) - (beta - 1.1).powi(2) - (gamma - 1.15).powi(2))
        }
    }

    #[test]
    fn the_search_finds_the_peak() {
        let grid = Grid { step: 0.05, max: 1.5, target: 2.0, tolerance: 0.1 };
        let candidates: Vec<_> = grid.candidates().into_iter().map(candidate).collect();
        let outcome =
            grid_search(&candidate(ONE), candidates, &mut Peak, &MultiplyAdds { classes: 1000 }).unwrap();
        assert_eq!(outcome.best_trial().candidate.coefficients, CompoundCoefficients::PUBLISHED);
        assert!(outcome.trials.len() > 50);
    }

    #[test]
    fn the_published_coefficients_really_cost_two_and_a_half_times_b0() {
        let cost = |candidate: &Candidate| MultiplyAdds { classes: 1000 }.cost(candidate);
        let scaled = candidate(CompoundCoefficients::PUBLISHED);
        assert!((257..=260).contains(&scaled.resolution));
        let ratio = cost(&scaled) / cost(&candidate(ONE));
        assert!((2.5..2.65).contains(&ratio), "{ratio}");
    }

    #[test]
    fn an_empty_search_and_a_bad_oracle_are_errors() {
        struct Constant(f64);
        impl AccuracyOracle for Constant {
            fn accuracy(&mut self, _: &Candidate) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
                Ok(self.0)
            }
        }
        let model = MultiplyAdds { classes: 10 };
        let search =
            |candidates, value| grid_search(&candidate(ONE), candidates, &mut Constant(value), &model);
        assert!(matches!(search(vec![], 0.5), Err(ScalingError::NoCandidates)));
        assert!(matches!(search(vec![candidate(ONE)], 1.5), Err(ScalingError::Score { .. })));
        assert!(matches!(search(vec![candidate(ONE)], f64::NAN), Err(ScalingError::Score { .. })));
        let tie = search(vec![candidate(CompoundCoefficients::PUBLISHED), candidate(ONE)], 0.5).unwrap();
        assert_eq!(tie.best, 1, "among equals the cheaper");
    }

    #[test]
    fn the_reward_falls_with_the_cost() {
        assert_eq!(accuracy_cost_reward(0.77, 4e8, 4e8), 0.77);
        assert!(accuracy_cost_reward(0.77, 8e8, 4e8) < 0.74);
    }
}
