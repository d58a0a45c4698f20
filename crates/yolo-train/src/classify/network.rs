//! Training and running a classifier on the compiled CPU plans.

use crate::planned::{PlannedModel, PlannedNetwork};
use crate::{ImageBatch, TrainError, Trainable};
use box_geometry::Size;
use classify_data::{centre_crop, crop_and_scale};
use detect_data::RgbImage;
use net_cpu::{Images, Isa, MapRef, Params, Precision};
use net_graph::{Graph, NodeId};
use std::sync::Arc;

/// A classifier that is trained on net-cpu's plans; its logits are `[B, K]`.
#[derive(Debug)]
pub struct CpuClassifierNetwork {
    planned: PlannedNetwork,
}

impl CpuClassifierNetwork {
    /// A network of which every parameter learns.
    pub fn new(graph: Arc<Graph>, logits: NodeId, params: Params, isa: Isa) -> Self {
        CpuClassifierNetwork { planned: PlannedNetwork::new(graph, vec![logits], params, isa) }
    }
}

impl Trainable for CpuClassifierNetwork {
    type Logits = Vec<f32>;

    fn forward(
        &mut self,
        batch: ImageBatch<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Vec<f32>, TrainError> {
        Ok(self.planned.forward(batch, uniform)?.output(0).to_vec())
    }

    fn backward(&mut self, gradient: &Vec<f32>, gradients: &mut [f32]) {
        self.planned.backward(gradients, |images, plan| {
            plan.output_grad(0).copy_from(MapRef::dense(gradient, gradient.len() / images));
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

/// A classifier ready to run: batch norm folded, weights packed, one plan an input size.
#[derive(Debug)]
pub struct CpuClassifier {
    planned: PlannedModel,
}

impl CpuClassifier {
    /// Folds and packs a network's weights.
    ///
    /// # Errors
    /// When a node has no kernel.
    pub fn new(
        graph: Arc<Graph>,
        logits: NodeId,
        params: &Params,
        isa: Isa,
        precision: Precision,
    ) -> Result<Self, TrainError> {
        Ok(CpuClassifier { planned: PlannedModel::new(graph, params, &[logits], isa, precision)? })
    }

    /// Logits of every image, `[B, K]`.
    ///
    /// # Errors
    /// When the images do not suit the network.
    pub fn run(&mut self, batch: ImageBatch<'_>) -> Result<Vec<f32>, TrainError> {
        Ok(self.planned.run(batch)?.output(0).to_vec())
    }
}

/// Probability of each class for an image, whose centre is scaled to `side * side` as in validation.
///
/// # Errors
/// When the image does not suit the network.
pub fn classify_image(
    classifier: &mut CpuClassifier,
    image: &RgbImage,
    side: usize,
) -> Result<Vec<f64>, TrainError> {
    let picture = crop_and_scale(image, centre_crop(image.size(), side), side);
    let size = Size { height: side, width: side };
    let logits = classifier.run(ImageBatch { images: Images::Rgb8(picture.data()), count: 1, size })?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let powers: Vec<f64> = logits.iter().map(|&z| (z as f64 - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    Ok(powers.iter().map(|power| power / sum).collect())
}
