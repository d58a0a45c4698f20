//! The whole loss of a batch, with the gradient of every logit.

use crate::class_loss::background_loss;
use crate::dfl::{dfl_loss, distributions, expected_distances_into};
use crate::exponential::sigmoid;
use crate::{
    Assigner, BoxLoss, GroundTruth, LossError, Match, Overlap, Predictions, Rules, Targets, TaskAligned,
};
use box_geometry::{AnchorGrid, Xyxy, dist2bbox};
use rayon::prelude::*;
use std::cell::RefCell;

/// Weights of the three parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gains {
    /// Box term (7.5 in YOLOv8).
    pub boxes: f64,
    /// Class term (0.5 in YOLOv8).
    pub class: f64,
    /// Distribution focal term (1.5 in YOLOv8).
    pub dfl: f64,
}

/// The three parts of the loss, after their gains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossParts {
    /// Box overlap.
    pub boxes: f64,
    /// Classes.
    pub class: f64,
    /// Distribution focal loss.
    pub dfl: f64,
}

impl LossParts {
    /// Sum of the parts.
    pub fn sum(&self) -> f64 {
        self.boxes + self.class + self.dfl
    }
}

/// The loss of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossValue {
    /// The three parts, after gains.
    pub parts: LossParts,
    /// Sum of the parts times the number of images: what the gradient belongs to.
    pub total: f64,
    /// Anchor points that learned an object.
    pub positives: usize,
}

/// Which anchor points learn which objects, for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignments {
    /// The matches of each image, by rising anchor point.
    pub images: Vec<Vec<Match>>,
    /// Sum of all target scores, at least 1: all three terms are divided by it.
    pub score_sum: f64,
}

impl Assignments {
    /// Number of anchor points that learn an object.
    pub fn positives(&self) -> usize {
        self.images.iter().map(Vec::len).sum()
    }
}

/// The detection loss of YOLOv8: task-aligned assignment, overlap loss and distribution focal loss on the boxes of
/// matched anchor points, binary cross-entropy on the classes of all.
///
/// All three are sums over the batch divided by the sum of target scores; the total is multiplied by the number of
/// images, as learning rates and clipping norms of YOLOv8 expect.
#[derive(Debug, Clone)]
pub struct DetectionLoss<A = TaskAligned, L = Overlap> {
    pub(crate) classes: usize,
    pub(crate) bins: usize,
    pub(crate) gains: Gains,
    pub(crate) assigner: A,
    pub(crate) box_loss: L,
    pub(crate) label_smoothing: f64,
}

impl DetectionLoss {
    /// The loss of YOLOv8 as published: 16 bins a side, gains 7.5, 0.5 and 1.5, 10 anchor points an object at exponents
    /// 0.5 and 6, CIoU.
    ///
    /// # Errors
    /// With no class.
    pub fn yolov8(classes: usize, rules: Rules) -> Result<Self, LossError> {
        let gains = Gains { boxes: 7.5, class: 0.5, dfl: 1.5 };
        let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules };
        Self::new(classes, 16, gains, assigner, Overlap::Ciou)
    }
}

impl<A: Assigner, L: BoxLoss> DetectionLoss<A, L> {
    /// A loss for `classes` classes and `bins` distribution bins a side (`reg_max`, 16 in YOLOv8).
    ///
    /// # Errors
    /// With no class or fewer than two bins.
    pub fn new(
        classes: usize,
        bins: usize,
        gains: Gains,
        assigner: A,
        box_loss: L,
    ) -> Result<Self, LossError> {
        for (what, least, got) in [("classes", 1, classes), ("distribution bins", 2, bins)] {
            if got < least {
                return Err(LossError::TooFew { what, least, got });
            }
        }
        Ok(DetectionLoss { classes, bins, gains, assigner, box_loss, label_smoothing: 0.0 })
    }

    /// The same loss with a share of each matched anchor point's class target spread evenly over all classes
    /// (Szegedy et al., arXiv 1512.00567, section 7). Targets of other anchor points stay 0.
    pub fn with_label_smoothing(self, share: f64) -> Self {
        DetectionLoss { label_smoothing: share, ..self }
    }

    /// Class target of a matched anchor point with that score.
    pub(crate) fn class_target(&self, score: f64, is_object: bool) -> f64 {
        let spread = self.label_smoothing / self.classes as f64;
        score * (spread + if is_object { 1.0 - self.label_smoothing } else { 0.0 })
    }

