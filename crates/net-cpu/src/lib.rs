#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod consumers;
mod error;
mod images;
mod infer;
mod layout;
mod memory;
mod placement;
mod steps;
mod train;

pub use cpu_kernels::conv::block as conv_block;
pub use cpu_kernels::peak::flops_per_second;
pub use cpu_kernels::{Isa, MapMut, MapRef, Precision};
pub use error::NetError;
pub use images::Images;
pub use infer::{InferModel, InferPlan};
pub use layout::{ParamLayout, Params, Slot, Weights};
pub use steps::{Pass, StepInfo};
pub use train::TrainPlan;
