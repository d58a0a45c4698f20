//! The loss composed of candle operations: any device, `f32` or `f64`, differentiable on the caller's tape.

use crate::detection::Anchor;
use crate::dfl::Bracket;
use crate::iou::EPSILON;
use crate::{Assigner, Assignments, BoxLoss, DetectionLoss, LossError, Overlap, Targets};
use box_geometry::AnchorGrid;
use candle_core::{D, DType, Result, Tensor};
use std::f64::consts::PI;

/// The loss of a batch; scalars on the caller's tape.
#[derive(Debug, Clone)]
pub struct TensorLoss {
    /// Box overlap, after its gain.
    pub boxes: Tensor,
    /// Classes, after their gain.
    pub class: Tensor,
    /// Distribution focal loss, after its gain.
    pub dfl: Tensor,
    /// Sum of the parts times the number of images: what is differentiated.
    pub total: Tensor,
}

/// A [`BoxLoss`] that has a form on tensors too.
pub trait TensorBoxLoss: BoxLoss {
    /// The loss of every pair.
    ///
    /// # Shapes
    /// `predicted` and `target` are `[N, 4]` (x1, y1, x2, y2 in grid units); the result is `[N]`.
    ///
    /// # Errors
    /// What candle reports.
    fn tensor_loss(&self, predicted: &Tensor, target: &Tensor) -> Result<Tensor>;
}

impl<A: Assigner, L: TensorBoxLoss> DetectionLoss<A, L> {
    /// The loss on tensors. The assignment is computed from detached values on the host. Where no anchor point learns
    /// an object, `boxes` does not enter, and a backward pass has no gradient for it.
    ///
    /// # Shapes
    /// `boxes` are raw logits `[B, A, 4 * R]`, `classes` logits `[B, A, K]`, of the same dtype and device.
    ///
    /// # Errors
    /// When a tensor has another shape, a class index is too large, or candle reports something.
    pub fn forward(
        &self,
        boxes: &Tensor,
        classes: &Tensor,
        grid: &AnchorGrid,
        targets: &Targets,
    ) -> std::result::Result<TensorLoss, LossError> {
        check_shape("boxes", boxes, grid, 4 * self.bins)?;
        check_shape("classes", classes, grid, self.classes)?;
        let assignments = self.assign(&host_values(boxes)?, &host_values(classes)?, grid, targets)?;
        self.forward_assigned(boxes, classes, grid, targets, &assignments)
    }

    /// [`Self::forward`] with an assignment that is given.
    ///
    /// # Errors
    /// As there.
    pub fn forward_assigned(
        &self,
        boxes: &Tensor,
        classes: &Tensor,
        grid: &AnchorGrid,
        targets: &Targets,
        assignments: &Assignments,
    ) -> std::result::Result<TensorLoss, LossError> {
        check_shape("boxes", boxes, grid, 4 * self.bins)?;
        check_shape("classes", classes, grid, self.classes)?;
        let class = self.class_term(classes, targets, assignments)?;
        let (overlap, dfl) = if assignments.positives() == 0 {
            (class.zeros_like()?, class.zeros_like()?)
        } else {
            self.box_terms(boxes, grid, targets, assignments)?
        };
        let after_gain = |term: Tensor, gain: f64| term * (gain / assignments.score_sum);
        let boxes = after_gain(overlap, self.gains.boxes)?;
        let class = after_gain(class, self.gains.class)?;
        let dfl = after_gain(dfl, self.gains.dfl)?;
        let total = (((&boxes + &class)? + &dfl)? * targets.len() as f64)?;
        Ok(TensorLoss { boxes, class, dfl, total })
    }

    /// Binary cross-entropy of all logits, `max(x, 0) - x t + ln(1 + e^-|x|)`, summed.
    fn class_term(&self, logits: &Tensor, targets: &Targets, assignments: &Assignments) -> Result<Tensor> {
        let (_, anchors, classes) = logits.dims3()?;
        let mut scores = vec![0.0f64; logits.elem_count()];
        for (image, matches) in assignments.images.iter().enumerate() {
            for matched in matches {
                let object = targets.images()[image][matched.object].class;
                let row = &mut scores[(image * anchors + matched.anchor) * classes..][..classes];
                for (class, score) in row.iter_mut().enumerate() {
                    *score = self.class_target(matched.score, class == object);
                }
            }
        }
        let scores = like(logits, scores, logits.dims())?;
        let logarithm = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        ((logits.relu()? - (logits * scores)?)? + logarithm)?.sum_all()
    }

