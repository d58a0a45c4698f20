//! Dense convolution (one group) over NHWC maps: forward, and the gradients of input and weight.
//!
//! All three are matrix products whose left matrix exists only as addresses of map rows, computed block by block in
//! registers. Square kernels up to a side of [`MAX_KERNEL`], any stride and padding.

mod backward_data;
mod backward_weight;
mod block;
mod forward;
mod grid;
mod micro;
mod pack;
mod product;
#[cfg(test)]
mod tests;

pub use backward_data::backward_data;
pub use backward_weight::backward_weight;
pub use block::block;
pub use forward::{Epilogue, forward};
pub use grid::MAX_KERNEL;
pub use pack::{PackedTransposed, PackedWeight};
