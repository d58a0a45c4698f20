//! Element-wise non-linearities.

use candle_core::{Result, Tensor};
use net_graph::Activation;

/// [`net_graph::Op::Activation`].
///
/// The clipped activations select, so that the derivative is 0 at the bounds themselves and NaN stays NaN. The sigmoid
/// is candle's own operation: composed from `exp` its gradient would be NaN far below zero.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::Relu => above_zero(x),
        Activation::Relu6 => {
            let six = Tensor::full(6.0, x.shape(), x.device())?.to_dtype(x.dtype())?;
            x.ge(&six)?.where_cond(&six, &above_zero(x)?)
        }
    }
}

fn above_zero(x: &Tensor) -> Result<Tensor> {
    let zero = x.zeros_like()?;
    x.le(&zero)?.where_cond(&zero, x)
}
