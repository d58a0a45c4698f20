use crate::error::SourceError;
use crate::{Candidate, CompoundCoefficients, Objective, ScalingError, pareto_front};
use serde::Serialize;
use std::cmp::Ordering;

/// Accuracy of a candidate, as the mean over a few runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Mean in `[0, 1]`.
    pub mean: f64,
    /// Standard error of the mean; `None` of a single run.
    pub standard_error: Option<f64>,
    /// Number of runs.
    pub runs: usize,
}

impl Accuracy {
    /// Of one run.
    pub fn single(mean: f64) -> Self {
        Accuracy { mean, standard_error: None, runs: 1 }
    }

    /// Of several runs; `None` of none.
    pub fn of_runs(runs: &[f64]) -> Option<Self> {
        let n = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / n;
        let variance = || runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let standard_error = (runs.len() > 1).then(|| (variance() / n).sqrt());
        (!runs.is_empty()).then_some(Accuracy { mean, standard_error, runs: runs.len() })
    }

    fn check(&self) -> Result<(), ScalingError> {
        if !(0.0..=1.0).contains(&self.mean) {
            return Err(ScalingError::Accuracy { got: self.mean });
        }
        match self.standard_error {
            Some(got) if !(got.is_finite() && got >= 0.0) => Err(ScalingError::StandardError { got }),
            _ => Ok(()),
        }
    }
}

/// Says how accurate a candidate is: by training it on a budget, from a table, or by a formula.
pub trait AccuracyOracle<N> {
    /// The accuracy, or `None` when the oracle does not know this candidate.
    ///
    /// # Errors
    /// When the candidate's trial broke; the search notes it and goes on.
    fn accuracy(&mut self, candidate: &Candidate<N>) -> Result<Option<Accuracy>, SourceError>;
}

/// One judged candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial<N> {
    /// What was judged.
    pub candidate: Candidate<N>,
    /// Its accuracy.
    pub accuracy: Accuracy,
    /// What the objective makes of accuracy and cost; `None` if it is over the budget.
    pub score: Option<f64>,
}

/// A candidate whose trial gave no accuracy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BrokenTrial {
    /// What was tried.
    pub coefficients: CompoundCoefficients,
    /// What went wrong.
    pub reason: String,
}

/// All trials of a search and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOutcome<N> {
    /// Every judged candidate, the best first; those over the budget at the end.
    pub trials: Vec<Trial<N>>,
    /// Candidates whose trial broke.
    pub broken: Vec<BrokenTrial>,
    /// Candidates that the oracle does not know.
    pub unknown: Vec<CompoundCoefficients>,
    /// Indices of the trials that no other beats in accuracy and cost, the cheapest first.
    pub front: Vec<usize>,
}

impl<N> SearchOutcome<N> {
    /// The best trial.
    pub fn best(&self) -> &Trial<N> {
        &self.trials[0]
    }
}

/// Step 1 of compound scaling (arXiv 1905.11946, section 3.3): asks about every candidate and ranks the answers. Of
/// equal scores the lower cost comes first, then the smaller alpha, beta and gamma.
///
/// # Errors
/// When the objective makes no sense, no candidate has an accuracy, or none fits the budget.
pub fn grid_search<N>(
    candidates: Vec<Candidate<N>>,
    oracle: &mut dyn AccuracyOracle<N>,
    objective: Objective,
) -> Result<SearchOutcome<N>, ScalingError> {
    objective.check()?;
    let total = candidates.len();
    let (mut trials, mut broken, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        let coefficients = candidate.coefficients;
        match ask(oracle, &candidate) {
            Ok(Some(accuracy)) => {
                let score = objective.score(accuracy.mean, candidate.cost);
                trials.push(Trial { candidate, accuracy, score });
            }
            Ok(None) => unknown.push(coefficients),
            Err(error) => broken.push(BrokenTrial { coefficients, reason: in_full(error.as_ref()) }),
        }
    }
    trials.sort_by(rank);
    check_answer(&trials, objective, total, &broken, unknown.len())?;
    let points: Vec<_> = trials.iter().map(|trial| (trial.accuracy.mean, trial.candidate.cost)).collect();
    Ok(SearchOutcome { front: pareto_front(&points), trials, broken, unknown })
}

fn ask<N>(
    oracle: &mut dyn AccuracyOracle<N>,
    candidate: &Candidate<N>,
) -> Result<Option<Accuracy>, SourceError> {
    let answer = oracle.accuracy(candidate)?;
    answer.iter().try_for_each(Accuracy::check)?;
    Ok(answer)
}

/// The error and its causes in one line.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn rank<N>(a: &Trial<N>, b: &Trial<N>) -> Ordering {
    let score = |trial: &Trial<N>| trial.score.unwrap_or(f64::NEG_INFINITY);
    let (x, y) = (&a.candidate, &b.candidate);
    let (c, d) = (&x.coefficients, &y.coefficients);
    score(b)
        .total_cmp(&score(a))
        .then(x.cost.total_cmp(&y.cost))
        .then(c.alpha.total_cmp(&d.alpha))
        .then(c.beta.total_cmp(&d.beta))
        .then(c.gamma.total_cmp(&d.gamma))
}

