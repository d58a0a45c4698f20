//! Convolution in the precision that inference asks for.

use super::{Fused, PackedWeight, bf16, forward};
use crate::{Isa, MapMut, MapRef, Precision, Window};

/// The weight of a convolution, packed for inference in either precision.
#[derive(Debug)]
pub enum InferenceWeight {
    /// For [`forward`](super::forward).
    F32(PackedWeight),
    /// For [`bf16::forward`].
    Bf16(bf16::Weight),
}

impl InferenceWeight {
    /// Packs a weight `[O, I, k, k]` for an instruction set and a stride; sizes are `[O, I, k]`.
    ///
    /// # Panics
    /// As [`PackedWeight::new`].
    pub fn new(
        isa: Isa,
        precision: Precision,
        weight_oihw: &[f32],
        sizes: [usize; 3],
        stride: usize,
    ) -> Self {
        match precision {
            Precision::F32 => {
                let [out_channels, in_channels, kernel] = sizes;
                let weight = PackedWeight::new(isa, weight_oihw, out_channels, in_channels, kernel, stride);
                InferenceWeight::F32(weight)
            }
            Precision::Bf16 => InferenceWeight::Bf16(bf16::Weight::new(isa, weight_oihw, sizes)),
        }
    }

    /// `y = activation(conv(x * gate, weight) + bias) + residual`.
    ///
    /// # Panics
    /// As [`forward`](super::forward).
    pub fn forward(&self, isa: Isa, x: MapRef, window: &Window, fused: &Fused, y: &mut MapMut) {
        match self {
            InferenceWeight::F32(weight) => forward(isa, x, weight, window, fused, y),
            InferenceWeight::Bf16(weight) => bf16::forward(isa, x, weight, window, fused, y),
        }
    }
}
