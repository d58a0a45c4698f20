//! Whole networks: inference, and a training step without the loss.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effyolo_config::{Model, ModelSpec};
use net_cpu::{Images, InferModel, Isa, Params, TrainPlan};
use net_graph::NodeId;
use std::path::Path;
use std::sync::Arc;

/// Configuration, image side and batch.
const INFERENCE: &[(&str, usize, usize)] =
    &[("classify/effnet-b0", 224, 1), ("detect/effnet-b0-n", 640, 1), ("detect/yolov8n", 640, 1)];
const TRAINING: &[(&str, usize, usize)] = &[("detect/effnet-b0-n", 320, 8), ("detect/yolov8n", 320, 8)];

fn model(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(format!("{name}.yaml"));
    ModelSpec::load(&path).and_then(|spec| spec.build(None)).expect("the configuration builds")
}

/// Parameters from a small linear congruential generator.
fn params(model: &Model) -> Params {
    let mut state = 1u64;
    Params::init(&model.graph, |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut stream = state;
        move || {
            stream = stream.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (stream >> 11) as f64 / (1u64 << 53) as f64
        }
    })
}

fn outputs(model: &Model) -> Vec<NodeId> {
    match model.head() {
        Some(head) => [&head.boxes[..], &head.classes[..]].concat(),
        None => vec![model.prediction()],
    }
}

fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(20);
    for &(name, side, batch) in INFERENCE {
        let model = model(name);
        let params = params(&model);
        let prediction = model.prediction();
        let images = vec![0.3; batch * 3 * side * side];
        let graph = Arc::new(model.graph);
        let plan = |isa| {
            let compiled = InferModel::new(graph.clone(), &params, &[prediction], isa).expect("compiles");
            compiled.plan(batch, side, side).expect("fits")
        };
        let (mut fast, mut plain) = (plan(Isa::best()), plan(Isa::PORTABLE));
        fast.run(Images::Nchw(&images)).expect("runs");
        plain.run(Images::Nchw(&images)).expect("runs");
        let (got, want) = (fast.output(0).to_vec(), plain.output(0).to_vec());
        let largest = want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        let worst = got.iter().zip(&want).fold(0.0f32, |max, (g, w)| max.max((g - w).abs()));
        assert!(worst <= 1e-3 * largest, "{name}: {worst} from the portable path, largest value {largest}");
        group.bench_function(BenchmarkId::new(name, format!("{side}, batch {batch}")), |bencher| {
            bencher.iter(|| fast.run(Images::Nchw(&images)).expect("runs"));
        });
    }
    group.finish();
}

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward and backward");
    group.sample_size(10);
    for &(name, side, batch) in TRAINING {
        let model = model(name);
        let mut params = params(&model);
        let outputs = outputs(&model);
        let images = vec![0.3; batch * 3 * side * side];
        let size = (batch, side, side);
        let mut plan = TrainPlan::new(
            Arc::new(model.graph),
            params.layout.clone(),
            &outputs,
            size,
            Isa::best(),
            &|_| false,
        )
        .expect("compiles");
        let mut grads = vec![0.0; params.layout.trained_len()];
        let mut step = |grads: &mut [f32]| {
            plan.forward(&mut params, Images::Nchw(&images), &mut || 0.5).expect("runs");
            (0..outputs.len()).for_each(|index| plan.output_grad(index).fill(0.01));
            grads.fill(0.0);
            plan.backward(&params, grads);
        };
        step(&mut grads);
        assert!(
            grads.iter().all(|g| g.is_finite()) && grads.iter().any(|g| *g != 0.0),
            "{name}: no gradient"
        );
        group.bench_function(BenchmarkId::new(name, format!("{side}, batch {batch}")), |bencher| {
            bencher.iter(|| step(&mut grads))
        });
    }
    group.finish();
}

criterion_group!(benches, inference, training);
criterion_main!(benches);
