//! Binary cross-entropy over all anchor points and classes.

use crate::exponential::sigmoid_and_softplus;

/// Values handled together: few enough to stay in the first-level cache.
const BLOCK: usize = 256;

/// Binary cross-entropy with logits against targets of 0, summed; writes `scale` times the gradient. Nearly all targets
/// are 0: the few others are corrected afterwards (a target t changes the value by `-t * x`, the derivative by `-t`).
pub(crate) fn background_loss(logits: &[f32], scale: f32, gradient: &mut [f32]) -> f64 {
    let mut losses = [0.0; BLOCK];
    let mut sum = 0.0;
    for (logits, gradient) in logits.chunks(BLOCK).zip(gradient.chunks_mut(BLOCK)) {
        for ((&logit, gradient), loss) in logits.iter().zip(gradient).zip(&mut losses) {
            let (sigmoid, softplus) = sigmoid_and_softplus(logit);
            *gradient = sigmoid * scale;
            *loss = softplus;
        }
        sum += sum_in_lanes(&losses[..logits.len()]);
    }
    sum
}

/// Sum in f64, eight partial sums side by side.
fn sum_in_lanes(values: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for block in blocks {
        for lane in 0..8 {
            sums[lane] += block[lane] as f64;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| value as f64).sum::<f64>()
}
