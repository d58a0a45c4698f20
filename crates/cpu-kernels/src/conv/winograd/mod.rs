//! Convolution of 3x3 taps at stride 1 by minimal filtering, F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308).
//!
//! A tile of 4x4 outputs reads 6x6 inputs. With the matrices `B`, `G` and `A` of [`transform`],
//! `outputs = A^T [sum over channels of (G w G^T) * (B^T x B)] A`, where `*` multiplies point by point: 36 products for
//! what plainly takes 144. The sums over channels are 36 matrix products, tiles times input channels by input channels
//! times output channels, and run on the micro-kernels of the plain convolution.
//!
//! The gradient of the input is the same convolution with flipped and transposed taps; that of the weight is the
//! transpose of the formula, `dw = G^T [sum over tiles of (B^T x B) * (A dy A^T)] G`.
//!
//! The transforms lose some bits: errors are up to some ten times those of the plain sum.

mod backward_weight;
mod forward;
mod pack;
mod points;
mod tiles;
mod transform;

pub(super) use backward_weight::backward_weight;
pub(super) use forward::{backward_data, forward};
pub(super) use pack::Weight;

/// Taps along an axis.
pub(super) const TAPS: usize = 3;

/// Outputs of a tile along an axis.
const OUTPUTS: usize = 4;

/// Inputs of a tile along an axis, and points.
const INPUTS: usize = OUTPUTS + TAPS - 1;

/// Points of a tile.
const POINTS: usize = INPUTS * INPUTS;
