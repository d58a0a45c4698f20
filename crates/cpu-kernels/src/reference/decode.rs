//! Decoding of one cell of the detection head.

/// Centre x, centre y, width, height in pixels of the box whose four sides' bins have these logits, for the cell at
/// `(column, row)`.
pub fn decode_box(logits: &[f64], bins: &[f64], column: usize, row: usize, stride: f64) -> [f64; 4] {
    let side = |side: usize| expectation(&logits[side * bins.len()..][..bins.len()], bins) * stride;
    let (x, y) = ((column as f64 + 0.5) * stride, (row as f64 + 0.5) * stride);
    let [x1, y1, x2, y2] = [x - side(0), y - side(1), x + side(2), y + side(3)];
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1]
}

fn expectation(logits: &[f64], bins: &[f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum::<f64>() / weights.iter().sum::<f64>()
}