    /// The loss, and its gradient with respect to all logits, which overwrites `d_boxes` and `d_classes`.
    ///
    /// # Shapes
    /// `boxes` and `d_boxes` are raw logits `[B, A, 4 * R]` (left, top, right, bottom, each R bins), `classes` and
    /// `d_classes` logits `[B, A, K]`; B is the number of images of `targets`, A that of anchor points of `grid`.
    /// Boxes of `targets` are in network-input pixels.
    ///
    /// # Errors
    /// When a slice has another length, or a class index is too large.
    pub fn value_and_gradient(
        &self,
        boxes: &[f32],
        classes: &[f32],
        grid: &AnchorGrid,
        targets: &Targets,
        d_boxes: &mut [f32],
        d_classes: &mut [f32],
    ) -> Result<LossValue, LossError> {
        self.check_length("gradient of boxes", d_boxes.len(), grid, targets, 4 * self.bins)?;
        self.check_length("gradient of classes", d_classes.len(), grid, targets, self.classes)?;
        let assignments = self.assign(boxes, classes, grid, targets)?;
        let scale = targets.len() as f64 / assignments.score_sum;
        let (box_row, class_row) = (grid.len() * 4 * self.bins, grid.len() * self.classes);
        let gradients =
            d_boxes.par_chunks_mut(box_row.max(1)).zip(d_classes.par_chunks_mut(class_row.max(1)));
        let images: Vec<LossParts> = gradients
            .enumerate()
            .map(|(index, (d_boxes, d_classes))| {
                let image = Image {
                    boxes: &boxes[index * box_row..][..box_row],
                    classes: &classes[index * class_row..][..class_row],
                    objects: &targets.images()[index],
                    matches: &assignments.images[index],
                };
                self.image_loss(&image, grid, scale, d_boxes, d_classes)
            })
            .collect();
        // Summed in the order of the images, so that threads do not change the bits.
        let sum = |part: fn(&LossParts) -> f64| images.iter().map(part).sum::<f64>() / assignments.score_sum;
        let parts = LossParts {
            boxes: sum(|parts| parts.boxes) * self.gains.boxes,
            class: sum(|parts| parts.class) * self.gains.class,
            dfl: sum(|parts| parts.dfl) * self.gains.dfl,
        };
        Ok(LossValue { parts, total: parts.sum() * targets.len() as f64, positives: assignments.positives() })
    }

    /// Which anchor points learn which objects. Shapes and errors as for [`Self::value_and_gradient`].
    ///
    /// # Errors
    /// As there.
    pub fn assign(
        &self,
        boxes: &[f32],
        classes: &[f32],
        grid: &AnchorGrid,
        targets: &Targets,
    ) -> Result<Assignments, LossError> {
        self.check_length("boxes", boxes.len(), grid, targets, 4 * self.bins)?;
        self.check_length("classes", classes.len(), grid, targets, self.classes)?;
        targets.check(self.classes)?;
        let (box_row, class_row) = (grid.len() * 4 * self.bins, grid.len() * self.classes);
        let assign = |(index, objects): (usize, &Vec<GroundTruth>)| {
            if objects.is_empty() {
                return Vec::new();
            }
            let boxes = &boxes[index * box_row..][..box_row];
            let classes = &classes[index * class_row..][..class_row];
            let predictions = RawPredictions::new(boxes, classes, grid, self.bins, self.classes);
            self.assigner.assign(&predictions, grid, objects)
        };
        let images: Vec<Vec<Match>> = targets.images().par_iter().enumerate().map(assign).collect();
        let score_sum = images.iter().flatten().map(|matched| matched.score).sum::<f64>().max(1.0);
        Ok(Assignments { images, score_sum })
    }

    /// The parts of one image before gains and division; `scale` turns a derivative of a part into one of the total.
    fn image_loss(
        &self,
        image: &Image<'_>,
        grid: &AnchorGrid,
        scale: f64,
        d_boxes: &mut [f32],
        d_classes: &mut [f32],
    ) -> LossParts {
        let class_scale = self.gains.class * scale;
        let class = background_loss(image.classes, class_scale as f32, d_classes);
        let mut parts = LossParts { boxes: 0.0, class, dfl: 0.0 };
        d_boxes.fill(0.0);
        let width = 4 * self.bins;
        let mut probabilities = vec![0.0; width];
        for matched in image.matches {
            let object = &image.objects[matched.object];
            let smoothed =
                if self.label_smoothing > 0.0 { 0..self.classes } else { object.class..object.class + 1 };
            for class in smoothed {
                let index = matched.anchor * self.classes + class;
                let logit = image.classes[index];
                let target = self.class_target(matched.score, class == object.class);
                // It is not 0, as the background loss assumed.
                parts.class -= target * logit as f64;
                d_classes[index] = (class_scale * (sigmoid(logit) as f64 - target)) as f32;
            }

            let anchor = Anchor::new(grid, matched.anchor, &object.xyxy);
            let row = matched.anchor * width..(matched.anchor + 1) * width;
            let (logits, gradient) = (&image.boxes[row.clone()], &mut d_boxes[row]);
            let weight = matched.score * scale;
            parts.dfl += matched.score * self.write_dfl_gradient(&anchor, logits, weight, gradient);
            parts.boxes +=
                matched.score * self.add_box_gradient(&anchor, logits, weight, &mut probabilities, gradient);
        }
        parts
    }

