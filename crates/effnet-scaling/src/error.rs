/// What can be wrong with a request to scale a network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum ScalingError {
    #[error("`{name}` is no EfficientNet variant; expected one of {known}")]
    UnknownVariant { name: String, known: String },
    #[error("{what}: expected a finite number {expected}, got {got}")]
    Coefficient { what: &'static str, expected: &'static str, got: f64 },
    #[error(
        "no coefficients to search: the grid is empty; use a finer step, a larger range or a wider tolerance"
    )]
    NoCandidates,
    #[error("{what} of alpha {alpha}, beta {beta}, gamma {gamma}: expected {expected}, got {got}")]
    Score { what: &'static str, alpha: f64, beta: f64, gamma: f64, expected: &'static str, got: f64 },
    #[error("trial of alpha {alpha}, beta {beta}, gamma {gamma} failed")]
    Trial { alpha: f64, beta: f64, gamma: f64, source: Box<dyn std::error::Error + Send + Sync> },
}
