//! Binary cross-entropy over all anchor points and classes.

use crate::exponential::sigmoid_and_softplus;

/// Values handled together, so that the loop becomes SIMD and the sums have a fixed order.
const LANES: usize = 16;

/// Binary cross-entropy with logits against targets of 0, summed; writes `scale` times the gradient. Nearly all targets
/// are 0: the few others are corrected afterwards (a target t changes the value by `-t * x`, the derivative by `-t`).
pub(crate) fn background_loss(logits: &[f32], scale: f32, gradient: &mut [f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (blocks, rest) = logits.as_chunks::<LANES>();
    let (gradient_blocks, gradient_rest) = gradient.as_chunks_mut::<LANES>();
    for (block, gradient) in blocks.iter().zip(gradient_blocks) {
        for lane in 0..LANES {
            let (sigmoid, softplus) = sigmoid_and_softplus(block[lane]);
            gradient[lane] = sigmoid * scale;
            sums[lane] += softplus as f64;
        }
    }
    let mut sum: f64 = sums.iter().sum();
    for (&logit, gradient) in rest.iter().zip(gradient_rest) {
        let (sigmoid, softplus) = sigmoid_and_softplus(logit);
        *gradient = sigmoid * scale;
        sum += softplus as f64;
    }
    sum
}