    /// The distribution focal loss of one anchor point; writes its gradient times gain and `weight`.
    fn write_dfl_gradient(&self, anchor: &Anchor, logits: &[f32], weight: f64, gradient: &mut [f32]) -> f64 {
        let value = dfl_loss(logits, &anchor.target_distances(), gradient);
        let scale = (self.gains.dfl * weight) as f32;
        gradient.iter_mut().for_each(|derivative| *derivative *= scale);
        value
    }

    /// The box loss of one anchor point; adds its gradient times gain and `weight`.
    fn add_box_gradient(
        &self,
        anchor: &Anchor,
        logits: &[f32],
        weight: f64,
        probabilities: &mut [f32],
        gradient: &mut [f32],
    ) -> f64 {
        let [x, y] = anchor.centre;
        let distances = distributions(logits, probabilities);
        let [left, top, right, bottom] = distances;
        let predicted = [x - left, y - top, x + right, y + bottom];
        let (value, by_corner) = self.box_loss.value_and_gradient(&predicted, &anchor.target);
        for (side, (gradient, probabilities)) in
            gradient.chunks_exact_mut(self.bins).zip(probabilities.chunks_exact(self.bins)).enumerate()
        {
            let towards = if side < 2 { -1.0 } else { 1.0 };
            let by_distance = towards * by_corner[side] * self.gains.boxes * weight;
            for (bin, (gradient, &probability)) in gradient.iter_mut().zip(probabilities).enumerate() {
                *gradient += (by_distance * (bin as f64 - distances[side]) * probability as f64) as f32;
            }
        }
        value
    }

    fn check_length(
        &self,
        what: &'static str,
        got: usize,
        grid: &AnchorGrid,
        targets: &Targets,
        channels: usize,
    ) -> Result<(), LossError> {
        let (images, anchors) = (targets.len(), grid.len());
        let expected = images * anchors * channels;
        if got == expected {
            Ok(())
        } else {
            Err(LossError::Length { what, expected, images, anchors, channels, got })
        }
    }
}

/// What the loss of one image is computed from.
struct Image<'a> {
    boxes: &'a [f32],
    classes: &'a [f32],
    objects: &'a [GroundTruth],
    matches: &'a [Match],
}

/// An anchor point and the box it learns, in grid units.
pub(crate) struct Anchor {
    pub(crate) centre: [f64; 2],
    pub(crate) target: [f64; 4],
}

impl Anchor {
    pub(crate) fn new(grid: &AnchorGrid, anchor: usize, target_px: &Xyxy) -> Self {
        let stride = grid.strides()[anchor] as f64;
        Anchor {
            centre: grid.centres()[anchor].map(f64::from),
            target: target_px.to_array().map(|edge| edge as f64 / stride),
        }
    }

    /// Distances `[left, top, right, bottom]` of the target's edges from the centre.
    pub(crate) fn target_distances(&self) -> [f64; 4] {
        let ([x, y], [x1, y1, x2, y2]) = (self.centre, self.target);
        [x - x1, y - y1, x2 - x, y2 - y]
    }
}

/// Raw logits of one image; boxes are decoded when they are asked for, and kept.
struct RawPredictions<'a> {
    boxes: &'a [f32],
    classes: &'a [f32],
    grid: &'a AnchorGrid,
    width: usize,
    class_count: usize,
    decoded: RefCell<Decoded>,
}

struct Decoded {
    boxes: Vec<Option<Xyxy>>,
    buffer: Vec<f32>,
}

impl<'a> RawPredictions<'a> {
    fn new(
        boxes: &'a [f32],
        classes: &'a [f32],
        grid: &'a AnchorGrid,
        bins: usize,
        class_count: usize,
    ) -> Self {
        let width = 4 * bins;
        let decoded = RefCell::new(Decoded { boxes: vec![None; grid.len()], buffer: vec![0.0; width] });
        RawPredictions { boxes, classes, grid, width, class_count, decoded }
    }
}

impl Predictions for RawPredictions<'_> {
    fn xyxy(&self, anchor: usize) -> Xyxy {
        let Decoded { boxes, buffer } = &mut *self.decoded.borrow_mut();
        *boxes[anchor].get_or_insert_with(|| {
            let logits = &self.boxes[anchor * self.width..][..self.width];
            let distances = expected_distances_into(logits, buffer);
            let stride = self.grid.strides()[anchor];
            dist2bbox(distances, self.grid.centres()[anchor]).scale(stride, stride)
        })
    }

    fn score(&self, anchor: usize, class: usize) -> f32 {
        sigmoid(self.classes[anchor * self.class_count + class])
    }
}
