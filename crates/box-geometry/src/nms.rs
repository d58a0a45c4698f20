//! Non-maximum suppression, from decoded predictions to detections.

use crate::{CxCyWh, GeometryError, Xyxy};

/// A box that the network found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The box, in the frame of the predictions (network-input pixels).
    pub xyxy: Xyxy,
    /// Score of its class, in `[0, 1]`.
    pub score: f32,
    /// Class index.
    pub class: usize,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NmsOptions {
    /// Scores have to be larger than this.
    pub confidence: f32,
    /// A box goes when its IoU with a better one is larger than this.
    pub iou: f32,
    /// Boxes suppress each other across classes too.
    pub agnostic: bool,
    /// An anchor point yields a candidate for every class above the confidence, not only for its best class.
    pub multi_label: bool,
    /// Only that many candidates of highest score enter (30,000 in YOLOv8).
    pub max_candidates: usize,
    /// Only that many detections of highest score are kept (300 in YOLOv8).
    pub max_detections: usize,
    /// Only these classes are of interest; `None` is all.
    pub classes: Option<Vec<usize>>,
}

/// Detections of one image, by falling score.
///
/// # Shapes
/// `predictions` is `[A, 4 + classes]`, a row an anchor point: cx, cy, w, h in network-input pixels, then the scores
/// (after the sigmoid). Among equal scores the lower anchor point, then the lower class, goes first. A score that is
/// not a number never passes.
///
/// # Errors
/// When `classes` is 0 or the length is no multiple of a row.
pub fn postprocess(
    predictions: &[f32],
    classes: usize,
    options: &NmsOptions,
) -> Result<Vec<Detection>, GeometryError> {
    if classes == 0 {
        return Err(GeometryError::NoClasses);
    }
    if !predictions.len().is_multiple_of(4 + classes) {
        return Err(GeometryError::PredictionLength { classes, got: predictions.len() });
    }
    let mut ranks = candidates(predictions, classes, options);
    keep_best(&mut ranks, options.max_candidates);
    let detection = |rank: Rank| {
        let (anchor, class) = (rank.index() / classes, rank.index() % classes);
        let row = &predictions[anchor * (4 + classes)..][..4 + classes];
        Detection {
            xyxy: CxCyWh::new(row[0], row[1], row[2], row[3]).to_xyxy(),
            score: row[4 + class],
            class,
        }
    };
    let mut kept = Kept::new(options);
    for detection in ranks.into_iter().map(detection) {
        if kept.detections.len() == options.max_detections {
            break;
        }
        kept.offer(detection);
    }
    Ok(kept.detections)
}

/// Non-maximum suppression over any candidates: those that stay, by falling score (among equals the earlier goes
/// first). `confidence` and `classes` of the options filter here too; `multi_label` has no meaning.
pub fn nms(candidates: &[Detection], options: &NmsOptions) -> Vec<Detection> {
    let wanted = |candidate: &Detection| {
        candidate.score > options.confidence
            && options.classes.as_ref().is_none_or(|classes| classes.contains(&candidate.class))
    };
    let passing = candidates.iter().enumerate().filter(|(_, candidate)| wanted(candidate));
    let mut ranks: Vec<Rank> = passing.map(|(index, candidate)| Rank::new(candidate.score, index)).collect();
    keep_best(&mut ranks, options.max_candidates);
    let mut kept = Kept::new(options);
    for rank in ranks {
        if kept.detections.len() == options.max_detections {
            break;
        }
        kept.offer(candidates[rank.index()]);
    }
    kept.detections
}

/// Sorts as falling score, then rising index: one integer, so that sorting hundreds of thousands is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

impl Rank {
    fn new(score: f32, index: usize) -> Self {
        let bits = score.to_bits();
        // Bit patterns of floats ascend with the value once negative ones are flipped and positive ones lie above.
        let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Rank((!rising as u64) << 32 | index as u64)
    }

    fn index(self) -> usize {
        (self.0 & u32::MAX as u64) as usize
    }
}

/// Ranks of all scores above the confidence; the index is `anchor * classes + class`.
fn candidates(predictions: &[f32], classes: usize, options: &NmsOptions) -> Vec<Rank> {
    let mut wanted = vec![options.classes.is_none(); classes];
    for &class in options.classes.iter().flatten().filter(|&&class| class < classes) {
        wanted[class] = true;
    }
    let mut ranks = Vec::new();
    for (anchor, row) in predictions.chunks_exact(4 + classes).enumerate() {
        let scores = &row[4..];
        let mut offer = |class: usize| {
            if scores[class] > options.confidence && wanted[class] {
                ranks.push(Rank::new(scores[class], anchor * classes + class));
            }
        };
        if options.multi_label {
            (0..classes).for_each(&mut offer);
        } else {
            offer(best(scores));
        }
    }
    ranks
}

/// Index of the largest score, the first among equals.
fn best(scores: &[f32]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

/// Sorts and cuts to the `count` best.
fn keep_best(ranks: &mut Vec<Rank>, count: usize) {
    if count == 0 {
        ranks.clear();
    } else if ranks.len() > count {
        ranks.select_nth_unstable(count - 1);
        ranks.truncate(count);
    }
    ranks.sort_unstable();
}

/// The boxes kept so far.
struct Kept {
    iou: f32,
    agnostic: bool,
    detections: Vec<Detection>,
    /// Boxes and their areas, by class (all in the first when classes do not matter).
    groups: Vec<Vec<(Xyxy, f32)>>,
}

impl Kept {
    fn new(options: &NmsOptions) -> Self {
        Kept { iou: options.iou, agnostic: options.agnostic, detections: Vec::new(), groups: Vec::new() }
    }

    /// Keeps a detection unless a better one of its group overlaps it too much.
    fn offer(&mut self, detection: Detection) {
        let group = if self.agnostic { 0 } else { detection.class };
        if self.groups.len() <= group {
            self.groups.resize_with(group + 1, Vec::new);
        }
        let area = detection.xyxy.area();
        let overlaps = |&(other, other_area): &(Xyxy, f32)| {
            let intersection = detection.xyxy.intersection(&other);
            intersection > self.iou * (area + other_area - intersection)
        };
        if !self.groups[group].iter().any(overlaps) {
            self.groups[group].push((detection.xyxy, area));
            self.detections.push(detection);
        }
    }
}
