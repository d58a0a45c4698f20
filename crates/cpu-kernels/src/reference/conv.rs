//! Dense convolution and its gradients; maps are dense, `[B, H, W, C]`, weights `[O, I, k, k]`.

use crate::Window;

/// Calls `visit(input position, output position, kernel cell)` for every product that is not with padding.
fn walk(window: &Window, mut visit: impl FnMut(usize, usize, usize)) {
    let Window { batch, in_height, in_width, out_height, out_width, kernel, stride, pad_top, pad_left } =
        *window;
    let input = |out: usize, k: usize, pad: usize, len: usize| {
        (out * stride + k).checked_sub(pad).filter(|i| *i < len)
    };
    for out in 0..batch * out_height * out_width {
        let (b, oy, ox) = (out / (out_height * out_width), out / out_width % out_height, out % out_width);
        for cell in 0..kernel * kernel {
            let iy = input(oy, cell / kernel, pad_top, in_height);
            let ix = input(ox, cell % kernel, pad_left, in_width);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                visit((b * in_height + iy) * in_width + ix, out, cell);
            }
        }
    }
}

/// `conv(x, weight)`.
pub fn forward(x: &[f64], weight: &[f64], window: &Window, [outputs, inputs]: [usize; 2]) -> Vec<f64> {
    let mut y = vec![0.0; window.out_positions() * outputs];
    let taps = window.kernel * window.kernel;
    walk(window, |from, to, cell| {
        for o in 0..outputs {
            for i in 0..inputs {
                y[to * outputs + o] += x[from * inputs + i] * weight[(o * inputs + i) * taps + cell];
            }
        }
    });
    y
}

/// Gradient of `x`.
pub fn backward_data(dy: &[f64], weight: &[f64], window: &Window, [outputs, inputs]: [usize; 2]) -> Vec<f64> {
    let mut dx = vec![0.0; window.in_positions() * inputs];
    let taps = window.kernel * window.kernel;
    walk(window, |from, to, cell| {
        for o in 0..outputs {
            for i in 0..inputs {
                dx[from * inputs + i] += dy[to * outputs + o] * weight[(o * inputs + i) * taps + cell];
            }
        }
    });
    dx
}

/// Gradient of the weight.
pub fn backward_weight(x: &[f64], dy: &[f64], window: &Window, [outputs, inputs]: [usize; 2]) -> Vec<f64> {
    let taps = window.kernel * window.kernel;
    let mut dw = vec![0.0; outputs * inputs * taps];
    walk(window, |from, to, cell| {
        for o in 0..outputs {
            for i in 0..inputs {
                dw[(o * inputs + i) * taps + cell] += x[from * inputs + i] * dy[to * outputs + o];
            }
        }
    });
    dw
}
