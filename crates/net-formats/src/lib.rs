#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod archive;
mod bytes;
mod crc32c;
mod element;
mod error;
mod info;
pub mod keras;
pub mod onnx;
mod open;
mod pickle;
pub mod safetensors_file;
mod string_table;
pub mod tensor_bundle;
pub mod torch;
mod wire;

pub use archive::{Archive, Averages, Format, Ignored, NamedArray};
pub use element::ElementType;
pub use error::FormatError;
pub use info::{ChoiceError, InfoError, Normalization, PaddingMode, WeightsInfo};
pub use open::{load, read};

/// Dimensions that an array may have.
pub(crate) const MAX_DIMS: usize = 8;
