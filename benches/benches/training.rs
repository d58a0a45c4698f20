//! Training: forward and backward passes alone, and whole steps with loss, optimiser and moving average.
//!
//! Both are first checked on small images against candle's operations in double precision with the composed loss, and a step of
//! plain arithmetic.

use std::sync::Arc;

use benches::check::{assert_close, assert_close_by_length};
use benches::composed::{Composed, tensor};
use benches::networks::{model, params, spec, trained_outputs};
use benches::settings::brief;
use benches::values::{to_f64, uniform, wave};
use box_geometry::{AnchorGrid, CxCyWh, Size};
use candle_core::Tensor;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effyolo_config::{EmaRamp, Model, Optimizer, TrainSpec};
use net_cpu::{Images, Isa, Params, TrainPlan};
use yolo_loss::Targets;
use yolo_train::{
    CpuNetwork, DetectionObjective, ImageBatch, Learner, Objective, Rates, Trainable, step_stream,
};

/// Configuration, image side and batch.
const NETWORKS: [(&str, usize, usize); 2] = [("detect/effnet-b0-n", 320, 8), ("detect/yolov8n", 320, 8)];
/// A box map and a class map of three levels.
const MAPS: usize = 6;
/// Batch and side of the check.
const SMALL: [usize; 2] = [2, 96];
/// Largest distance of single from double precision through a whole network, as a share of the length.
const TOLERANCE: f64 = 5e-3;
const RATES: Rates = Rates { lr: 0.01, bias_lr: 0.01, momentum: 0.9, accumulate: 1 };

fn plan(model: &Model, params: &Params, [batch, side]: [usize; 2]) -> TrainPlan {
    let (graph, layout) = (Arc::new(model.graph.clone()), params.layout.clone());
    let outputs = trained_outputs(model);
    TrainPlan::new(graph, layout, &outputs, (batch, side, side), Isa::best(), &|_| false).expect("compiles")
}

fn images([batch, side]: [usize; 2]) -> Vec<f32> {
    let mut random = uniform(3);
    (0..batch * 3 * side * side).map(|_| random() as f32).collect()
}

/// A gradient for every output, `[B, C, H, W]`.
fn output_gradient(len: usize, output: usize) -> Vec<f32> {
    wave(len, output as f32, 0.01)
}

fn passes(plan: &mut TrainPlan, params: &mut Params, images: &[f32], gradients: &mut [f32]) {
    plan.forward(params, Images::Nchw(images), &mut uniform(4)).expect("runs");
    for output in 0..MAPS {
        let gradient = output_gradient(plan.output_shape(output).len(), output);
        plan.set_output_grad_nchw(output, &gradient);
    }
    gradients.fill(0.0);
    plan.backward(params, gradients);
}

fn check_passes(name: &str, model: &Model, params: &Params) {
    let images = images(SMALL);
    let mut got = vec![0.0; params.trained.len()];
    passes(&mut plan(model, params, SMALL), &mut params.clone(), &images, &mut got);
    let composed = Composed::new(model, params);
    let maps = composed.train(&images, SMALL, &trained_outputs(model), &mut uniform(4));
    let products = maps.iter().enumerate().map(|(output, map)| {
        let (b, c, h, w) = map.dims4().expect("four axes");
        (map * tensor(&output_gradient(map.elem_count(), output), [b, c, h, w]))?.sum_all()
    });
    let sum = products.reduce(|a, b| a? + b?).expect("there are outputs").expect("candle runs");
    let expected = composed.gradients(params, &sum.backward().expect("candle runs"));
    assert_close_by_length(&format!("{name}: gradient"), &got, &expected, TOLERANCE);
}

fn forward_and_backward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training/forward and backward");
    group.sample_size(10);
    for (name, side, batch) in NETWORKS {
        let model = model(&spec(name));
        let mut params = params(&model);
        check_passes(name, &model, &params);
        let mut plan = plan(&model, &params, [batch, side]);
        let (images, mut gradients) = (images([batch, side]), vec![0.0; params.trained.len()]);
        group.bench_function(BenchmarkId::new(name, format!("{side}, batch {batch}")), |bencher| {
            bencher.iter(|| passes(&mut plan, &mut params, &images, &mut gradients));
        });
    }
    group.finish();
}

/// Four objects an image.
fn targets([batch, side]: [usize; 2]) -> Targets {
    let mut random = uniform(6);
    let mut between = |low: f64, high: f64| (low + (high - low) * random()) as f32;
    let mut object = |row: usize| {
        let bbox = CxCyWh::new(between(0.3, 0.7), between(0.3, 0.7), between(0.2, 0.5), between(0.2, 0.5));
        (row / 4, row * 7 % 80, bbox)
    };
    let rows: Vec<_> = (0..batch * 4).map(&mut object).collect();
    Targets::from_normalised(batch, Size { height: side, width: side }, rows).expect("images of the batch")
}

