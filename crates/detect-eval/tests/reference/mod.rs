//! Average precision as the rules are worded, without regard to time.

use box_geometry::{Detection, Xyxy};
use detect_eval::{GroundTruth, Rule, iou_thresholds};

/// A detection in the list of its class: score, true positive, ignored.
type Row = (f32, bool, bool);

/// AP at each threshold of every class that has ordinary ground truths.
pub(crate) fn average_precision(
    images: &[(Vec<Detection>, Vec<GroundTruth>)],
    classes: usize,
    rule: Rule,
) -> Vec<(usize, Vec<f64>)> {
    let labels = |class| images.iter().flat_map(|i| &i.1).filter(|g| g.class == class && !g.crowd).count();
    let value = |class, threshold| {
        let mut rows: Vec<Row> = Vec::new();
        for (detections, truths) in images {
            let mut detections: Vec<&Detection> = detections.iter().filter(|d| d.class == class).collect();
            detections.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap());
            let truths: Vec<&GroundTruth> = truths.iter().filter(|g| g.class == class).collect();
            rows.extend(match rule {
                Rule::Coco => coco(&detections, &truths, threshold),
                Rule::UltralyticsCurrent => greedy(&detections, &truths, threshold),
                Rule::UltralyticsClassic => pairs(&detections, &truths, threshold),
            });
        }
        rows.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap());
        area_under(&rows, labels(class), rule)
    };
    let labelled = (0..classes).filter(|class| labels(*class) > 0);
    labelled
        .map(|class| (class, iou_thresholds().map(|threshold| value(class, threshold)).to_vec()))
        .collect()
}

fn size(b: &Xyxy) -> f64 {
    (b.x2 - b.x1) as f64 * (b.y2 - b.y1) as f64
}

fn intersection(a: &Xyxy, b: &Xyxy) -> f64 {
    let w = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0) as f64;
    let h = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0) as f64;
    w * h
}

fn iou(a: &Xyxy, b: &Xyxy) -> f64 {
    intersection(a, b) / (size(a) + size(b) - intersection(a, b))
}

/// Ordinary ground truths first; among equals the later one; a crowd takes any number.
fn coco(detections: &[&Detection], truths: &[&GroundTruth], threshold: f64) -> Vec<Row> {
    let mut used = vec![false; truths.len()];
    let mut rows = Vec::new();
    for detection in detections {
        let mut row = (detection.score, false, false);
        'crowds: for crowd in [false, true] {
            let mut best: Option<(usize, f64)> = None;
            for (i, truth) in truths.iter().enumerate() {
                let overlap = if crowd {
                    intersection(&detection.xyxy, &truth.xyxy) / size(&detection.xyxy)
                } else {
                    iou(&detection.xyxy, &truth.xyxy)
                };
                let better = best.is_none_or(|(_, value)| overlap >= value);
                if truth.crowd == crowd && (crowd || !used[i]) && overlap >= threshold && better {
                    best = Some((i, overlap));
                }
            }
            if let Some((i, _)) = best {
                used[i] = true;
                row = (detection.score, !crowd, crowd);
                break 'crowds;
            }
        }
        rows.push(row);
    }
    rows
}

fn greedy(detections: &[&Detection], truths: &[&GroundTruth], threshold: f64) -> Vec<Row> {
    let truths: Vec<&GroundTruth> = truths.iter().filter(|truth| !truth.crowd).copied().collect();
    coco(detections, &truths, threshold)
}

/// All pairs by falling IoU, then the first of each detection, in order of the detections the first of each truth.
fn pairs(detections: &[&Detection], truths: &[&GroundTruth], threshold: f64) -> Vec<Row> {
    let truths: Vec<&GroundTruth> = truths.iter().filter(|truth| !truth.crowd).copied().collect();
    let mut pairs: Vec<(usize, usize, f64)> = Vec::new();
    for (g, truth) in truths.iter().enumerate() {
        for (d, detection) in detections.iter().enumerate() {
            let value = iou(&truth.xyxy, &detection.xyxy);
            if value >= threshold {
                pairs.push((g, d, value));
            }
        }
    }
    pairs.sort_by(|a, b| a.2.partial_cmp(&b.2).unwrap());
    pairs.reverse();
    let mut of_detection: Vec<Option<usize>> = vec![None; detections.len()];
    for (g, d, _) in pairs {
        of_detection[d].get_or_insert(g);
    }
    let mut taken = Vec::new();
    let matched = of_detection.iter().map(|g| {
        let first = g.is_some_and(|g| !taken.contains(&g));
        taken.extend(*g);
        first
    });
    matched.zip(detections).map(|(matched, detection)| (detection.score, matched, false)).collect()
}

fn area_under(rows: &[Row], labels: usize, rule: Rule) -> f64 {
    let counted: Vec<bool> = rows.iter().filter(|row| !row.2).map(|row| row.1).collect();
    if counted.is_empty() {
        return 0.0;
    }
    let hits = |n: usize| counted[..n].iter().filter(|hit| **hit).count() as f64;
    let mut points: Vec<(f64, f64)> =
        (1..=counted.len()).map(|n| (hits(n) / labels as f64, hits(n) / n as f64)).collect();
    let recalls = (0..=100).map(|i| if i == 100 { 1.0 } else { i as f64 * 0.01 });
    if rule == Rule::Coco {
        let reached =
            |recall: f64| points.iter().filter(move |p| p.0 >= recall).map(|p| p.1).fold(0.0, f64::max);
        return recalls.map(reached).sum::<f64>() / 101.0;
    }
    points.insert(0, (0.0, 1.0));
    if rule == Rule::UltralyticsCurrent {
        points.push((points.last().unwrap().0, 0.0));
    }
    points.push((1.0, 0.0));
    let top = |i: usize| points[i..].iter().map(|p| p.1).fold(0.0, f64::max);
    let height = |x: f64| {
        let left = (0..points.len()).rev().find(|i| points[*i].0 <= x).unwrap();
        match points.get(left + 1) {
            None => top(left),
            Some(right) => {
                let share = (x - points[left].0) / (right.0 - points[left].0);
                top(left) * (1.0 - share) + top(left + 1) * share
            }
        }
    };
    let heights: Vec<f64> = recalls.map(height).collect();
    heights.windows(2).map(|h| (h[0] + h[1]) / 2.0 * 0.01).sum()
}