    /// Box and distribution focal terms of the matched anchor points, weighted and summed.
    fn box_terms(
        &self,
        boxes: &Tensor,
        grid: &AnchorGrid,
        targets: &Targets,
        assignments: &Assignments,
    ) -> Result<(Tensor, Tensor)> {
        let positives = Positives::new(grid, targets, assignments, self.bins);
        let (count, bins) = (positives.rows.len(), self.bins);
        let rows = Tensor::new(positives.rows, boxes.device())?;
        let logits = boxes.reshape(((), 4, bins))?.index_select(&rows, 0)?; // [N, 4, R]
        let log_probabilities = log_softmax(&logits)?;
        let weights = like(boxes, positives.weights, &[count])?;

        let distribution = like(boxes, positives.distributions, &[count, 4, bins])?;
        let dfl = (log_probabilities.mul(&distribution)?.sum(D::Minus1)?.mean(D::Minus1)?.neg()? * &weights)?; // [N]

        let bin_values = like(boxes, (0..bins).map(|bin| bin as f64).collect(), &[1, 1, bins])?;
        let distances = log_probabilities.exp()?.broadcast_mul(&bin_values)?.sum(D::Minus1)?; // [N, 4]
        let directions = like(boxes, vec![-1.0, -1.0, 1.0, 1.0], &[1, 4])?;
        let centres = like(boxes, positives.centres, &[count, 4])?;
        let predicted = (centres + distances.broadcast_mul(&directions)?)?;
        let target = like(boxes, positives.targets, &[count, 4])?;
        let overlap = (self.box_loss.tensor_loss(&predicted, &target)? * &weights)?; // [N]
        Ok((overlap.sum_all()?, dfl.sum_all()?))
    }
}

/// The matched anchor points of a batch, N of them.
#[derive(Default)]
struct Positives {
    /// Rows in `[B * A]`.
    rows: Vec<u32>,
    /// Target scores.
    weights: Vec<f64>,
    /// `[N, 4]`: x, y, x, y in grid units.
    centres: Vec<f64>,
    /// `[N, 4]`: x1, y1, x2, y2 in grid units.
    targets: Vec<f64>,
    /// `[N, 4, R]`.
    distributions: Vec<f64>,
}

impl Positives {
    fn new(grid: &AnchorGrid, targets: &Targets, assignments: &Assignments, bins: usize) -> Self {
        let mut positives = Positives::default();
        for (image, matches) in assignments.images.iter().enumerate() {
            for matched in matches {
                let object = &targets.images()[image][matched.object];
                let anchor = Anchor::new(grid, matched.anchor, &object.xyxy);
                positives.rows.push((image * grid.len() + matched.anchor) as u32);
                positives.weights.push(matched.score);
                positives.centres.extend([anchor.centre, anchor.centre].as_flattened());
                positives.targets.extend(anchor.target);
                for distance in anchor.target_distances() {
                    let bracket = Bracket::new(distance, bins);
                    let first = positives.distributions.len();
                    positives.distributions.resize(first + bins, 0.0);
                    positives.distributions[first + bracket.lower] = bracket.lower_weight;
                    positives.distributions[first + bracket.lower + 1] = bracket.upper_weight;
                }
            }
        }
        positives
    }
}

impl TensorBoxLoss for Overlap {
    fn tensor_loss(&self, predicted: &Tensor, target: &Tensor) -> Result<Tensor> {
        let (x, y) = (TensorAxis::new(predicted, target, 0)?, TensorAxis::new(predicted, target, 1)?);
        let heights = [(&y.lengths[0] + EPSILON)?, (&y.lengths[1] + EPSILON)?];
        let intersection = (&x.overlap * &y.overlap)?;
        let areas = ((&x.lengths[0] * &heights[0])? + (&x.lengths[1] * &heights[1])?)?;
        let union = ((areas - &intersection)? + EPSILON)?;
        let iou = (intersection / &union)?;
        let overlap = match self {
            Overlap::Iou => iou,
            Overlap::Giou => {
                let enclosing = ((&x.enclosing * &y.enclosing)? + EPSILON)?;
                (iou - ((&enclosing - union)? / &enclosing)?)?
            }
            Overlap::Diou => (iou - squared_distance(&x, &y)?)?,
            Overlap::Ciou => {
                let angles =
                    (arctangent(&x.lengths[1], &heights[1])? - arctangent(&x.lengths[0], &heights[0])?)?;
                let v = (angles.sqr()? * (4.0 / (PI * PI)))?;
                let alpha = (&v / ((&v - &iou)? + (1.0 + EPSILON))?)?.detach();
                ((iou - squared_distance(&x, &y)?)? - (v * alpha)?)?
            }
        };
        1.0 - overlap
    }
}

