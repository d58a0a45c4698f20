#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activation;
mod batch_norm;
mod channel;
mod conv;
mod decode;
mod drop;
mod engine;
mod error;
mod fixed;
mod host;
mod inference;
mod net;
mod random;
mod resample;
mod training;
mod window;

pub use error::CandleNetError;
pub use fixed::FixedNet;
pub use net::{CandleNet, Mode};
pub use random::unseeded;
