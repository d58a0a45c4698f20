//! The arithmetic of EfficientNet: what each variant is built of, what it costs, and how a network is scaled.
//!
//! A [`NetworkSpec`] lists the stages of a network; [`NetworkSpec::scaled`] applies width and depth multipliers with
//! the rounding of the official builder; [`Variant`] holds the published variants as data. [`NetworkSpec::cost`] counts
//! parameters and multiply-adds in closed form. [`Grid`] enumerates compound coefficients and [`grid_search`] asks an
//! [`AccuracyOracle`] about each.
//!
//! Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv 1905.11946).
//!
//! This crate knows no tensors, files or threads.
#![forbid(unsafe_code)]

mod compound;
mod cost;
mod error;
mod network;
mod rounding;
mod search;
mod variant;

pub use compound::{CompoundCoefficients, Grid, Scaling};
pub use cost::{Cost, NetworkCost};
pub use error::ScalingError;
pub use network::{Activation, BlockSpec, NetworkSpec, Reduction, StageSpec};
pub use rounding::{round_channels, round_repeats};
pub use search::{
    AccuracyOracle, Candidate, CostModel, MultiplyAdds, SearchOutcome, Trial, accuracy_cost_reward,
    grid_search,
};
pub use variant::Variant;
