//! Runs a network graph with composed candle operations on any device, in `f32` or `f64`.
//!
//! This is the path for GPUs, and the oracle of the project's tests: in `f64` its gradients equal finite differences
//! for every kind of node. It takes any [`net_graph::Graph`], holds its parameters as candle variables by name
//! ([`CandleNet`]), and leaves the gradients to candle's tape. It knows no loss and no file.
//!
//! Only operations whose backward holds in candle 0.11 are used. Max-pooling, nearest upsampling, grouped
//! convolution, batch norm and the clipped activations are composed from shifts, broadcasts and selections; a dense
//! convolution is candle's own over a map padded to exactly the cells that its windows read, where its backward is
//! right for every size and stride.
//!
//! The tape and its release are recursive, as deep as the longest path of the network (about ten operations a layer):
//! train networks of hundreds of layers on a thread with a large stack (64 MiB).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use net_candle::{CandleNet, Mode};
//! use net_graph::{Activation, Builder, Conv, Init, Padding};
//!
//! let mut b = Builder::new();
//! let image = b.input("image", 3)?;
//! let conv = Conv { kernel: 3, stride: 2, padding: Padding::Same, groups: 1 };
//! let x = b.conv("conv", image, 8, conv, Init::Normal { std: 0.1 }, None)?;
//! let x = b.batch_norm("bn", x, 1e-3, 0.03)?;
//! let out = b.activation("act", x, Activation::Silu)?;
//!
//! let mut state = 1u64;
//! let mut uniform = || {
//!     state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
//!     (state >> 11) as f64 / (1u64 << 53) as f64
//! };
//! let net = CandleNet::new(b.finish(), &Device::Cpu, DType::F64, |p| p.init.values(p.len(), &mut uniform))?;
//! let images = Tensor::zeros((2, 3, 7, 8), DType::F64, &Device::Cpu)?;
//! let maps = net.forward(&images, &[out], Mode::Train { uniform: &mut uniform })?;
//! assert_eq!(maps[0].dims(), [2, 8, 4, 4]);
//! let gradients = maps[0].sum_all()?.backward()?;
//! assert_eq!(gradients.get(net.var("conv.weight").unwrap()).unwrap().dims(), [8, 3, 3, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod activation;
mod batch_norm;
mod channel;
mod conv;
mod decode;
mod drop;
mod error;
mod net;
mod resample;
mod window;

pub use error::CandleNetError;
pub use net::{CandleNet, Mode};
