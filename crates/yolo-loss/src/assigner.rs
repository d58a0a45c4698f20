//! Which anchor point learns which object: the task-aligned assigner (TOOD, arXiv 2108.07755, section 3.2).

use crate::{GroundTruth, Overlap};
use box_geometry::{AnchorGrid, Xyxy};
use std::ops::Range;

/// How far inside a box a centre has to lie, in pixels.
const INSIDE: f64 = 1e-9;
/// Keeps the normalisation of the scores finite.
const EPSILON: f64 = 1e-9;

/// What a network predicts for one image, as the assigner asks for it. Only some anchor points are asked for, so boxes
/// may be decoded on demand.
pub trait Predictions {
    /// The box at an anchor point in network-input pixels.
    fn xyxy(&self, anchor: usize) -> Xyxy;
    /// The score of a class at an anchor point, after the sigmoid.
    fn score(&self, anchor: usize, class: usize) -> f32;
}

/// Predictions that are decoded already.
#[derive(Debug, Clone, Copy)]
pub struct DecodedPredictions<'a> {
    /// Boxes of all anchor points in network-input pixels.
    pub boxes: &'a [Xyxy],
    /// Scores `[A, K]` after the sigmoid.
    pub scores: &'a [f32],
    /// Number of classes K.
    pub classes: usize,
}

impl Predictions for DecodedPredictions<'_> {
    fn xyxy(&self, anchor: usize) -> Xyxy {
        self.boxes[anchor]
    }

    fn score(&self, anchor: usize, class: usize) -> f32 {
        self.scores[anchor * self.classes + class]
    }
}

/// An anchor point that learns an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Index of the anchor point.
    pub anchor: usize,
    /// Index of the object in its image.
    pub object: usize,
    /// Target of the object's class at this anchor point, and weight of its box terms; in `0 ..= 1`.
    pub score: f64,
}

/// Chooses the anchor points that learn the objects of an image.
pub trait Assigner: Sync {
    /// The matches of one image by rising anchor point, each anchor point at most once.
    fn assign(&self, predictions: &dyn Predictions, grid: &AnchorGrid, objects: &[GroundTruth])
    -> Vec<Match>;
}

/// Which generation of YOLOv8's rules is followed where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Those of 8.0 to 8.2.
    Classic,
    /// Those of 8.4: sides shorter than the stride of the second level count as that long when anchor points inside a
    /// box are looked for.
    Current,
}

/// The task-aligned assigner: every object claims the anchor points inside it of the highest
/// `score^alpha * CIoU^beta`; where several claim one, the largest CIoU of all objects around it wins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskAligned {
    /// Anchor points an object claims at most (10 in YOLOv8).
    pub topk: usize,
    /// Exponent of the class score (0.5 in YOLOv8).
    pub alpha: f64,
    /// Exponent of the overlap (6 in YOLOv8).
    pub beta: f64,
    /// Rule for small objects.
    pub rules: Rules,
}

/// An anchor point inside an object.
#[derive(Debug, Clone, Copy)]
struct Claim {
    anchor: usize,
    object: usize,
    metric: f64,
    overlap: f64,
}

impl Assigner for TaskAligned {
    fn assign(
        &self,
        predictions: &dyn Predictions,
        grid: &AnchorGrid,
        objects: &[GroundTruth],
    ) -> Vec<Match> {
        let regions: Vec<[f64; 4]> = objects.iter().map(|object| self.region(grid, object)).collect();
        let mut claims = Vec::new();
        for (object, region) in regions.iter().enumerate() {
            claims.extend(self.best_claims(predictions, grid, objects, object, region));
        }
        claims.sort_unstable_by_key(|claim| (claim.anchor, claim.object));
        let settled: Vec<Claim> = claims
            .chunk_by(|a, b| a.anchor == b.anchor)
            .map(|rivals| match rivals {
                [only] => *only,
                _ => self.settle(predictions, grid, objects, &regions, rivals[0].anchor),
            })
            .collect();
        scored(&settled, objects.len())
    }
}

impl TaskAligned {
    /// Where the centres of an object's anchor points may lie: `[x1, y1, x2, y2]` in pixels.
    fn region(&self, grid: &AnchorGrid, object: &GroundTruth) -> [f64; 4] {
        let least = match self.rules {
            Rules::Classic => 0.0,
            Rules::Current => {
                grid.levels().get(1).or(grid.levels().first()).map_or(0.0, |level| level.stride as f64)
            }
        };
        let [x1, y1, x2, y2] = object.xyxy.to_array().map(f64::from);
        let widen = |low: f64, high: f64| {
            let (centre, half) = ((low + high) / 2.0, least / 2.0);
            if high - low < least { (centre - half, centre + half) } else { (low, high) }
        };
        let ((x1, x2), (y1, y2)) = (widen(x1, x2), widen(y1, y2));
        [x1, y1, x2, y2]
    }

