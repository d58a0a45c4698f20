//! Convolution in bf16, for inference: inputs (after their gate) and weights are rounded to bf16, to nearest and ties to
//! even; products are summed in f32; bias, activation and residual are f32, and so are the maps.
//!
//! Two neighbouring input channels are multiplied at once, as the instruction `VDPBF16PS` of AVX512_BF16 does. A pair fills
//! the 32 bits of an f32, the first channel in the lower half and a zero beside the last of an odd number. So a row of pairs
//! is a row of half as many channels, and geometry, panels and blocks of the plain sum serve it as they
//! are; only the micro-kernel knows what the bits mean. Elsewhere the same arithmetic runs on the vectors of any instruction
//! set. Minimal filtering does not: its transforms would have to be rounded too.

mod forward;
mod multiply;
mod pairs;
#[cfg(test)]
pub(super) mod tests;
mod weight;

pub use forward::forward;
pub(super) use multiply::Emulated;
#[cfg(target_arch = "x86_64")]
pub(super) use multiply::Native;
pub(super) use pairs::{fill, with_pairs};
pub use weight::Weight;
