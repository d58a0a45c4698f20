#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod convention;
mod converted;
mod error;
mod experts;
mod matching;
mod network;

pub use convention::{Convention, architecture, is_large, trained_backbone};
pub use converted::sha256;
pub use error::SourceError;
pub use matching::{Matched, Wanted, Weight, find};
pub use network::{Names, Network, Variant};
