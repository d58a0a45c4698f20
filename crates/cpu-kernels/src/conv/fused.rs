//! What a convolution does besides its sums.

use crate::{Activation, MapRef, Precision};

/// What happens around a convolution's sums: `y = round(activation(conv(x * gate) + bias) + residual)`.
#[derive(Debug, Clone, Copy)]
pub struct Fused<'a> {
    /// Factors of the input, `[B, I]`, as squeeze and excitation has them; for pointwise convolutions.
    pub gate: Option<MapRef<'a>>,
    /// One value an output channel.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// A map of the output's shape.
    pub residual: Option<MapRef<'a>>,
    /// What the outputs are rounded to.
    pub precision: Precision,
}

impl Fused<'_> {
    /// Nothing is multiplied, added, applied or rounded.
    pub const NONE: Fused<'static> = Fused {
        gate: None,
        bias: None,
        activation: Activation::Identity,
        residual: None,
        precision: Precision::F32,
    };

    /// Asserts that all is of the sizes of the maps: `[batch, in channels]`, `[positions, out channels]`.
    pub(super) fn check(&self, input: [usize; 2], output: [usize; 2]) {
        let shape = |map: Option<MapRef>| map.map(|map| [map.positions(), map.channels()]);
        let (gate, residual) = (shape(self.gate), shape(self.residual));
        assert!(gate.is_none_or(|gate| gate == input), "gate {gate:?}, images and channels {input:?}");
        assert!(self.bias.is_none_or(|bias| bias.len() == output[1]), "one bias value an output channel");
        assert!(residual.is_none_or(|residual| residual == output), "residual {residual:?}");
    }
}
