//! Convolution in the precision that inference asks for.

use super::{Fused, PackedWeight, bf16, forward};
use crate::{Isa, MapMut, MapRef, Precision, Window};

/// The weight of a convolution, packed for inference in either precision. Where the CPU has no instruction for products of
/// bf16 values, a weight that is rounded to bf16 is multiplied as others are.
#[derive(Debug)]
pub struct InferenceWeight(Form);

/// How the values are multiplied.
#[derive(Debug)]
enum Form {
    /// For [`forward`](super::forward).
    Singles(PackedWeight),
    /// For [`bf16::forward`].
    Pairs(bf16::Weight),
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
        if let Some(pairs) = bf16::Weight::if_asked_for(isa, precision, weight_oihw, sizes) {
            return InferenceWeight(Form::Pairs(pairs));
        }
        let ([out_channels, in_channels, kernel], values) = (sizes, precision.round(weight_oihw));
        let weight = PackedWeight::new(isa, &values, out_channels, in_channels, kernel, stride);
        InferenceWeight(Form::Singles(weight))
    }

    /// `y = round(activation(conv(x * gate, weight) + bias) + residual)`.
    ///
    /// # Panics
    /// As [`forward`](super::forward).
    pub fn forward(&self, isa: Isa, x: MapRef, window: &Window, fused: &Fused, y: &mut MapMut) {
        match &self.0 {
            Form::Singles(weight) => forward(isa, x, weight, window, fused, y),
            Form::Pairs(weight) => bf16::forward(isa, x, weight, window, fused, y),
        }
    }
}
