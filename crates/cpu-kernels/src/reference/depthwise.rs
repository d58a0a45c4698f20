//! Depthwise convolution over dense maps, `x[position * channels + channel]`; weights are `[C, 1, kernel, kernel]`.

use crate::Window;

/// `sum over (u, v) of x[b, i * stride + u - pad_top, j * stride + v - pad_left, c] * weight[c, u, v]`.
pub fn forward(x: &[f64], weight: &[f64], channels: usize, window: &Window) -> Vec<f64> {
    let mut y = vec![0.0; window.out_positions() * channels];
    products(channels, window, |output, input, weight_index| y[output] += x[input] * weight[weight_index]);
    y
}

/// The gradient of `x`.
pub fn backward_data(dy: &[f64], weight: &[f64], channels: usize, window: &Window) -> Vec<f64> {
    let mut dx = vec![0.0; window.in_positions() * channels];
    products(channels, window, |output, input, weight_index| dx[input] += dy[output] * weight[weight_index]);
    dx
}

/// The gradient of the weight.
pub fn backward_weight(x: &[f64], dy: &[f64], channels: usize, window: &Window) -> Vec<f64> {
    let mut dw = vec![0.0; channels * window.kernel * window.kernel];
    products(channels, window, |output, input, weight_index| dw[weight_index] += dy[output] * x[input]);
    dw
}

/// Every product of the convolution: the indices of its output, its input and its weight.
fn products(channels: usize, window: &Window, mut product: impl FnMut(usize, usize, usize)) {
    super::pool::taps(window, |output, input, tap| {
        for channel in 0..channels {
            let weight = channel * window.kernel * window.kernel + tap;
            product(output * channels + channel, input * channels + channel, weight);
        }
    });
}
