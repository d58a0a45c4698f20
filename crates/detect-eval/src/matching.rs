//! Which detections count as true positives: the matching of each rule, one image and class at a time.

use crate::evaluator::{GroundTruth, ImageBoxes};
use crate::{THRESHOLD_COUNT, iou_thresholds};
use box_geometry::{Detection, Xyxy};

/// Most detections of an image and class that COCO looks at.
pub(crate) const COCO_MAX_DETECTIONS: usize = 100;

/// Range of areas, in square pixels, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SizeRange {
    low: f64,
    high: f64,
}

impl SizeRange {
    pub(crate) const ALL: SizeRange = SizeRange { low: 0.0, high: 1e10 };
    /// Small, medium, large.
    pub(crate) const BY_SIZE: [SizeRange; 3] = [
        SizeRange { low: 0.0, high: 1024.0 },
        SizeRange { low: 1024.0, high: 9216.0 },
        SizeRange { low: 9216.0, high: 1e10 },
    ];

    fn contains(self, area: f64) -> bool {
        (self.low..=self.high).contains(&area)
    }
}

/// A way of matching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Matching {
    /// COCO's, for ground truths of one range of sizes.
    Coco(SizeRange),
    /// In falling score each detection takes the unused ground truth that it overlaps most.
    GreedyByScore,
    /// Each detection has its best ground truth, each ground truth the first detection that has it.
    BestPair,
}

/// What became of one detection; bit `i` stands for IoU threshold `i`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) score: f64,
    /// Rank by score within its image and class, from 0.
    pub(crate) rank: usize,
    /// Matched to an ordinary ground truth.
    pub(crate) true_positive: u16,
    /// Neither true nor false positive.
    pub(crate) ignored: u16,
}

/// All detections of a class, in falling score.
#[derive(Debug, Clone)]
pub(crate) struct ClassOutcome {
    /// Number of ordinary ground truths.
    pub(crate) labels: usize,
    pub(crate) verdicts: Vec<Verdict>,
}

/// Matches one class over all images.
pub(crate) fn class_outcome<'a>(
    images: impl Iterator<Item = &'a ImageBoxes>,
    class: usize,
    matching: Matching,
) -> ClassOutcome {
    let mut outcome = ClassOutcome { labels: 0, verdicts: Vec::new() };
    for image in images {
        match_image(image.detections(class), image.ground_truths(class), matching, &mut outcome);
    }
    outcome.verdicts.sort_by(|a, b| b.score.total_cmp(&a.score));
    outcome
}

fn match_image(
    detections: &[Detection],
    ground_truths: &[GroundTruth],
    matching: Matching,
    outcome: &mut ClassOutcome,
) {
    let limit = if let Matching::Coco(_) = matching { COCO_MAX_DETECTIONS } else { usize::MAX };
    let detections = &detections[..detections.len().min(limit)];
    let first = outcome.verdicts.len();
    outcome.verdicts.extend(detections.iter().enumerate().map(|(rank, detection)| Verdict {
        score: detection.score as f64,
        rank,
        true_positive: 0,
        ignored: 0,
    }));
    let verdicts = &mut outcome.verdicts[first..];
    match matching {
        Matching::Coco(range) => {
            let ignored: Vec<bool> = ground_truths
                .iter()
                .map(|ground_truth| ground_truth.crowd || !range.contains(area(&ground_truth.xyxy)))
                .collect();
            outcome.labels += ignored.iter().filter(|ignored| !**ignored).count();
            let overlaps = Overlaps::new(detections, ground_truths);
            match_coco(&overlaps, ground_truths, &ignored, verdicts);
            ignore_strangers(detections, range, verdicts);
        }
        Matching::GreedyByScore | Matching::BestPair => {
            let ordinary: Vec<GroundTruth> = ground_truths.iter().filter(|g| !g.crowd).copied().collect();
            outcome.labels += ordinary.len();
            let overlaps = Overlaps::new(detections, &ordinary);
            if matching == Matching::GreedyByScore {
                match_greedy(&overlaps, ordinary.len(), verdicts);
            } else {
                match_best_pairs(&overlaps, ordinary.len(), verdicts);
            }
        }
    }
}

