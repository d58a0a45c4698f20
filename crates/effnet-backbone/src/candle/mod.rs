//! The family as ordinary candle code (feature `candle`).
//!
//! [`EfficientNet`] gives feature levels, [`EfficientNetClassifier`] also head features and class scores. Parameters are
//! variables of the caller's `VarMap` under timm's names, and gradients join the caller's tape. With fixed weights, such
//! as those of a file, the two are a [`FeatureExtractor`] and an [`ImageClassifier`]. In `f32` on the CPU the whole
//! network is one compiled operation; elsewhere it is composed of candle's operations
//! ([`net_candle::CandleNet::forward`]).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use effnet_backbone::{EfficientNetConfig, Variant};
//! use effnet_backbone::candle::{EfficientNet, Mode, unseeded};
//!
//! let config = EfficientNetConfig::from_scratch(&Variant::find("b0")?);
//! let map = VarMap::new();
//! let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
//! let backbone = EfficientNet::new(&config, vb.pp("backbone"))?;
//!
//! let images = Tensor::zeros((1, 3, 64, 96), DType::F32, &Device::Cpu)?; // RGB in [0, 1]
//! let levels = backbone.features(&images, Mode::Train { uniform: &mut unseeded() })?;
//! assert_eq!(levels[0].dims(), [1, 24, 16, 24]); // stride 4
//! assert_eq!(levels[3].dims(), [1, 320, 2, 3]); // stride 32
//!
//! let gradients = levels[3].sum_all()?.backward()?;
//! let stem = map.data().lock().unwrap()["backbone.conv_stem.weight"].clone();
//! assert_eq!(gradients.get(&stem).unwrap().dims(), [32, 3, 3, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod classifier;
mod error;
mod features;

pub use checkpoint::config_of_file;
pub use classifier::{EfficientNetClassifier, ImageClassifier};
pub use error::EfficientNetError;
pub use features::{EfficientNet, FeatureExtractor};
pub use net_candle::{Mode, unseeded};
