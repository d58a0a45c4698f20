//! Inference (folded, fused, packed) equals training in evaluation mode for whole networks.

use effyolo_config::{BackboneSpec, Model, ModelSpec};
use net_cpu::{Images, InferModel, Isa, Params, Precision, TrainPlan};
use net_graph::{NodeId, Role};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use test_support::{assert_close, max_abs, rule_weight};

/// Multiply-adds at 64x64 above which a network is checked by its shapes only.
const LIMIT: u64 = 600_000_000;

fn configs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let folders = ["detect", "classify"].map(|folder| root.join(folder));
    let mut files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 5, "{}: hardly any configuration", root.display());
    files
}

/// The network without stochastic depth, which evaluation leaves out.
fn network(path: &Path) -> Model {
    let mut spec = ModelSpec::load(path).unwrap();
    if let BackboneSpec::EfficientNet(config) = &mut spec.backbone {
        config.drop_path = 0.0;
        config.dropout = 0.0;
    }
    spec.build(None).unwrap()
}

fn outputs(model: &Model) -> Vec<NodeId> {
    match model.head() {
        Some(head) => [&head.boxes[..], &head.classes[..]].concat(),
        None => vec![model.prediction()],
    }
}

/// Weights by name that keep maps of order one through a hundred layers, and statistics away from their start.
fn weights(model: &Model) -> Params {
    let mut params = Params::init(&model.graph, |_| || 0.5);
    for param in model.graph.params().iter().filter(|param| param.role != Role::Constant) {
        params.set(&param.name, &rule_weight("", 3.0, &param.name, &param.dims)).unwrap();
    }
    params
}

#[test]
fn inference_equals_training_in_evaluation_mode() {
    let size = (1, 64, 64);
    for path in configs() {
        let model = network(&path);
        let shapes = model.graph.shapes(1, 64, 64).unwrap();
        let outputs = outputs(&model);
        let mut params = weights(&model);
        let graph = Arc::new(model.graph);
        let everything = |_: &str| true;
        let mut train =
            TrainPlan::new(graph.clone(), params.layout.clone(), &outputs, size, Isa::best(), &everything)
                .unwrap();
        let infer = InferModel::new(graph.clone(), &params, &outputs, Isa::best(), Precision::F32).unwrap();
        let mut infer = infer.plan(1, 64, 64).unwrap();
        for index in 0..outputs.len() {
            assert_eq!(train.output_shape(index), infer.output_shape(index), "{}", path.display());
        }
        if graph.cost(&shapes).macs > LIMIT {
            continue;
        }
        let images: Vec<f32> =
            rule_weight("", 3.0, "image.weight", &[3 * 64 * 64, 1]).iter().map(|v| 0.5 + 0.25 * v).collect();
        train.forward(&mut params, Images::Nchw(&images), &mut || 0.5).unwrap();
        infer.run(Images::Nchw(&images)).unwrap();
        for index in 0..outputs.len() {
            let want = train.output(index).to_vec();
            assert!(max_abs(&want) > 1e-3, "{}: output {index} is silent", path.display());
            let what = format!("{}: output {index}", path.display());
            assert_close(&what, &infer.output(index).to_vec(), &want, 1e-4 * max_abs(&want));
        }
    }
}
