//! Activation functions and their derivatives.

use crate::Activation;

/// The value of the activation at `x`.
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Silu => x * sigmoid(x),
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Sigmoid => sigmoid(x),
    }
}

/// The derivative of the activation at `x`, 0 at a kink.
pub fn derivative(activation: Activation, x: f64) -> f64 {
    let indicator = |holds: bool| if holds { 1.0 } else { 0.0 };
    match activation {
        Activation::Identity => 1.0,
        Activation::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
        Activation::Relu => indicator(x > 0.0),
        Activation::Relu6 => indicator(x > 0.0 && x < 6.0),
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
    }
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