/// One kind of detector with its loss.
struct Detector {
    model: Model,
    params: Params,
    train: TrainSpec,
}

impl Detector {
    /// SGD without decay of weights, so that a step is easily written down.
    fn new(name: &str) -> Self {
        let spec = spec(name);
        let model = model(&spec);
        let params = params(&model);
        let train = TrainSpec { optimizer: Optimizer::Sgd, weight_decay: 0.0, ..spec.train };
        Detector { model, params, train }
    }

    fn objective(&self) -> DetectionObjective {
        DetectionObjective::new(&self.train, self.model.head().expect("a detector"))
            .expect("a head has classes")
    }

    fn learner(&self) -> Learner<CpuNetwork, DetectionObjective> {
        let head = self.model.head().expect("a detector").clone();
        let (graph, isa) = (Arc::new(self.model.graph.clone()), Isa::best());
        let network = CpuNetwork::new(graph, head, self.params.clone(), isa);
        Learner::new(network, self.objective(), &self.train, &[], isa)
    }

    /// Loss and gradient of the first batch by candle's operations in double precision.
    fn composed(&self, images: &[f32], targets: &Targets) -> (f64, Vec<f64>) {
        let [_, side] = SMALL;
        let composed = Composed::new(&self.model, &self.params);
        let mut stream = step_stream(self.train.seed, 0);
        let maps = composed.train(images, SMALL, &trained_outputs(&self.model), &mut stream);
        let (boxes, classes) = maps.split_at(maps.len() / 2);
        let objective = self.objective();
        let grid = AnchorGrid::for_input(Size { height: side, width: side }, &objective.strides);
        let grid = grid.expect("strides divide the side");
        let loss = objective.loss.forward(&rows(boxes), &rows(classes), &grid, targets).expect("candle runs");
        let gradient = composed.gradients(&self.params, &loss.total.backward().expect("candle runs"));
        (loss.total.to_scalar().expect("a number"), gradient)
    }
}

/// Maps `[B, C, H, W]` of all levels as rows of anchor points `[B, A, C]`.
fn rows(maps: &[Tensor]) -> Tensor {
    let levels = maps.iter().map(|map| map.flatten_from(2)?.transpose(1, 2));
    let levels = levels.collect::<candle_core::Result<Vec<_>>>().expect("four axes");
    Tensor::cat(&levels, 1).expect("equal channels")
}

fn learn(
    learner: &mut Learner<CpuNetwork, DetectionObjective>,
    images: &[f32],
    [batch, side]: [usize; 2],
    targets: &Targets,
    number: usize,
) -> f64 {
    let size = Size { height: side, width: side };
    let batch = ImageBatch { images: Images::Nchw(images), count: batch, size };
    DetectionObjective::total(&learner.learn(batch, targets, number, &RATES).expect("learns"))
}

/// The first step of SGD with Nesterov's momentum after clipping, then the moving average.
fn check_step(name: &str, detector: &Detector) {
    let (images, targets) = (images(SMALL), targets(SMALL));
    let mut learner = detector.learner();
    let loss = learn(&mut learner, &images, SMALL, &targets, 0);
    let (expected, gradient) = detector.composed(&images, &targets);
    assert!((loss - expected).abs() <= 1e-3 * expected, "{name}: loss {loss}, expected {expected}");

    let spec = &detector.train;
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let factor = -RATES.lr * (1.0 + RATES.momentum) * (spec.clip_norm / norm).min(1.0);
    let before = &detector.params.trained;
    let after = &learner.network().params().trained;
    let moved: Vec<f32> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let expected: Vec<f64> = gradient.iter().map(|g| factor * g).collect();
    assert_close_by_length(&format!("{name}: step"), &moved, &expected, TOLERANCE);

    assert_eq!(spec.ema_ramp, EmaRamp::Exponential);
    let decay = spec.ema_decay * (1.0 - (-1.0 / spec.ema_tau).exp());
    let averages = to_f64(before).into_iter().zip(to_f64(after));
    let averages: Vec<f64> = averages.map(|(before, after)| decay * before + (1.0 - decay) * after).collect();
    assert_close(&format!("{name}: average"), &learner.averaged().trained, &averages, 1e-6);
}

fn whole_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training/step with loss, optimiser and average");
    group.sample_size(10);
    for (name, side, batch) in NETWORKS {
        let detector = Detector::new(name);
        check_step(name, &detector);
        let (images, targets) = (images([batch, side]), targets([batch, side]));
        let mut learner = detector.learner();
        let mut number = 0;
        group.bench_function(BenchmarkId::new(name, format!("{side}, batch {batch}")), |bencher| {
            bencher.iter(|| {
                number += 1;
                learn(&mut learner, &images, [batch, side], &targets, number - 1)
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = forward_and_backward, whole_step }
criterion_main!(benches);
