//! Inference in bf16: near that in f32, and not the same.

use effyolo_config::{BackboneSpec, ModelSpec};
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use net_graph::{NodeId, Role};
use std::path::Path;
use std::sync::Arc;
use test_support::{max_abs, rule_weight};

/// Largest error of an output, as a share of its largest value: four times the 0.0026 that these networks have. A bf16 value
/// is off by 2^-9 of itself at most.
const BOUND: f64 = 0.01;

/// An error that rounding to bf16 passes by far and that of f32 kernels does not reach.
const LEAST: f64 = 1e-4;

const CONFIGS: [&str; 4] =
    ["detect/yolov8n", "detect/effnet-b0-n", "classify/effnet-b0", "classify/effnet-cc-b0-4e"];

fn outputs(spec: &ModelSpec, precision: Precision, isa: Isa) -> Vec<Vec<f32>> {
    let model = spec.build(None).unwrap();
    let outputs: Vec<NodeId> = match model.head() {
        Some(head) => [&head.boxes[..], &head.classes[..]].concat(),
        None => vec![model.prediction()],
    };
    let mut params = Params::init(&model.graph, |_| || 0.5);
    for param in model.graph.params().iter().filter(|param| param.role != Role::Constant) {
        params.set(&param.name, &rule_weight("", 3.0, &param.name, &param.dims)).unwrap();
    }
    let images: Vec<f32> =
        rule_weight("", 3.0, "image.weight", &[3 * 64 * 64, 1]).iter().map(|v| 0.5 + 0.25 * v).collect();
    let model = InferModel::new(Arc::new(model.graph), &params, &outputs, isa, precision).unwrap();
    let mut plan = model.plan(1, 64, 64).unwrap();
    plan.run(Images::Nchw(&images)).unwrap();
    (0..outputs.len()).map(|index| plan.output(index).to_vec()).collect()
}

#[test]
fn bf16_is_near_f32_and_not_the_same() {
    for name in CONFIGS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{name}.yaml"));
        let mut spec = ModelSpec::load(&path).unwrap();
        if let BackboneSpec::EfficientNet(config) = &mut spec.backbone {
            (config.drop_path, config.dropout) = (0.0, 0.0);
        }
        let singles = outputs(&spec, Precision::F32, Isa::best());
        for &isa in Isa::available() {
            let halves = outputs(&spec, Precision::Bf16, isa);
            for (index, (single, half)) in singles.iter().zip(&halves).enumerate() {
                let errors: Vec<f32> = single.iter().zip(half).map(|(a, b)| a - b).collect();
                let is_rounded = half.iter().all(|value| value.to_bits() & 0xffff == 0);
                assert!(!is_rounded, "{name}: output {index} is rounded, and nothing multiplies it");
                let error = max_abs(&errors) / max_abs(single);
                assert!(
                    (LEAST..BOUND).contains(&error),
                    "{name}: output {index} on {}: an error of {error} of the largest value",
                    isa.name()
                );
            }
        }
    }
}
