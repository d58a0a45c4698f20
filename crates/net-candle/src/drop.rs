//! Stochastic depth (Huang et al., arXiv 1603.09382) and dropout, with numbers drawn from outside.

use candle_core::{Result, Tensor};

/// [`net_graph::Op::DropPath`] in training: one number an image.
pub(crate) fn drop_path(x: &Tensor, rate: f64, uniform: &mut dyn FnMut() -> f64) -> Result<Tensor> {
    masked(x, &[x.dim(0)?, 1, 1, 1], rate, uniform)
}

/// [`net_graph::Op::Dropout`] in training: one number a value, in the order `[B, C, H, W]`.
pub(crate) fn dropout(x: &Tensor, rate: f64, uniform: &mut dyn FnMut() -> f64) -> Result<Tensor> {
    masked(x, x.dims(), rate, uniform)
}

fn masked(x: &Tensor, dims: &[usize], rate: f64, uniform: &mut dyn FnMut() -> f64) -> Result<Tensor> {
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let factor = |_| if uniform() < rate { 0.0 } else { 1.0 / (1.0 - rate) };
    let factors: Vec<f64> = (0..dims.iter().product()).map(factor).collect();
    x.broadcast_mul(&Tensor::from_vec(factors, dims, x.device())?.to_dtype(x.dtype())?)
}
