use crate::CompoundCoefficients;

/// An error of a cost model or an oracle, whatever that is.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// No multiplier of a dimension is larger.
pub(crate) const LARGEST_MULTIPLIER: f64 = 64.0;

/// What can be wrong with a request to scale a network or to search for coefficients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are what the message names.
pub enum ScalingError {
    #[error("`{name}` is no EfficientNet variant; expected one of {known}")]
    UnknownVariant { name: String, known: String },
    #[error("`{name}` is no baseline; expected one of {known}")]
    UnknownBaseline { name: String, known: String },
    #[error("{what}: expected a finite number {expected}, got {got}")]
    Coefficient { what: &'static str, expected: &'static str, got: f64 },
    #[error("the grid has {points} points, more than {limit}; use a coarser step or a smaller range")]
    TooManyPoints { points: u128, limit: u128 },
    #[error(
        "no coefficients meet the constraint: {meant} must lie within {tolerance} of {target}, and the nearest of \
         {points} grid points has {nearest}; use a finer step, a larger range or a wider tolerance"
    )]
    NoCandidates { meant: &'static str, target: f64, tolerance: f64, points: u128, nearest: f64 },
    #[error("cost at {coefficients}: expected a finite number above 0, got {got}")]
    CostValue { coefficients: CompoundCoefficients, got: f64 },
    #[error("the cost at {coefficients} cannot be told")]
    Cost { coefficients: CompoundCoefficients, source: SourceError },
    #[error("accuracy: expected a number in 0 ..= 1, got {got}")]
    Accuracy { got: f64 },
    #[error("standard error of an accuracy: expected a finite number of at least 0, got {got}")]
    StandardError { got: f64 },
    #[error(
        "no candidate has an accuracy: of {candidates}, {unknown} are unknown to the oracle and {broken} trials broke; the \
         first of these: {first_reason}"
    )]
    NothingJudged { candidates: usize, broken: usize, unknown: usize, first_reason: String },
    #[error(
        "no judged candidate fits the budget: the cheapest of {judged} costs {cheapest}, allowed are {budget}"
    )]
    OverBudget { judged: usize, cheapest: f64, budget: f64 },
}

impl ScalingError {
    /// Refuses what is not a finite number above 0.
    pub(crate) fn check_positive(what: &'static str, got: f64) -> Result<(), ScalingError> {
        if got.is_finite() && got > 0.0 {
            return Ok(());
        }
        Err(ScalingError::Coefficient { what, expected: "above 0", got })
    }

    /// Refuses multipliers that no network can take: counts of anything larger would overflow.
    pub(crate) fn check_multiplier(what: &'static str, got: f64) -> Result<(), ScalingError> {
        if got.is_finite() && got > 0.0 && got <= LARGEST_MULTIPLIER {
            return Ok(());
        }
        Err(ScalingError::Coefficient { what, expected: "above 0 and at most 64", got })
    }
}
