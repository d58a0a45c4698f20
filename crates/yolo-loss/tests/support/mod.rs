//! Cases of the whole loss: head maps gathered into `[B, A, ...]`, and back.

use box_geometry::{AnchorGrid, CxCyWh, GridLevel, Size};
use serde_json::Value;
use test_support::{Tensors, entries};
use yolo_loss::{DetectionLoss, Gains, Overlap, Rules, Targets, TaskAligned};

/// Suffixes of the reference tensors, and the rules they stand for.
pub(crate) const RULES: [(&str, Rules); 2] = [("classic", Rules::Classic), ("current", Rules::Current)];

/// The name with the suffix where the rules differ, else the plain one.
pub(crate) fn named(tensors: &Tensors, name: &str, suffix: &str) -> String {
    let with_suffix = format!("{name}_{suffix}");
    if tensors.has(&with_suffix) { with_suffix } else { name.to_string() }
}

/// One case of the file.
pub(crate) struct LossCase {
    pub(crate) name: String,
    pub(crate) tensors: Tensors,
    pub(crate) meta: Value,
    pub(crate) items_tolerance: f64,
    pub(crate) total_tolerance: f64,
    pub(crate) gradient_tolerance: f64,
    pub(crate) class_count: usize,
    pub(crate) bins: usize,
    pub(crate) grid: AnchorGrid,
    /// `[B, A, 4 * R]`.
    pub(crate) boxes: Vec<f32>,
    /// `[B, A, K]`.
    pub(crate) classes: Vec<f32>,
    pub(crate) targets: Targets,
    /// What follows `map_` in the names of the maps, level by level.
    levels: Vec<String>,
}

/// All cases of all files.
pub(crate) fn loss_cases() -> Vec<LossCase> {
    let cases = |entry: test_support::Entry| {
        let meta = entry.meta.as_object().expect("cases").clone();
        meta.into_iter().map(move |(name, meta)| LossCase::new(&entry, name, meta))
    };
    entries("detection_loss").into_iter().flat_map(cases).collect()
}

impl LossCase {
    fn new(entry: &test_support::Entry, name: String, meta: Value) -> Self {
        let tensors = entry.tensors();
        let prefix = format!("{name}/map_");
        let levels: Vec<String> = tensors
            .names()
            .iter()
            .filter_map(|full| full.strip_prefix(&prefix))
            .map(str::to_string)
            .collect();
        let side = |index: usize| meta["image"][index].as_u64().expect("`image`") as usize;
        let input = Size { height: side(0), width: side(1) };
        let class_count = meta["num_classes"].as_u64().expect("`num_classes`") as usize;
        let dims: Vec<Vec<usize>> =
            levels.iter().map(|level| tensors.dims(&format!("{prefix}{level}"))).collect();
        let (images, channels) = (dims[0][0], dims[0][1]);
        let level = |d: &Vec<usize>| GridLevel { height: d[2], width: d[3], stride: input.height / d[2] };
        let grid = AnchorGrid::new(&dims.iter().map(level).collect::<Vec<_>>());
        let box_channels = channels - class_count;
        let (mut boxes, mut classes) = (Vec::new(), Vec::new());
        let maps: Vec<Vec<f32>> =
            levels.iter().map(|level| tensors.f32(&format!("{prefix}{level}"))).collect();
        for image in 0..images {
            for (map, dims) in maps.iter().zip(&dims) {
                let cells = dims[2] * dims[3];
                for cell in 0..cells {
                    let at = |channel: usize| map[(image * channels + channel) * cells + cell];
                    boxes.extend((0..box_channels).map(at));
                    classes.extend((box_channels..channels).map(at));
                }
            }
        }
        let targets = targets(&tensors, &name, images, input);
        LossCase {
            items_tolerance: entry.tolerance(&["items_rel"]),
            total_tolerance: entry.tolerance(&["total_rel"]),
            gradient_tolerance: entry.tolerance(&["grad_abs_rel_to_max"]),
            name,
            tensors,
            meta,
            class_count,
            bins: box_channels / 4,
            grid,
            boxes,
            classes,
            targets,
            levels,
        }
    }

    /// The loss with the case's settings.
    pub(crate) fn loss(&self, rules: Rules) -> DetectionLoss {
        let gain = |name: &str| self.meta["gains"][name].as_f64().expect("`gains`");
        let gains = Gains { boxes: gain("box"), class: gain("cls"), dfl: gain("dfl") };
        let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules };
        DetectionLoss::new(self.class_count, self.bins, gains, assigner, Overlap::Ciou).unwrap()
    }

    /// Full name of a reference tensor.
    pub(crate) fn name(&self, suffix: &str, what: &str) -> String {
        named(&self.tensors, &format!("{}/{what}", self.name), suffix)
    }

    /// Names of the reference gradients, and gradients `[B, A, ...]` in their layout `[B, 4 * R + K, H, W]`.
    pub(crate) fn gradients(
        &self,
        suffix: &str,
        d_boxes: &[f32],
        d_classes: &[f32],
    ) -> Vec<(String, Vec<f32>)> {
        let (images, box_channels) = (self.targets.len(), 4 * self.bins);
        let mut first = 0;
        let mut maps = Vec::new();
        for (level, name) in self.grid.levels().iter().zip(&self.levels) {
            let mut map = Vec::new();
            for image in 0..images {
                let anchors =
                    image * self.grid.len() + first..image * self.grid.len() + first + level.cells();
                for channel in 0..box_channels {
                    map.extend(anchors.clone().map(|anchor| d_boxes[anchor * box_channels + channel]));
                }
                for class in 0..self.class_count {
                    map.extend(anchors.clone().map(|anchor| d_classes[anchor * self.class_count + class]));
                }
            }
            first += level.cells();
            maps.push((self.name(suffix, &format!("grad_{name}")), map));
        }
        maps
    }
}

fn targets(tensors: &Tensors, case: &str, images: usize, input: Size) -> Targets {
    let boxes = tensors.f32(&format!("{case}/bboxes"));
    if boxes.is_empty() {
        return Targets::new(vec![Vec::new(); images]);
    }
    let image = tensors.integers(&format!("{case}/batch_idx"));
    let class = tensors.integers(&format!("{case}/cls"));
    let row = |(i, b): (usize, &[f32; 4])| {
        (image[i] as usize, class[i] as usize, CxCyWh::new(b[0], b[1], b[2], b[3]))
    };
    Targets::from_normalised(images, input, boxes.as_chunks::<4>().0.iter().enumerate().map(row)).unwrap()
}
