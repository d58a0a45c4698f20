use crate::ScalingError;
use serde::Serialize;

/// What makes one trial better than another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Objective {
    /// The accuracy, of trials that cost at most the budget.
    Accuracy {
        /// Largest cost in units of the cost model; `None` for any.
        budget: Option<f64>,
    },
    /// `accuracy * (cost / target)^exponent`: the reward of the search that found B0, with the exponent -0.07 and a
    /// target of 400 million multiply-adds (arXiv 1905.11946, section 4).
    Reward {
        /// Cost at which the reward is the accuracy.
        target: f64,
        /// How much cost counts; below 0.
        exponent: f64,
    },
    /// The accuracy; what matters is the front of trials that no other beats in both accuracy and cost.
    Pareto,
}

impl Objective {
    pub(crate) fn check(&self) -> Result<(), ScalingError> {
        match *self {
            Objective::Accuracy { budget: Some(budget) } => ScalingError::check_positive("budget", budget),
            Objective::Accuracy { budget: None } | Objective::Pareto => Ok(()),
            Objective::Reward { target, exponent } => {
                ScalingError::check_positive("target of the reward", target)?;
                if exponent.is_finite() && exponent <= 0.0 {
                    return Ok(());
                }
                let expected = "of at most 0";
                Err(ScalingError::Coefficient { what: "exponent of the reward", expected, got: exponent })
            }
        }
    }

    /// Score of a trial, more is better; `None` if it is over the budget.
    pub fn score(&self, accuracy: f64, cost: f64) -> Option<f64> {
        match *self {
            Objective::Accuracy { budget } => budget.is_none_or(|budget| cost <= budget).then_some(accuracy),
            Objective::Reward { target, exponent } => Some(accuracy * (cost / target).powf(exponent)),
            Objective::Pareto => Some(accuracy),
        }
    }
}

/// Indices of the `(accuracy, cost)` pairs that no other pair beats: the cheapest first. Of equal pairs the first
/// counts.
pub fn pareto_front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| {
        let ((accuracy_a, cost_a), (accuracy_b, cost_b)) = (points[a], points[b]);
        cost_a.total_cmp(&cost_b).then(accuracy_b.total_cmp(&accuracy_a)).then(a.cmp(&b))
    });
    let mut best = f64::NEG_INFINITY;
    order.retain(|&index| {
        let better = points[index].0 > best;
        best = best.max(points[index].0);
        better
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_reward_falls_with_the_cost() {
        let reward = Objective::Reward { target: 4e8, exponent: -0.07 };
        assert_eq!(reward.score(0.77, 4e8), Some(0.77));
        assert!(reward.score(0.77, 8e8).unwrap() < 0.74);
    }

    #[test]
    fn what_is_over_the_budget_has_no_score() {
        let objective = Objective::Accuracy { budget: Some(2.0) };
        assert_eq!([2.0, 2.1].map(|cost| objective.score(0.5, cost)), [Some(0.5), None]);
    }

    proptest! {
        #[test]
        fn nothing_beats_the_front_and_the_front_beats_the_rest(
            raw in prop::collection::vec((0u8..20, 1u8..20), 1..40)
        ) {
            let points: Vec<(f64, f64)> = raw.iter().map(|&(a, c)| (f64::from(a), f64::from(c))).collect();
            let front = pareto_front(&points);
            let covers = |a: (f64, f64), b: (f64, f64)| a.0 >= b.0 && a.1 <= b.1;
            for (index, &point) in points.iter().enumerate() {
                if front.contains(&index) {
                    let beaten = points.iter().any(|&other| covers(other, point) && other != point);
                    prop_assert!(!beaten);
                } else {
                    prop_assert!(front.iter().any(|&f| covers(points[f], point)));
                }
            }
        }
    }
}