/// COCO: the best overlap among unmatched ground truths, of equal ones the last; a crowd may match again; ignored
/// ground truths only where no ordinary one fits.
fn match_coco(
    overlaps: &Overlaps,
    ground_truths: &[GroundTruth],
    ignored: &[bool],
    verdicts: &mut [Verdict],
) {
    let mut used = vec![false; ground_truths.len()];
    for (bit, threshold) in iou_thresholds().into_iter().enumerate() {
        used.fill(false);
        for (detection, verdict) in verdicts.iter_mut().enumerate() {
            let best = |want_ignored: bool| {
                let free = |g: usize| ignored[g] == want_ignored && (!used[g] || ground_truths[g].crowd);
                let candidates =
                    overlaps.of(detection).iter().filter(|(g, iou)| *iou >= threshold && free(*g));
                candidates.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(g, _)| *g)
            };
            if let Some(g) = best(false).or_else(|| best(true)) {
                used[g] = true;
                let field = if ignored[g] { &mut verdict.ignored } else { &mut verdict.true_positive };
                *field |= 1 << bit;
            }
        }
    }
}

/// An unmatched detection whose own area lies outside the range does not count.
fn ignore_strangers(detections: &[Detection], range: SizeRange, verdicts: &mut [Verdict]) {
    const EVERY_THRESHOLD: u16 = (1 << THRESHOLD_COUNT) - 1;
    for (detection, verdict) in detections.iter().zip(verdicts) {
        if !range.contains(area(&detection.xyxy)) {
            verdict.ignored |= EVERY_THRESHOLD & !verdict.true_positive;
        }
    }
}

fn match_greedy(overlaps: &Overlaps, ground_truths: usize, verdicts: &mut [Verdict]) {
    let mut used = vec![false; ground_truths];
    for (bit, threshold) in iou_thresholds().into_iter().enumerate() {
        used.fill(false);
        for (detection, verdict) in verdicts.iter_mut().enumerate() {
            let free = overlaps.of(detection).iter().filter(|(g, iou)| *iou >= threshold && !used[*g]);
            if let Some((g, _)) = free.max_by(|a, b| a.1.total_cmp(&b.1)) {
                used[*g] = true;
                verdict.true_positive |= 1 << bit;
            }
        }
    }
}

/// A detection's best pair is the same at every threshold that it reaches, so that one pass over the detections per
/// threshold settles both ties: the first by IoU, the second by score.
fn match_best_pairs(overlaps: &Overlaps, ground_truths: usize, verdicts: &mut [Verdict]) {
    let best: Vec<Option<(usize, f64)>> = (0..verdicts.len())
        .map(|detection| overlaps.of(detection).iter().max_by(|a, b| a.1.total_cmp(&b.1)).copied())
        .collect();
    let mut used = vec![false; ground_truths];
    for (bit, threshold) in iou_thresholds().into_iter().enumerate() {
        used.fill(false);
        for (verdict, best) in verdicts.iter_mut().zip(&best) {
            if let Some((g, iou)) = *best
                && iou >= threshold
                && !std::mem::replace(&mut used[g], true)
            {
                verdict.true_positive |= 1 << bit;
            }
        }
    }
}

/// For each detection the ground truths that it overlaps by at least the lowest threshold.
#[derive(Debug)]
struct Overlaps {
    pairs: Vec<(usize, f64)>,
    ends: Vec<usize>,
}

impl Overlaps {
    fn new(detections: &[Detection], ground_truths: &[GroundTruth]) -> Self {
        let lowest = iou_thresholds()[0];
        let mut overlaps = Overlaps { pairs: Vec::new(), ends: Vec::with_capacity(detections.len()) };
        for detection in detections {
            let ious = ground_truths.iter().map(|ground_truth| overlap(&detection.xyxy, ground_truth));
            overlaps.pairs.extend(ious.enumerate().filter(|(_, iou)| *iou >= lowest));
            overlaps.ends.push(overlaps.pairs.len());
        }
        overlaps
    }

    fn of(&self, detection: usize) -> &[(usize, f64)] {
        let start = if detection == 0 { 0 } else { self.ends[detection - 1] };
        &self.pairs[start..self.ends[detection]]
    }
}

/// IoU; with a crowd the part of the detection that lies in it.
fn overlap(detection: &Xyxy, ground_truth: &GroundTruth) -> f64 {
    let truth = &ground_truth.xyxy;
    let width = detection.x2.min(truth.x2) as f64 - detection.x1.max(truth.x1) as f64;
    let height = detection.y2.min(truth.y2) as f64 - detection.y1.max(truth.y1) as f64;
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let own = area(detection);
    intersection / if ground_truth.crowd { own } else { own + area(truth) - intersection }
}

fn area(xyxy: &Xyxy) -> f64 {
    (xyxy.x2 as f64 - xyxy.x1 as f64) * (xyxy.y2 as f64 - xyxy.y1 as f64)
}
