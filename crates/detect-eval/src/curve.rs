//! Precision over recall, and the area under it by each rule.

use crate::matching::ClassOutcome;

/// Running recall and precision of a class in falling score; ignored detections add no point.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    pub(crate) score: Vec<f64>,
    pub(crate) recall: Vec<f64>,
    pub(crate) precision: Vec<f64>,
}

impl Curve {
    /// The curve at IoU threshold `bit`.
    pub(crate) fn new(outcome: &ClassOutcome, bit: usize) -> Self {
        let mut curve = Curve::default();
        let (mut true_positives, mut counted) = (0u64, 0u64);
        for verdict in outcome.verdicts.iter().filter(|verdict| verdict.ignored >> bit & 1 == 0) {
            true_positives += u64::from(verdict.true_positive >> bit & 1);
            counted += 1;
            curve.score.push(verdict.score);
            curve.recall.push(true_positives as f64 / outcome.labels as f64);
            curve.precision.push(true_positives as f64 / counted as f64);
        }
        curve
    }

    /// COCO: mean over recall 0, .01 .. 1 of the envelope at the first point that has that recall, 0 where none has.
    pub(crate) fn coco_average_precision(&self) -> f64 {
        let envelope = envelope(&self.precision);
        let at = |recall: f64| {
            let point = self.recall.partition_point(|r| *r < recall);
            envelope.get(point).copied().unwrap_or(0.0)
        };
        grid(101).map(at).sum::<f64>() / 101.0
    }

    /// Ultralytics: trapezoid over 101 points of the envelope, interpolated linearly; `falls_at_last_recall` is the
    /// current rule, otherwise the curve runs on along a line to (1, 0). A class without detections has 0.
    pub(crate) fn ultralytics_average_precision(&self, falls_at_last_recall: bool) -> f64 {
        let Some(&last) = self.recall.last() else { return 0.0 };
        let mut recall = vec![0.0];
        let mut precision = vec![1.0];
        recall.extend(&self.recall);
        precision.extend(&self.precision);
        if falls_at_last_recall {
            recall.push(last);
            precision.push(0.0);
        }
        recall.push(1.0);
        precision.push(0.0);
        let envelope = envelope(&precision);
        let heights: Vec<f64> = grid(101).map(|x| interpolate(x, &recall, &envelope, 1.0)).collect();
        heights.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).sum::<f64>() / 100.0
    }
}

/// `count` numbers from 0 to 1 in equal steps.
pub(crate) fn grid(count: usize) -> impl Iterator<Item = f64> {
    let step = 1.0 / (count - 1) as f64;
    (0..count).map(move |i| if i + 1 == count { 1.0 } else { i as f64 * step })
}

/// The line through points with ascending `xs` at `x`: on several points of the same abscissa the last counts, before
/// the first the answer is `before`, after the last its value.
pub(crate) fn interpolate(x: f64, xs: &[f64], ys: &[f64], before: f64) -> f64 {
    match xs.partition_point(|point| *point <= x) {
        0 => before,
        after if after == xs.len() => ys[after - 1],
        after => {
            let slope = (ys[after] - ys[after - 1]) / (xs[after] - xs[after - 1]);
            ys[after - 1] + slope * (x - xs[after - 1])
        }
    }
}

/// Running maximum from the right.
fn envelope(values: &[f64]) -> Vec<f64> {
    let mut envelope = values.to_vec();
    for i in (1..envelope.len()).rev() {
        envelope[i - 1] = envelope[i - 1].max(envelope[i]);
    }
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_takes_the_last_of_equal_abscissas() {
        let (xs, ys) = ([0.0, 0.5, 0.5, 1.0], [1.0, 0.8, 0.2, 0.0]);
        assert_eq!(interpolate(0.5, &xs, &ys, 9.0), 0.2);
        assert_eq!(interpolate(0.25, &xs, &ys, 9.0), 0.9);
        assert_eq!(interpolate(2.0, &xs, &ys, 9.0), 0.0);
        assert_eq!(interpolate(-1.0, &xs, &ys, 9.0), 9.0);
    }
}
