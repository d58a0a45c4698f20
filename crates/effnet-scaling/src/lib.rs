//! The arithmetic of EfficientNet: what each variant is built of, what it costs, and how a network is scaled.
//!
//! In reading order: [`NetworkSpec`] lists the stages of an EfficientNet and [`StagedSpec`] those of a MobileNet or
//! ResNet, [`DetectorSpec`] an EfficientNet under a neck and head; `scaled` applies width and depth multipliers with the family's rounding. [`Variant`] and the tables of
//! [`PublishedVariant`] and [`PublishedScaling`] are what was published. [`NetworkSpec::cost`] and
//! [`NetworkSpec::footprint`] count in closed form. A [`Baseline`] is what can be scaled, a [`CostModel`] says what the
//! result costs, a [`Grid`] of compound coefficients with a [`Constraint`] is a [`SearchSpace`], and [`grid_search`]
//! asks an [`AccuracyOracle`] about its candidates and ranks them by an [`Objective`].
//!
//! Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv 1905.11946).
//!
//! This crate knows no tensors, files or threads.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod baseline;
mod compound;
mod cost;
mod cost_model;
mod detector;
mod error;
mod footprint;
mod grid;
mod ladder;
mod network;
mod objective;
mod published;
mod recorded;
mod rounding;
mod search;
mod space;
mod staged;
mod variant;

pub use baseline::{Baseline, NamedBaseline, ScaledNetwork, round_resolution};
pub use compound::{CompoundCoefficients, Dimension, Scaling};
pub use cost::{Cost, NetworkCost};
pub use cost_model::{CostModel, MultiplyAdds};
pub use detector::{DetectorBaseline, DetectorSpec};
pub use error::{ScalingError, SourceError};
pub use footprint::{ActivationBytes, Footprint, Network};
pub use grid::{Axis, Grid};
pub use ladder::{compound_at_cost, phi_ladder, single_dimension};
pub use network::{Activation, BlockForm, BlockSpec, NetworkSpec, Reduction, StageSpec};
pub use objective::{Objective, pareto_front};
pub use published::{PublishedScaling, PublishedVariant};
pub use recorded::{Record, RecordedAccuracies};
pub use rounding::{round_channels, round_repeats};
pub use search::{Accuracy, AccuracyOracle, BrokenTrial, SearchOutcome, Trial, grid_search};
pub use space::{Candidate, Constraint, SearchSpace};
pub use staged::{BlockKind, GroupSpec, StagedSpec};
pub use variant::Variant;
