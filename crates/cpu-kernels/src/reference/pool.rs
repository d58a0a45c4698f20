//! Pooling, nearest upsampling and gating of dense maps, `x[position * channels + channel]`.

use crate::Window;

/// Every pair of an output position and an input position inside its window, windows row by row: their indices and the
/// index of the tap.
pub fn taps(window: &Window, mut visit: impl FnMut(usize, usize, usize)) {
    let outputs = (0..window.out_positions())
        .flat_map(|output| (0..window.kernel.pow(2)).map(move |tap| (output, tap)));
    for (output, tap) in outputs {
        let (line, column) = (output / window.out_width, output % window.out_width);
        let (image, row) = (line / window.out_height, line % window.out_height);
        let y = row * window.stride + tap / window.kernel;
        let x = column * window.stride + tap % window.kernel;
        let inside = |at: usize, pad: usize, size: usize| at.checked_sub(pad).filter(|&at| at < size);
        if let (Some(y), Some(x)) =
            (inside(y, window.pad_top, window.in_height), inside(x, window.pad_left, window.in_width))
        {
            visit(output, (image * window.in_height + y) * window.in_width + x, tap);
        }
    }
}

/// The maximum over the window, and the index of the first value that reaches it (none where no input is inside).
pub fn max_pool(x: &[f64], channels: usize, window: &Window) -> Vec<(f64, Option<usize>)> {
    let mut y = vec![(f64::NEG_INFINITY, None); window.out_positions() * channels];
    taps(window, |output, input, _| {
        for channel in 0..channels {
            let (best, index) = (&mut y[output * channels + channel], input * channels + channel);
            if best.1.is_none() || x[index] > best.0 {
                *best = (x[index], Some(index));
            }
        }
    });
    y
}

/// The gradient of the input of [`max_pool`].
pub fn max_pool_backward(x: &[f64], dy: &[f64], channels: usize, window: &Window) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    for ((_, index), dy) in max_pool(x, channels, window).into_iter().zip(dy) {
        index.into_iter().for_each(|index| dx[index] += dy);
    }
    dx
}

/// The mean over each image's positions.
pub fn global_avg_pool(x: &[f64], channels: usize, batch: usize) -> Vec<f64> {
    let ones = vec![1.0; x.len()];
    let area = (x.len() / channels / batch) as f64;
    gate_gradient(x, &ones, channels, batch).into_iter().map(|sum| sum / area).collect()
}

/// The gradient of the input of [`global_avg_pool`]; `area` positions an image.
pub fn global_avg_pool_backward(dy: &[f64], channels: usize, batch: usize, area: usize) -> Vec<f64> {
    gate(&vec![1.0 / area as f64; batch * area * channels], dy, channels, batch)
}

/// `x[b, i / factor, j / factor, c]`; `height` and `width` are those of `x`.
pub fn upsample(x: &[f64], channels: usize, height: usize, width: usize, factor: usize) -> Vec<f64> {
    let mut y = vec![0.0; x.len() * factor * factor];
    copies(x.len() / channels, height, width, factor, |large, small| {
        y[large * channels..][..channels].copy_from_slice(&x[small * channels..][..channels]);
    });
    y
}

/// The gradient of the input of [`upsample`].
pub fn upsample_backward(
    dy: &[f64],
    channels: usize,
    height: usize,
    width: usize,
    factor: usize,
) -> Vec<f64> {
    let mut dx = vec![0.0; dy.len() / (factor * factor)];
    copies(dx.len() / channels, height, width, factor, |large, small| {
        for channel in 0..channels {
            dx[small * channels + channel] += dy[large * channels + channel];
        }
    });
    dx
}

/// Every position of the large map and the position of the small map that it copies.
fn copies(positions: usize, height: usize, width: usize, factor: usize, mut copy: impl FnMut(usize, usize)) {
    for large in 0..positions * factor * factor {
        let (line, column) = (large / (width * factor), large % (width * factor));
        let (image, row) = (line / (height * factor), line % (height * factor));
        copy(large, (image * height + row / factor) * width + column / factor);
    }
}

/// `x[b, p, c] * g[b, c]`; also the gradient of `x`, given that of the output.
pub fn gate(x: &[f64], g: &[f64], channels: usize, batch: usize) -> Vec<f64> {
    let image = x.len() / batch;
    x.iter().enumerate().map(|(index, x)| x * g[index / image * channels + index % channels]).collect()
}

/// The gradient of `g` of [`gate`]: the sum over each image's positions of `x * dy`.
pub fn gate_gradient(x: &[f64], dy: &[f64], channels: usize, batch: usize) -> Vec<f64> {
    let (image, mut dg) = (x.len() / batch, vec![0.0; batch * channels]);
    for (index, (x, dy)) in x.iter().zip(dy).enumerate() {
        dg[index / image * channels + index % channels] += x * dy;
    }
    dg
}
