//! The plain sum: matrix products whose left matrix exists only as addresses of map rows, computed block by block in
//! registers.

mod backward_data;
mod backward_weight;
mod forward;
mod gate;
mod grid;
mod pack;
mod pointwise;
mod product;

pub(super) use backward_data::backward_data;
pub(super) use backward_weight::backward_weight;
pub(super) use forward::{forward, product};
pub(super) use gate::Gate;
pub(super) use grid::Grid;
pub use grid::MAX_KERNEL;
pub(super) use pack::{Transposed, Weight};
