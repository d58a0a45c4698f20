//! Dense convolution (one group) over NHWC maps: forward, and the gradients of input and weight.
//!
//! Square kernels up to a side of [`MAX_KERNEL`], any stride and padding. Two algorithms: the plain sum, and one with
//! fewer multiplications for 3x3 taps at stride 1. Which one runs depends on the weight's shape and the stride alone. In
//! inference the plain sum runs on pairs of bf16 values where the CPU can multiply them.

mod algorithm;
mod bf16;
mod block;
pub mod depthwise_after;
mod direct;
mod finish;
mod fused;
mod inference;
mod micro;
mod panels;
mod partial_sums;
mod plain;
#[cfg(test)]
mod tests;
mod winograd;

pub(crate) use algorithm::PackedKernel;
pub use algorithm::{PackedTransposed, PackedWeight, backward_data, backward_weight, forward};
pub use block::block;
pub use direct::MAX_KERNEL;
pub use finish::Finish;
pub use fused::Fused;
pub use inference::InferenceWeight;