fn check_answer<N>(
    trials: &[Trial<N>],
    objective: Objective,
    candidates: usize,
    broken: &[BrokenTrial],
    unknown: usize,
) -> Result<(), ScalingError> {
    let Some(best) = trials.first() else {
        let first_reason = broken.first().map_or("none".into(), |trial| trial.reason.clone());
        let broken = broken.len();
        return Err(ScalingError::NothingJudged { candidates, broken, unknown, first_reason });
    };
    match objective {
        Objective::Accuracy { budget: Some(budget) } if best.score.is_none() => {
            let cheapest = trials.iter().map(|trial| trial.candidate.cost).fold(f64::INFINITY, f64::min);
            Err(ScalingError::OverBudget { judged: trials.len(), cheapest, budget })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Constraint, Grid, MultiplyAdds, NetworkSpec, SearchSpace, Variant};

    const ANY: Objective = Objective::Accuracy { budget: None };

    fn candidates() -> Vec<Candidate<NetworkSpec>> {
        let baseline = Variant::find("b0").unwrap();
        let grid = Grid::cube(1.0, 2.0, 0.05).unwrap();
        let constraint = Constraint::Analytic { target: 2.0, tolerance: 0.1 };
        let space = SearchSpace { baseline: &baseline, grid, phi: 1.0, resolution_divisor: 1, constraint };
        space.candidates(&mut MultiplyAdds { classes: 1000 }).unwrap()
    }

    struct Formula<F>(F);

    impl<N, F: FnMut(CompoundCoefficients) -> Result<Option<f64>, SourceError>> AccuracyOracle<N> for Formula<F> {
        fn accuracy(&mut self, candidate: &Candidate<N>) -> Result<Option<Accuracy>, SourceError> {
            Ok((self.0)(candidate.coefficients)?.map(Accuracy::single))
        }
    }

    fn peak(c: CompoundCoefficients) -> f64 {
        0.8 - (c.alpha - 1.2).powi(2) - (c.beta - 1.1).powi(2) - (c.gamma - 1.15).powi(2)
    }

    #[test]
    fn the_search_finds_the_peak() {
        let outcome = grid_search(candidates(), &mut Formula(|c| Ok(Some(peak(c)))), ANY).unwrap();
        assert_eq!(outcome.best().candidate.coefficients, CompoundCoefficients::PUBLISHED);
        assert_eq!(outcome.trials.len(), 109);
        assert!(outcome.trials.is_sorted_by(|a, b| a.score >= b.score));
    }

    #[test]
    fn broken_and_unknown_trials_are_noted_and_the_rest_goes_on() {
        let mut asked = 0;
        let oracle = |c| {
            asked += 1;
            match asked {
                1 => Err("out of memory".into()),
                2 => Ok(Some(f64::NAN)),
                3 => Ok(Some(1.5)),
                4 => Ok(None),
                _ => Ok(Some(peak(c))),
            }
        };
        let outcome = grid_search(candidates(), &mut Formula(oracle), ANY).unwrap();
        assert_eq!((outcome.broken.len(), outcome.unknown.len(), outcome.trials.len()), (3, 1, 105));
        let reasons: Vec<_> = outcome.broken.iter().map(|broken| broken.reason.as_str()).collect();
        assert_eq!(reasons[0], "out of memory");
        assert!(reasons[1].contains("NaN") && reasons[2].contains("1.5"), "{reasons:?}");
    }

    #[test]
    fn nothing_judged_or_nothing_in_budget_is_an_error() {
        let error = grid_search(candidates(), &mut Formula(|_| Ok(None)), ANY).unwrap_err();
        assert!(matches!(error, ScalingError::NothingJudged { candidates: 109, unknown: 109, .. }));
        let tight = Objective::Accuracy { budget: Some(1.0) };
        let error = grid_search(candidates(), &mut Formula(|_| Ok(Some(0.5))), tight).unwrap_err();
        assert!(matches!(error, ScalingError::OverBudget { judged: 109, .. }));
        let wrong = Objective::Reward { target: 0.0, exponent: -0.07 };
        assert!(grid_search(candidates(), &mut Formula(|_| Ok(Some(0.5))), wrong).is_err());
    }

    #[test]
    fn equal_scores_rank_by_cost_then_by_coefficients() {
        let mut shuffled = candidates();
        shuffled.reverse();
        let outcome = grid_search(shuffled, &mut Formula(|_| Ok(Some(0.5))), ANY).unwrap();
        let keys = outcome.trials.iter().map(|trial| {
            let c = trial.candidate.coefficients;
            (trial.candidate.cost, c.alpha, c.beta, c.gamma)
        });
        assert!(keys.is_sorted());
        assert_eq!(outcome.front, [0]);
    }

    #[test]
    fn a_budget_puts_the_rest_last() {
        let mut costs: Vec<f64> = candidates().iter().map(|candidate| candidate.cost).collect();
        costs.sort_by(f64::total_cmp);
        let objective = Objective::Accuracy { budget: Some(costs[50]) };
        let outcome = grid_search(candidates(), &mut Formula(|c| Ok(Some(peak(c)))), objective).unwrap();
        let scored = outcome.trials.iter().filter(|trial| trial.score.is_some()).count();
        assert!(scored >= 51 && outcome.trials[..scored].iter().all(|trial| trial.score.is_some()));
    }

    #[test]
    fn the_standard_error_is_that_of_the_mean() {
        let accuracy = Accuracy::of_runs(&[0.7, 0.8, 0.9]).unwrap();
        assert!((accuracy.mean - 0.8).abs() < 1e-12);
        assert!((accuracy.standard_error.unwrap() - 0.1 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(Accuracy::of_runs(&[0.7]).unwrap().standard_error, None);
        assert_eq!(Accuracy::of_runs(&[]), None);
    }
}
