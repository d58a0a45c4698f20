//! What a convolution does with its sums.

use crate::{Activation, MapRef};

/// What happens to a convolution's sums: `y = activation(sum + bias) + residual`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value an output channel.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// A map of the output's shape.
    pub residual: Option<MapRef<'a>>,
}

impl Epilogue<'_> {
    /// Nothing is added, nothing applied.
    pub const NONE: Epilogue<'static> =
        Epilogue { bias: None, activation: Activation::Identity, residual: None };

    /// Asserts that bias and residual are of the output's size.
    pub(super) fn check(&self, positions: usize, channels: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == channels), "one bias value an output channel");
        let shape = self.residual.map(|residual| [residual.positions(), residual.channels()]);
        assert!(shape.is_none_or(|shape| shape == [positions, channels]), "residual {shape:?}");
    }
}