/// One axis of all pairs; every field `[N]`.
struct TensorAxis {
    lengths: [Tensor; 2],
    overlap: Tensor,
    enclosing: Tensor,
    /// Twice the distance of the centres.
    offset: Tensor,
}

impl TensorAxis {
    fn new(first: &Tensor, second: &Tensor, axis: usize) -> Result<Self> {
        let edge = |boxes: &Tensor, index: usize| boxes.narrow(1, index, 1)?.squeeze(1);
        let (low, high) = (edge(first, axis)?, edge(first, axis + 2)?);
        let (other_low, other_high) = (edge(second, axis)?, edge(second, axis + 2)?);
        Ok(TensorAxis {
            lengths: [(&high - &low)?, (&other_high - &other_low)?],
            overlap: (high.minimum(&other_high)? - low.maximum(&other_low)?)?.relu()?,
            enclosing: (high.maximum(&other_high)? - low.minimum(&other_low)?)?,
            offset: ((low + high)? - (other_low + other_high)?)?,
        })
    }
}

/// Squared distance of the centres over the squared diagonal of the enclosing box.
fn squared_distance(x: &TensorAxis, y: &TensorAxis) -> Result<Tensor> {
    let diagonal = ((x.enclosing.sqr()? + y.enclosing.sqr()?)? + EPSILON)?;
    ((x.offset.sqr()? + y.offset.sqr()?)? / 4.0)? / diagonal
}

/// `atan(width / height)` for `width >= 0`, `height > 0`.
///
/// candle has no arctangent. Halving the angle three times (`tan(a/2) = tan a / (1 + sqrt(1 + tan^2 a))`) brings its
/// tangent below 0.2, where twelve terms of the series are exact to the last places of `f64`; every step is smooth, so
/// the gradient of the composition is that of the arctangent.
fn arctangent(width: &Tensor, height: &Tensor) -> Result<Tensor> {
    let hypotenuse = (width.sqr()? + height.sqr()?)?.sqrt()?;
    let mut tangent = (width / (height + hypotenuse)?)?;
    for _ in 0..2 {
        tangent = (&tangent / ((tangent.sqr()? + 1.0)?.sqrt()? + 1.0)?)?;
    }
    let square = tangent.sqr()?;
    let mut series = (square.zeros_like()? + 1.0 / 23.0)?;
    for odd in (1..=21).rev().step_by(2) {
        series = ((series * &square)?.neg()? + 1.0 / odd as f64)?;
    }
    (tangent * series)? * 8.0
}

/// Logarithm of the softmax over the last dimension.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // The maximum only keeps the exponentials finite; through it no gradient flows.
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// A tensor of these values on the device and in the dtype of another.
fn like(tensor: &Tensor, values: Vec<f64>, dims: &[usize]) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F64 => Tensor::from_vec(values, dims, tensor.device()),
        // Narrowed on the host: some devices have no f64.
        dtype => {
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            Tensor::from_vec(values, dims, tensor.device())?.to_dtype(dtype)
        }
    }
}

fn host_values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

fn check_shape(
    what: &'static str,
    tensor: &Tensor,
    grid: &AnchorGrid,
    channels: usize,
) -> std::result::Result<(), LossError> {
    match tensor.dims() {
        [_, a, c] if *a == grid.len() && *c == channels => Ok(()),
        got => Err(LossError::Shape { what, anchors: grid.len(), channels, got: got.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn arctangent_and_its_gradient() {
        let widths: Vec<f64> = (0..400).map(|i| 1e-6 * 1.08f64.powi(i)).collect();
        let heights: Vec<f64> = (0..400).map(|i| 1.0 + (i % 7) as f64).collect();
        let width = Var::from_slice(&widths, 400, &Device::Cpu).unwrap();
        let height = Var::from_slice(&heights, 400, &Device::Cpu).unwrap();
        let angle = arctangent(&width, &height).unwrap();
        let gradients = angle.sum_all().unwrap().backward().unwrap();
        let values = |tensor: &Tensor| tensor.to_vec1::<f64>().unwrap();
        let (angle, by_width) = (values(&angle), values(gradients.get(&width).unwrap()));
        let by_height = values(gradients.get(&height).unwrap());
        for (i, (w, h)) in widths.into_iter().zip(heights).enumerate() {
            let squares = w * w + h * h;
            assert!((angle[i] - (w / h).atan()).abs() < 1e-14, "{w} {h}");
            assert!((by_width[i] - h / squares).abs() < 1e-13, "{w} {h}");
            assert!((by_height[i] + w / squares).abs() < 1e-13, "{w} {h}");
        }
    }
}
