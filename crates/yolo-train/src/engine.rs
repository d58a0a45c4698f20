//! Training and running a detector on the compiled CPU plans.

use crate::planned::{PlannedModel, PlannedNetwork};
use crate::{HeadLogits, ImageBatch, TrainError, Trainable};
use net_cpu::{Isa, MapMut, MapRef, Params, Precision};
use net_graph::{Graph, NodeId};
use std::ops::Range;
use std::sync::Arc;
use yolo_neck_head::HeadNodes;

/// A detector that is trained on net-cpu's plans.
#[derive(Debug)]
pub struct CpuNetwork {
    planned: PlannedNetwork,
    head: HeadNodes,
}

impl CpuNetwork {
    /// A network of which every parameter learns.
    pub fn new(graph: Arc<Graph>, head: HeadNodes, params: Params, isa: Isa) -> Self {
        let planned = PlannedNetwork::new(graph, raw_maps(&head), params, isa);
        CpuNetwork { planned, head }
    }
}

impl Trainable for CpuNetwork {
    type Logits = HeadLogits;

    fn forward(
        &mut self,
        batch: ImageBatch<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<HeadLogits, TrainError> {
        let plan = self.planned.forward(batch, uniform)?;
        Ok(gather(&self.head, batch.count, |index| plan.output(index)))
    }

    fn backward(&mut self, gradient: &HeadLogits, gradients: &mut [f32]) {
        let levels = self.head.strides.len();
        self.planned.backward(gradients, |images, plan| {
            let counts: Vec<usize> =
                (0..levels).map(|level| plan.output_shape(level).positions() / images).collect();
            for (level, range) in anchor_ranges(&counts).enumerate() {
                scatter(&gradient.boxes, images, range.clone(), &counts, plan.output_grad(level));
                scatter(&gradient.classes, images, range, &counts, plan.output_grad(levels + level));
            }
        });
    }

    fn freeze(&mut self, frozen: Vec<String>) {
        self.planned.freeze(frozen);
    }

    fn params(&self) -> &Params {
        &self.planned.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.planned.params
    }

    fn activation_bytes(&self) -> usize {
        self.planned.activation_bytes()
    }
}

/// A detector ready to run: batch norm folded, weights packed, one plan an input size.
#[derive(Debug)]
pub struct CpuDetector {
    planned: PlannedModel,
    head: HeadNodes,
}

impl CpuDetector {
    /// Folds and packs a network's weights. Runs keep the raw maps for [`CpuDetector::logits`] only if `keep_logits`:
    /// without them they need less memory.
    ///
    /// # Errors
    /// When a node has no kernel.
    pub fn new(
        graph: Arc<Graph>,
        head: HeadNodes,
        params: &Params,
        keep_logits: bool,
        isa: Isa,
        precision: Precision,
    ) -> Result<Self, TrainError> {
        let maps = if keep_logits { raw_maps(&head) } else { Vec::new() };
        let outputs = [vec![head.predictions], maps].concat();
        Ok(CpuDetector { planned: PlannedModel::new(graph, params, &outputs, isa, precision)?, head })
    }

    /// Side of the coarsest cell: image sides must be multiples of it.
    pub fn max_stride(&self) -> usize {
        self.head.strides.iter().copied().max().expect("a head has levels")
    }

    /// Stride of every level in input pixels.
    pub fn strides(&self) -> &[usize] {
        &self.head.strides
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.head.class_count
    }

    /// Decoded predictions of every image, `[A, 4 + K]` each: cx, cy, w, h in network-input pixels, then class scores.
    ///
    /// # Errors
    /// When the images do not suit the network.
    pub fn run(&mut self, batch: ImageBatch<'_>) -> Result<Vec<Vec<f32>>, TrainError> {
        let values = self.planned.run(batch)?.output(0).to_vec(); // [B, A, 4 + K]
        Ok(values.chunks(values.len() / batch.count).map(<[f32]>::to_vec).collect())
    }

    /// Raw logits of the last run at that batch's size.
    ///
    /// # Panics
    /// When nothing of that size was run, or logits are not kept.
    pub fn logits(&self, batch: ImageBatch<'_>) -> HeadLogits {
        let plan = self.planned.used(batch).expect("a run came before");
        gather(&self.head, batch.count, |index| plan.output(1 + index))
    }
}

/// The maps that the loss reads: boxes of every level, then classes of every level.
fn raw_maps(head: &HeadNodes) -> Vec<NodeId> {
    [head.boxes.clone(), head.classes.clone()].concat()
}

/// Joins the raw maps of all levels.
fn gather<'a>(head: &HeadNodes, images: usize, map: impl Fn(usize) -> MapRef<'a>) -> HeadLogits {
    let levels = head.strides.len();
    let boxes: Vec<MapRef<'_>> = (0..levels).map(&map).collect();
    let classes: Vec<MapRef<'_>> = (levels..2 * levels).map(&map).collect();
    HeadLogits { boxes: join(&boxes, images), classes: join(&classes, images) }
}

/// Maps `[B * H_l * W_l][C]` as `[B, A, C]`.
fn join(maps: &[MapRef<'_>], images: usize) -> Vec<f32> {
    let mut joined = Vec::with_capacity(maps.iter().map(|map| map.positions() * map.channels()).sum());
    for image in 0..images {
        for map in maps {
            let cells = map.positions() / images;
            (image * cells..(image + 1) * cells).for_each(|row| joined.extend_from_slice(map.row(row)));
        }
    }
    joined
}

/// Writes one level's part of `[B, A, C]` back as a map.
fn scatter(joined: &[f32], images: usize, anchors: Range<usize>, counts: &[usize], mut map: MapMut<'_>) {
    let (channels, all): (usize, usize) = (map.as_ref().channels(), counts.iter().sum());
    assert_eq!(joined.len(), images * all * channels, "gradient of the logits");
    for image in 0..images {
        for (cell, anchor) in anchors.clone().enumerate() {
            let start = (image * all + anchor) * channels;
            map.row_mut(image * anchors.len() + cell).copy_from_slice(&joined[start..start + channels]);
        }
    }
}

/// Which anchor points belong to each level, given their numbers.
fn anchor_ranges(counts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    counts.iter().scan(0, |start, count| {
        *start += count;
        Some(*start - count..*start)
    })
}
