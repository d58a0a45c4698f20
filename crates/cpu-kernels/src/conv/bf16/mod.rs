//! Convolution of pairs of bf16 values, for inference on CPUs with AVX512_BF16: inputs (after their gate) and weights are
//! rounded to bf16; products are summed in f32; bias, activation and residual are f32, and so are the maps.
//!
//! Two neighbouring input channels are multiplied at once, as the instruction `VDPBF16PS` does. A pair fills the 32 bits of an
//! f32, the first channel in the lower half and a zero beside the last of an odd number. So a row of pairs is a row of half as
//! many channels, and geometry, panels and blocks of the plain sum serve it as they are; only the micro-kernel knows what the
//! bits mean. Minimal filtering does not: its transforms would have to be rounded too.

mod forward;
mod multiply;
mod pairs;
#[cfg(test)]
pub(super) mod tests;
mod weight;

pub(super) use forward::forward;
#[cfg(target_arch = "x86_64")]
pub(super) use multiply::Native;
#[cfg(test)]
pub(super) use multiply::stepwise::Stepwise;
pub(super) use pairs::{fill, with_pairs};
pub(super) use weight::Weight;
