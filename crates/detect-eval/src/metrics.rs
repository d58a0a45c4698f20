//! The numbers that are reported.

use crate::curve::Curve;
use crate::evaluator::Rule;
use crate::matching::{COCO_MAX_DETECTIONS, ClassOutcome};
use crate::operating_point::best_f1;
use crate::{THRESHOLD_COUNT, iou_thresholds};

/// Metrics by one rule. Means run over the classes that have ordinary ground truths; they are 0 where there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The rule that was applied.
    pub rule: Rule,
    /// Mean AP at IoU .5.
    pub map50: f64,
    /// Mean AP at IoU .75.
    pub map75: f64,
    /// Mean AP over IoU .50:.05:.95.
    pub map50_95: f64,
    /// Mean precision at [`best_score`](Self::best_score) and IoU .5.
    pub precision: f64,
    /// Mean recall at [`best_score`](Self::best_score) and IoU .5.
    pub recall: f64,
    /// Mean F1 at [`best_score`](Self::best_score) and IoU .5.
    pub f1: f64,
    /// The score, one for all classes, where the mean F1 at IoU .5, smoothed over a tenth of the range, is highest
    /// (Ultralytics' procedure, whichever rule matches).
    pub best_score: f64,
    /// The classes with ordinary ground truths, by id.
    pub classes: Vec<ClassMetrics>,
    /// What only COCO's rule reports.
    pub coco: Option<CocoSummary>,
}

/// Metrics of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMetrics {
    /// Class id.
    pub class: usize,
    /// Number of ordinary ground truths.
    pub labels: usize,
    /// AP at each of [`iou_thresholds`].
    pub average_precision: [f64; THRESHOLD_COUNT],
    /// Mean over the IoU thresholds of the recall of all detections that the rule looks at (COCO's AR100).
    pub average_recall: f64,
    /// Precision at the common best score and IoU .5.
    pub precision: f64,
    /// Recall at the common best score and IoU .5.
    pub recall: f64,
    /// F1 at the common best score and IoU .5.
    pub f1: f64,
}

impl ClassMetrics {
    /// AP at IoU .5.
    pub fn ap50(&self) -> f64 {
        self.average_precision[0]
    }

    /// AP at IoU .75.
    pub fn ap75(&self) -> f64 {
        self.average_precision[5]
    }

    /// AP over IoU .50:.05:.95.
    pub fn ap50_95(&self) -> f64 {
        mean(self.average_precision).expect("ten thresholds")
    }
}

/// COCO's size ranges and limits of detections. A range without ground truths has `None`; COCO prints -1 there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CocoSummary {
    /// AP over IoU .50:.05:.95 of ground truths under 32² px, between, and over 96² px.
    pub ap_by_size: [Option<f64>; 3],
    /// Average recall of the same ranges.
    pub ar_by_size: [Option<f64>; 3],
    /// Average recall with 1, 10 and 100 detections an image and class.
    pub ar_by_detections: [Option<f64>; 3],
}

impl CocoSummary {
    pub(crate) fn new(all: &[(usize, ClassOutcome)], sizes: &[Vec<(usize, ClassOutcome)>; 3]) -> Self {
        let recalls = |outcomes: &[(usize, ClassOutcome)], limit| {
            mean(outcomes.iter().map(|(_, outcome)| average_recall(outcome, limit)))
        };
        CocoSummary {
            ap_by_size: [0, 1, 2].map(|size| {
                let average = |outcome| mean(average_precision(Rule::Coco, &curves(outcome)));
                mean(sizes[size].iter().filter_map(|(_, outcome)| average(outcome)))
            }),
            ar_by_size: [0, 1, 2].map(|size| recalls(&sizes[size], COCO_MAX_DETECTIONS)),
            ar_by_detections: [1, 10, COCO_MAX_DETECTIONS].map(|limit| recalls(all, limit)),
        }
    }
}

/// Metrics of classes, each with its id.
pub(crate) fn summarise(
    rule: Rule,
    outcomes: &[(usize, ClassOutcome)],
    coco: Option<CocoSummary>,
) -> Metrics {
    let curves: Vec<[Curve; THRESHOLD_COUNT]> = outcomes.iter().map(|(_, outcome)| curves(outcome)).collect();
    let at_half: Vec<Curve> = curves.iter().map(|curves| curves[0].clone()).collect();
    let (best_score, points) = best_f1(&at_half);
    let class_metrics = |((class, outcome), (curves, point)): (&(usize, ClassOutcome), (&_, &_))| {
        let point: &crate::operating_point::OperatingPoint = point;
        ClassMetrics {
            class: *class,
            labels: outcome.labels,
            average_precision: average_precision(rule, curves),
            average_recall: average_recall(outcome, usize::MAX),
            precision: point.precision,
            recall: point.recall,
            f1: point.f1,
        }
    };
    let classes: Vec<ClassMetrics> =
        outcomes.iter().zip(curves.iter().zip(&points)).map(class_metrics).collect();
    let class_mean = |value: &dyn Fn(&ClassMetrics) -> f64| mean(classes.iter().map(value)).unwrap_or(0.0);
    Metrics {
        rule,
        map50: class_mean(&ClassMetrics::ap50),
        map75: class_mean(&ClassMetrics::ap75),
        map50_95: class_mean(&ClassMetrics::ap50_95),
        precision: class_mean(&|class| class.precision),
        recall: class_mean(&|class| class.recall),
        f1: class_mean(&|class| class.f1),
        best_score,
        classes,
        coco,
    }
}

fn curves(outcome: &ClassOutcome) -> [Curve; THRESHOLD_COUNT] {
    std::array::from_fn(|bit| Curve::new(outcome, bit))
}

fn average_precision(rule: Rule, curves: &[Curve; THRESHOLD_COUNT]) -> [f64; THRESHOLD_COUNT] {
    std::array::from_fn(|bit| match rule {
        Rule::Coco => curves[bit].coco_average_precision(),
        Rule::UltralyticsCurrent => curves[bit].ultralytics_average_precision(true),
        Rule::UltralyticsClassic => curves[bit].ultralytics_average_precision(false),
    })
}

/// Mean over the thresholds of the last recall, with the `limit` best detections of each image.
fn average_recall(outcome: &ClassOutcome, limit: usize) -> f64 {
    let counted = outcome.verdicts.iter().filter(|verdict| verdict.rank < limit);
    let matches: u64 = counted.map(|verdict| u64::from(verdict.true_positive.count_ones())).sum();
    matches as f64 / (outcome.labels * iou_thresholds().len()) as f64
}

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}
