//! Convolution and linear layers.

use crate::channel::per_channel;
use crate::window::Window;
use candle_core::{Result, Tensor};
use net_graph::Conv;

/// [`net_graph::Op::Conv2d`]: `x` `[B, C_in, H, W]`, `weight` `[C_out, C_in / groups, k, k]`, `bias` `[C_out]`.
pub(crate) fn conv2d(x: &Tensor, conv: Conv, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let window = Window::over(x, conv.padding, conv.kernel, conv.stride)?;
    let (out, group_channels, _, _) = weight.dims4()?;
    let y = if conv.groups == 1 {
        dense(x, window, conv, weight)?
    } else if group_channels == 1 && out == conv.groups {
        depthwise(x, window, weight)?
    } else {
        grouped(x, window, conv, weight)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&per_channel(bias, &y)?),
        None => Ok(y),
    }
}

/// [`net_graph::Op::CondConv`]: `x` `[B, C_in, H, W]`, `routing` `[B, E, 1, 1]`, `weight` `[E, kernel values]`; image by
/// image, each with its mixed kernel.
pub(crate) fn cond_conv(
    x: &Tensor,
    routing: &Tensor,
    conv: Conv,
    weight: &Tensor,
    out: usize,
) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    let kernel = (out, channels / conv.groups, conv.kernel, conv.kernel);
    let mixed = routing.reshape((batch, weight.dim(0)?))?.matmul(weight)?; // [B, kernel values]
    let image = |b| conv2d(&x.narrow(0, b, 1)?, conv, &mixed.narrow(0, b, 1)?.reshape(kernel)?, None);
    Tensor::cat(&(0..batch).map(image).collect::<Result<Vec<_>>>()?, 0)
}

/// A matrix product for a 1x1 kernel. Else candle's convolution without padding over exactly the cells it reads: its
/// backward derives the padding of the gradient from the height alone, which is right where nothing is left over.
fn dense(x: &Tensor, window: Window, conv: Conv, weight: &Tensor) -> Result<Tensor> {
    if conv.kernel > 1 {
        return window.covered(x)?.conv2d(weight, 0, conv.stride, 1, 1);
    }
    let x = window.taps(x, 0.0)?.remove(0);
    let (batch, channels, height, width) = x.dims4()?;
    let out = weight.dim(0)?;
    let columns = x.reshape((batch, channels, height * width))?;
    let y = weight.reshape((1, out, channels))?.broadcast_matmul(&columns)?; // [B, C_out, H * W]
    y.reshape((batch, out, height, width))
}

/// The sum over the kernel's cells of what each sees times its weight.
fn depthwise(x: &Tensor, window: Window, weight: &Tensor) -> Result<Tensor> {
    let (channels, _, kernel, _) = weight.dims4()?;
    let weight = weight.reshape((channels, kernel * kernel))?;
    let term = |(i, tap): (usize, Tensor)| tap.broadcast_mul(&per_channel(&weight.narrow(1, i, 1)?, x)?);
    sum(window.taps(x, 0.0)?.into_iter().enumerate().map(term).collect::<Result<_>>()?)
}

fn grouped(x: &Tensor, window: Window, conv: Conv, weight: &Tensor) -> Result<Tensor> {
    let inputs = x.chunk(conv.groups, 1)?;
    let weights = weight.chunk(conv.groups, 0)?;
    let groups = inputs.iter().zip(&weights).map(|(x, weight)| dense(x, window, conv, weight));
    Tensor::cat(&groups.collect::<Result<Vec<_>>>()?, 1)
}

/// Adds pair by pair, so that the tape grows in depth by the logarithm of the number of terms.
fn sum(mut terms: Vec<Tensor>) -> Result<Tensor> {
    while terms.len() > 1 {
        let add = |pair: &[Tensor]| if pair.len() == 2 { &pair[0] + &pair[1] } else { Ok(pair[0].clone()) };
        terms = terms.chunks(2).map(add).collect::<Result<_>>()?;
    }
    Ok(terms.remove(0))
}

/// [`net_graph::Op::Linear`]: `x` `[B, C_in, 1, 1]`, `weight` `[C_out, C_in]`, `bias` `[C_out]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (out, channels) = weight.dims2()?;
    let batch = x.dim(0)?;
    let y = x.reshape((batch, channels))?.matmul(&weight.t()?)?.broadcast_add(bias)?; // [B, C_out]
    y.reshape((batch, out, 1, 1))
}
