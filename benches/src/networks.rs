//! Whole networks with random weights.

use effyolo_config::{Model, ModelSpec};
use net_cpu::Params;
use net_graph::NodeId;
use std::path::Path;

/// The specification of a configuration, named as in the folder `configs` without its ending.
pub fn spec(name: &str) -> ModelSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(format!("{name}.yaml"));
    ModelSpec::load(&path).expect("the configuration is well formed")
}

/// Its network.
pub fn model(spec: &ModelSpec) -> Model {
    spec.build(None).expect("the configuration builds")
}

/// What training reads: the raw maps of a head, boxes first, or a classifier's logits.
pub fn trained_outputs(model: &Model) -> Vec<NodeId> {
    match model.head() {
        Some(head) => [&head.boxes[..], &head.classes[..]].concat(),
        None => vec![model.prediction()],
    }
}

/// Initial values; the same ones every time.
pub fn params(model: &Model) -> Params {
    let mut seed = 0;
    Params::init(&model.graph, |_| {
        seed += 1;
        crate::values::uniform(seed)
    })
}
