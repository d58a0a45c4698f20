//! The collector of detections and ground truths.

use crate::matching::{Matching, SizeRange, class_outcome};
use crate::metrics::{self, CocoSummary, Metrics};
use box_geometry::{Detection, Xyxy};
use std::collections::BTreeMap;

/// A labelled box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundTruth {
    /// Corners, in pixels of the original image: COCO's size ranges are areas of this box.
    pub xyxy: Xyxy,
    /// Class id from 0.
    pub class: usize,
    /// True for a region of many objects: COCO neither rewards nor punishes detections in it; Ultralytics' rules leave
    /// it out.
    pub crowd: bool,
}

/// How detections are matched to ground truths, and how a curve becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// pycocotools: at most 100 detections an image and class, greedy matching in falling score, precision envelope
    /// sampled as steps at 101 recalls. Perfect detections have AP 1.
    Coco,
    /// Ultralytics 8.4: greedy matching in falling score; the curve falls to 0 after the last recall; trapezoid over
    /// 101 points. Perfect detections have AP .995, since the last point, recall 1, reads the fallen curve.
    UltralyticsCurrent,
    /// Ultralytics 8.0 to 8.2: every detection takes its best ground truth, every ground truth the first of its
    /// detections; the curve falls along a line to (1, 0). Perfect detections have AP .995.
    UltralyticsClassic,
}

/// Input that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// An image came twice.
    #[error("image {image}: evaluated before; every image may be passed to `update` once")]
    DuplicateImage {
        /// Image id.
        image: u64,
    },
    /// A class id is too large.
    #[error("image {image}: {what} {index} has class {class}, but there are only {classes} classes (0 to {})", classes - 1)]
    ClassOutOfRange {
        /// Image id.
        image: u64,
        /// "detection" or "ground truth".
        what: &'static str,
        /// Position in the list that was passed.
        index: usize,
        /// The class found.
        class: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A coordinate or score is NaN or infinite.
    #[error("image {image}: {what} {index} has a coordinate or score that is not a finite number")]
    NotFinite {
        /// Image id.
        image: u64,
        /// "detection" or "ground truth".
        what: &'static str,
        /// Position in the list that was passed.
        index: usize,
    },
}

/// Detections and ground truths of one image, each sorted by class, detections then by falling score.
#[derive(Debug, Clone)]
pub(crate) struct ImageBoxes {
    detections: Vec<Detection>,
    ground_truths: Vec<GroundTruth>,
}

impl ImageBoxes {
    pub(crate) fn detections(&self, class: usize) -> &[Detection] {
        of_class(&self.detections, class, |detection| detection.class)
    }

    pub(crate) fn ground_truths(&self, class: usize) -> &[GroundTruth] {
        of_class(&self.ground_truths, class, |ground_truth| ground_truth.class)
    }
}

fn of_class<T>(sorted: &[T], class: usize, class_of: impl Fn(&T) -> usize) -> &[T] {
    let start = sorted.partition_point(|item| class_of(item) < class);
    let len = sorted[start..].partition_point(|item| class_of(item) == class);
    &sorted[start..start + len]
}

/// Collects images, then computes average precision by any [`Rule`].
///
/// Detections of equal score keep the order of their image id, then the order in which they were passed.
#[derive(Debug, Clone)]
pub struct Evaluator {
    classes: usize,
    images: BTreeMap<u64, ImageBoxes>,
}

impl Evaluator {
    /// An evaluator for class ids `0..classes`.
    pub fn new(classes: usize) -> Self {
        Evaluator { classes, images: BTreeMap::new() }
    }

    /// Adds an image; its detections may come in any order, their boxes in the frame of the ground truths. An image without ground truths or without detections counts
    /// and must be passed too: its detections are false positives.
    ///
    /// # Errors
    /// [`EvalError`] for an image id that came before, a class id out of range, or a number that is not finite; the
    /// evaluator is then unchanged.
    pub fn update(
        &mut self,
        image: u64,
        detections: &[Detection],
        ground_truths: &[GroundTruth],
    ) -> Result<(), EvalError> {
        if self.images.contains_key(&image) {
            return Err(EvalError::DuplicateImage { image });
        }
        for (index, detection) in detections.iter().enumerate() {
            let Detection { xyxy, score, class } = detection;
            self.check(image, "detection", index, *class, xyxy, *score)?;
        }
        for (index, ground_truth) in ground_truths.iter().enumerate() {
            self.check(image, "ground truth", index, ground_truth.class, &ground_truth.xyxy, 0.0)?;
        }
        let mut boxes = ImageBoxes { detections: detections.to_vec(), ground_truths: ground_truths.to_vec() };
        boxes.detections.sort_by(|a, b| a.class.cmp(&b.class).then(b.score.total_cmp(&a.score)));
        boxes.ground_truths.sort_by_key(|ground_truth| ground_truth.class);
        self.images.insert(image, boxes);
        Ok(())
    }

    fn check(
        &self,
        image: u64,
        what: &'static str,
        index: usize,
        class: usize,
        xyxy: &Xyxy,
        score: f32,
    ) -> Result<(), EvalError> {
        if class >= self.classes {
            return Err(EvalError::ClassOutOfRange { image, what, index, class, classes: self.classes });
        }
        if [xyxy.x1, xyxy.y1, xyxy.x2, xyxy.y2, score].iter().any(|value| !value.is_finite()) {
            return Err(EvalError::NotFinite { image, what, index });
        }
        Ok(())
    }

    /// The metrics of everything collected so far, by `rule`.
    pub fn finish(&self, rule: Rule) -> Metrics {
        let outcomes = |matching| {
            (0..self.classes)
                .map(|class| (class, class_outcome(self.images.values(), class, matching)))
                .filter(|(_, outcome)| outcome.labels > 0)
                .collect::<Vec<_>>()
        };
        match rule {
            Rule::UltralyticsCurrent => metrics::summarise(rule, &outcomes(Matching::GreedyByScore), None),
            Rule::UltralyticsClassic => metrics::summarise(rule, &outcomes(Matching::BestPair), None),
            Rule::Coco => {
                let all = outcomes(Matching::Coco(SizeRange::ALL));
                let sizes = SizeRange::BY_SIZE.map(|range| outcomes(Matching::Coco(range)));
                metrics::summarise(rule, &all, Some(CocoSummary::new(&all, &sizes)))
            }
        }
    }
}
