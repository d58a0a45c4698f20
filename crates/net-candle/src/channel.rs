//! Values and means of channels.

use candle_core::{Result, Tensor};

/// One value a channel, to be broadcast over maps `x` `[B, C, H, W]`: `[B, C, 1, 1]`.
///
/// The images come first, so that what the backward sums over a map lies together: candle sums trailing axes many
/// times faster than others.
pub(crate) fn per_channel(values: &Tensor, x: &Tensor) -> Result<Tensor> {
    let channels = values.elem_count();
    values.reshape((1, channels, 1, 1))?.broadcast_as((x.dim(0)?, channels, 1, 1))
}

/// The mean of each channel of `[B, C, H, W]`: `[C]`.
pub(crate) fn channel_means(x: &Tensor) -> Result<Tensor> {
    x.mean((2, 3))?.mean(0)
}
