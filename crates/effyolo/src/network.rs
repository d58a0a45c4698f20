//! From a configuration or a weights file to a network with values.

use anyhow::{Context, Result, bail};
use effyolo_config::{Model, ModelSpec, Outputs};
use net_cpu::{Isa, Params, Precision};
use net_graph::Graph;
use std::path::Path;
use std::sync::Arc;
use yolo_train::{CpuClassifier, CpuDetector, ModelCard, WeightsFile, initial_params};

/// A trained detector and what its file says about it.
pub(crate) struct TrainedDetector {
    pub(crate) detector: CpuDetector,
    pub(crate) card: ModelCard,
    pub(crate) spec: ModelSpec,
}

/// A trained classifier and what its file says about it.
pub(crate) struct TrainedClassifier {
    pub(crate) classifier: CpuClassifier,
    pub(crate) card: ModelCard,
    pub(crate) spec: ModelSpec,
}

/// A trained network of either kind.
pub(crate) enum Trained {
    Detector(TrainedDetector),
    Classifier(TrainedClassifier),
}

/// Reads a weights file that `train` wrote, to run in a precision.
pub(crate) fn load_trained(path: &Path, precision: Precision) -> Result<Trained> {
    let file = WeightsFile::read(path)?;
    let card = file.card()?.clone();
    let spec = ModelSpec::from_yaml(&card.model, &path.display().to_string())
        .context("reading the model that the weights file describes")?;
    let Model { graph, outputs, .. } = spec.build(Some(card.names.len()))?;
    let graph = Arc::new(graph);
    let (params, isa) = (loaded_params(&graph, &file)?, Isa::best());
    Ok(match outputs {
        Outputs::Detector(head) => {
            let detector = CpuDetector::new(graph, head, &params, false, isa, precision)?;
            Trained::Detector(TrainedDetector { detector, card, spec })
        }
        Outputs::Classifier { logits } => {
            let classifier = CpuClassifier::new(graph, logits, &params, isa, precision)?;
            Trained::Classifier(TrainedClassifier { classifier, card, spec })
        }
    })
}

/// Reads a detector's weights file that `train` wrote.
pub(crate) fn load_detector(path: &Path) -> Result<TrainedDetector> {
    match load_trained(path, Precision::F32)? {
        Trained::Detector(trained) => Ok(trained),
        Trained::Classifier(_) => bail!("{}: expected a detector, got a classifier", path.display()),
    }
}

fn loaded_params(graph: &Graph, file: &WeightsFile) -> Result<Params> {
    // Every value is replaced, so the seed does not matter.
    let mut params = initial_params(graph, 0);
    file.load_all(&mut params)?;
    Ok(params)
}
