//! Pooling and enlargement.

use crate::window::Window;
use candle_core::{Result, Tensor};
use net_graph::Padding;

/// [`net_graph::Op::MaxPool`]: a running maximum over what the window's cells see.
///
/// The comparison is outside the tape and strict, so that among equal values the first, row by row, takes all the
/// gradient, as in PyTorch.
pub(crate) fn max_pool(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let window = Window::over(x, Padding::Symmetric, kernel, stride)?;
    let mut taps = window.taps(x, f64::NEG_INFINITY)?.into_iter();
    let first = taps.next().expect("a window has at least one cell");
    taps.try_fold(first, |max, tap| tap.gt(&max)?.where_cond(&tap, &max))
}

/// [`net_graph::Op::GlobalAvgPool`]: `[B, C, H, W]` to `[B, C, 1, 1]`.
pub(crate) fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.mean_keepdim((2, 3))
}

/// [`net_graph::Op::Upsample`]: every cell repeated by broadcasting, whose backward sums the copies.
pub(crate) fn upsample(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let cells = x.reshape((batch, channels, height, 1, width, 1))?;
    let copies = cells.broadcast_as((batch, channels, height, factor, width, factor))?;
    copies.reshape((batch, channels, height * factor, width * factor))
}