    /// The `topk` anchor points of an object, the lower one among equals. An anchor point without overlap is never
    /// claimed: its target score would be 0.
    fn best_claims(
        &self,
        predictions: &dyn Predictions,
        grid: &AnchorGrid,
        objects: &[GroundTruth],
        object: usize,
        region: &[f64; 4],
    ) -> Vec<Claim> {
        let mut claims = Vec::new();
        for_each_inside(grid, region, |anchor| {
            let claim = self.claim(predictions, objects, object, anchor);
            if claim.metric > 0.0 {
                claims.push(claim);
            }
        });
        let order = |a: &Claim, b: &Claim| b.metric.total_cmp(&a.metric).then(a.anchor.cmp(&b.anchor));
        if claims.len() > self.topk && self.topk > 0 {
            claims.select_nth_unstable_by(self.topk - 1, order);
        }
        claims.truncate(self.topk);
        claims
    }

    fn claim(
        &self,
        predictions: &dyn Predictions,
        objects: &[GroundTruth],
        object: usize,
        anchor: usize,
    ) -> Claim {
        let GroundTruth { class, xyxy } = objects[object];
        let predicted = predictions.xyxy(anchor);
        // CIoU is never above IoU, so boxes that do not meet need no more arithmetic.
        let overlap = if predicted.intersection(&xyxy) > 0.0 {
            Overlap::Ciou
                .value(&xyxy.to_array().map(f64::from), &predicted.to_array().map(f64::from))
                .max(0.0)
        } else {
            0.0
        };
        let metric = if overlap > 0.0 {
            power(predictions.score(anchor, class) as f64, self.alpha) * power(overlap, self.beta)
        } else {
            0.0
        };
        Claim { anchor, object, metric, overlap }
    }

    /// The claim to a contested anchor point that has the largest overlap among all objects around it.
    fn settle(
        &self,
        predictions: &dyn Predictions,
        grid: &AnchorGrid,
        objects: &[GroundTruth],
        regions: &[[f64; 4]],
        anchor: usize,
    ) -> Claim {
        let [x, y] = grid.centre_px(anchor).map(f64::from);
        let around = |object: &usize| {
            let [x1, y1, x2, y2] = regions[*object];
            inside(x1, x2, x) && inside(y1, y2, y)
        };
        let claims =
            (0..objects.len()).filter(around).map(|object| self.claim(predictions, objects, object, anchor));
        claims
            .reduce(|best, claim| if claim.overlap > best.overlap { claim } else { best })
            .expect("objects that claimed the anchor point are around it")
    }
}

/// `base^exponent`; the usual exponents without logarithms.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent == 0.5 {
        base.sqrt()
    } else if exponent.fract() == 0.0 && exponent.abs() <= 64.0 {
        base.powi(exponent as i32)
    } else {
        base.powf(exponent)
    }
}

/// Target scores: the metrics of an object, scaled so that its best one becomes its largest overlap.
fn scored(claims: &[Claim], objects: usize) -> Vec<Match> {
    let mut largest = vec![(0.0f64, 0.0f64); objects];
    for claim in claims {
        let (metric, overlap) = &mut largest[claim.object];
        *metric = metric.max(claim.metric);
        *overlap = overlap.max(claim.overlap);
    }
    let matched = |claim: &Claim| {
        let (metric, overlap) = largest[claim.object];
        Match {
            anchor: claim.anchor,
            object: claim.object,
            score: claim.metric * overlap / (metric + EPSILON),
        }
    };
    claims.iter().map(matched).collect()
}

fn inside(low: f64, high: f64, value: f64) -> bool {
    value - low > INSIDE && high - value > INSIDE
}

/// Visits the anchor points whose centres lie inside a region, in rising order.
fn for_each_inside(grid: &AnchorGrid, &[x1, y1, x2, y2]: &[f64; 4], mut visit: impl FnMut(usize)) {
    let mut first = 0;
    for level in grid.levels() {
        let columns = cells_inside(x1, x2, level.stride, level.width);
        for row in cells_inside(y1, y2, level.stride, level.height) {
            columns.clone().for_each(|column| visit(first + row * level.width + column));
        }
        first += level.cells();
    }
}

/// The cells of an axis whose centres lie between `low` and `high`.
fn cells_inside(low: f64, high: f64, stride: usize, cells: usize) -> Range<usize> {
    let stride = stride as f64;
    let is_inside = |cell: usize| inside(low, high, (cell as f64 + 0.5) * stride);
    let mut end = ((high / stride).ceil().max(0.0) as usize).min(cells);
    let mut start = ((low / stride - 0.5).floor().max(0.0) as usize).min(end);
    while start < end && !is_inside(start) {
        start += 1;
    }
    while start < end && !is_inside(end - 1) {
        end -= 1;
    }
    start..end
}
