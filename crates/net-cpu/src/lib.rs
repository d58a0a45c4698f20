//! Compiles a network graph for the CPU.
//!
//! Two targets share the same kernels and the same flat parameters ([`Params`]):
//!
//! - [`InferModel`] folds batch norm into convolutions, packs the weights once, and lays out one plan for every input
//!   size over that one set of weights.
//! - [`TrainPlan`] is a static schedule of forward and backward steps over one arena; gradients go into one flat
//!   vector in name order.
//!
//! Maps are NHWC inside; images come in as `[B, 3, H, W]` floats or as RGB bytes. Joining and splitting channels costs
//! nothing where the parts can be computed in place (see `placement.rs`).
//!
//! This crate knows no loss and no file.
#![forbid(unsafe_code)]

mod consumers;
mod error;
mod images;
mod infer;
mod layout;
mod memory;
mod placement;
mod train;

pub use cpu_kernels::{Isa, MapMut, MapRef};
pub use error::NetError;
pub use images::Images;
pub use infer::{InferModel, InferPlan};
pub use layout::{ParamLayout, Params, Slot};
pub use train::TrainPlan;
