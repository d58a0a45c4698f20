//! From a configuration or a weights file to a network with values.

use anyhow::{Context, Result, bail};
use effyolo_config::{Model, ModelSpec, Outputs};
use net_cpu::{Isa, Params};
use net_graph::Graph;
use std::path::Path;
use std::sync::Arc;
use yolo_train::{CpuDetector, ModelCard, WeightsFile, initial_params};

/// A trained detector and what its file says about it.
pub(crate) struct Trained {
    pub(crate) detector: CpuDetector,
    pub(crate) card: ModelCard,
    pub(crate) spec: ModelSpec,
}

/// Reads a weights file that `train` wrote.
pub(crate) fn load_trained(path: &Path) -> Result<Trained> {
    let file = WeightsFile::read(path)?;
    let card = file.card()?.clone();
    let origin = path.display().to_string();
    let spec = ModelSpec::from_yaml(&card.model, &origin)
        .context("reading the model that the weights file describes")?;
    let Model { graph, outputs, .. } = spec.build(Some(card.names.len()))?;
    let Outputs::Detector(head) = outputs else { bail!("{origin}: expected a detector, got a classifier") };
    let graph = Arc::new(graph);
    let params = loaded_params(&graph, &file)?;
    let detector = CpuDetector::new(graph, head, &params, false, Isa::best())?;
    Ok(Trained { detector, card, spec })
}

fn loaded_params(graph: &Graph, file: &WeightsFile) -> Result<Params> {
    // Every value is replaced, so the seed does not matter.
    let mut params = initial_params(graph, 0);
    file.load_all(&mut params)?;
    Ok(params)
}
