//! CPU kernels: slices in, slices out.
//!
//! Maps are NHWC with a leading dimension ([`MapRef`], [`MapMut`]), so that a 1x1 convolution is a plain matrix
//! product, depthwise convolution and pooling vectorise over channels, and joining or splitting channels is an address.
//! Every entry takes the instruction set to use ([`Isa`]), detected once at run time; each kernel has a plain reference
//! and equals it on every instruction set within its stated bound.
//!
//! This is the only crate of the workspace that contains `unsafe`. It knows no model and no file.

pub mod activation;
mod bands;
pub mod conv;
pub mod convert;
pub mod decode;
pub mod depthwise;
pub mod elementwise;
pub mod gate;
pub mod geometry;
pub mod isa;
mod lanes;
pub mod map;
pub mod norm;
pub mod optim;
pub mod parallel;
pub mod pool;
pub mod reference;
mod rows;
#[cfg(test)]
mod test_maps;
#[cfg(test)]
mod test_windows;
pub mod upsample;

pub use activation::Activation;
pub use geometry::Window;
pub use isa::{Isa, IsaKind};
pub use map::{Arena, MapMut, MapRef, Region};
