//! Distances as distributions over bins, and the distribution focal loss (arXiv 2006.04388, section 3).

use crate::exponential::Exponentials;

/// Expected distances `[left, top, right, bottom]` in grid units from the raw logits `[4, R]` of one anchor point:
/// the mean bin of each side's softmax.
pub fn expected_distances(logits: &[f32]) -> [f32; 4] {
    let mut probabilities = vec![0.0; logits.len()];
    expected_distances_into(logits, &mut probabilities)
}

/// [`expected_distances`] with a buffer of the length of the logits.
pub(crate) fn expected_distances_into(logits: &[f32], buffer: &mut [f32]) -> [f32; 4] {
    let bins = logits.len() / 4;
    std::array::from_fn(|side| {
        let range = side * bins..(side + 1) * bins;
        let exponentials = &mut buffer[range.clone()];
        let sum = Exponentials::new(&logits[range], exponentials).sum;
        (mean_bin(exponentials) / sum as f64) as f32
    })
}

/// Writes the softmax of each side and returns its mean bin.
pub(crate) fn distributions(logits: &[f32], probabilities: &mut [f32]) -> [f64; 4] {
    let bins = logits.len() / 4;
    std::array::from_fn(|side| {
        let range = side * bins..(side + 1) * bins;
        let probabilities = &mut probabilities[range.clone()];
        let scale = 1.0 / Exponentials::new(&logits[range], probabilities).sum;
        probabilities.iter_mut().for_each(|probability| *probability *= scale);
        mean_bin(probabilities)
    })
}

/// Sum of the weights, each times its bin.
fn mean_bin(weights: &[f32]) -> f64 {
    weights.iter().enumerate().map(|(bin, &weight)| bin as f64 * weight as f64).sum()
}

/// The distribution focal loss of one box, the mean over its four sides: cross-entropy against the bins below and
/// above each distance, weighted by how near they are. Writes the gradient.
///
/// # Shapes
/// `logits` and `gradient` are `[4, R]`, R at least 2; `target` the distances `[left, top, right, bottom]` in grid
/// units, which are clamped to `0 ..= R - 1 - 0.01`.
pub fn dfl_loss(logits: &[f32], target: &[f64; 4], gradient: &mut [f32]) -> f64 {
    let bins = logits.len() / 4;
    let mut sum = 0.0;
    for side in 0..4 {
        let range = side * bins..(side + 1) * bins;
        let (logits, gradient) = (&logits[range.clone()], &mut gradient[range]);
        let exponentials = Exponentials::new(logits, gradient);
        let scale = 1.0 / exponentials.sum;
        gradient.iter_mut().for_each(|value| *value *= scale); // now the probabilities
        let bracket = Bracket::new(target[side], bins);
        sum += bracket.cross_entropy(logits, exponentials.log_sum());
        gradient[bracket.lower] -= bracket.lower_weight as f32;
        gradient[bracket.lower + 1] -= bracket.upper_weight as f32;
    }
    gradient.iter_mut().for_each(|value| *value *= 0.25);
    sum * 0.25
}

/// The two bins around a distance.
pub(crate) struct Bracket {
    pub(crate) lower: usize,
    pub(crate) lower_weight: f64,
    pub(crate) upper_weight: f64,
}

impl Bracket {
    pub(crate) fn new(distance: f64, bins: usize) -> Self {
        let distance = distance.clamp(0.0, (bins - 1) as f64 - 0.01);
        let lower = distance.floor();
        Bracket {
            lower: lower as usize,
            lower_weight: lower + 1.0 - distance,
            upper_weight: distance - lower,
        }
    }

    /// Cross-entropy of the logits of a side, given the logarithm of their sum of exponentials.
    pub(crate) fn cross_entropy(&self, logits: &[f32], log_sum: f64) -> f64 {
        let negative_log = |bin: usize| log_sum - logits[bin] as f64;
        negative_log(self.lower) * self.lower_weight + negative_log(self.lower + 1) * self.upper_weight
    }
}
