#![doc = include_str!("../README.md")]

pub mod activation;
mod bands;
pub mod conv;
pub mod convert;
pub mod decode;
pub mod depthwise;
pub mod elementwise;
pub mod experts;
pub mod gate;
pub mod geometry;
pub mod isa;
mod lanes;
pub mod map;
pub mod norm;
pub mod optim;
pub mod parallel;
pub mod peak;
pub mod pool;
mod precision;
pub mod reference;
pub mod resize;
mod rows;
mod scratch;
mod team;
#[cfg(test)]
mod test_maps;
#[cfg(test)]
mod test_windows;
pub mod upsample;
mod vector;

pub use activation::Activation;
pub use geometry::Window;
pub use isa::{Isa, IsaKind};
pub use map::{Arena, MapMut, MapRef, Region};
pub use precision::Precision;
