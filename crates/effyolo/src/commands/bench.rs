//! `effyolo bench`: time and memory of a network alone, with random weights.

use crate::commands::workload::{SEED, WARM_UP, Workload, median};
use crate::dtype::DtypeArgument;
use crate::output;
use anyhow::{Context, Result};
use box_geometry::{CxCyWh, Size};
use effyolo_config::{Model, ModelSpec, Outputs};
use net_cpu::{Images, InferModel, Isa, Precision};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use yolo_train::{
    ClassificationObjective, CpuClassifierNetwork, CpuNetwork, DetectionObjective, ImageBatch,
    InitialWeights, Learner, Objective, Rates, SoftTargets, Targets, Trainable, initial_params, step_stream,
};

/// Labelled objects of an image in training.
const OBJECTS: usize = 8;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    workload: Workload,
    /// Time a training step (forward, loss, backward, SGD step) instead of inference.
    #[arg(long)]
    train: bool,
    #[command(flatten)]
    dtype: DtypeArgument,
    /// Write one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    model: String,
    imgsz: usize,
    batch: usize,
    threads: usize,
    runs: usize,
    train: bool,
    dtype: &'static str,
    isa: &'static str,
    median_ms: f64,
    min_ms: f64,
    macs: u64,
    gflops: f64,
    peak_rss_mb: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments, threads: usize) -> Result<()> {
    let precision = arguments.dtype.precision_for(arguments.train)?;
    let (spec, side) = arguments.workload.load()?;
    let times = if arguments.train {
        training_times(&spec, side, arguments)?
    } else {
        inference_times(&spec, side, precision, arguments)?
    };
    let (middle, macs) = (median(&times), macs(&spec, side, arguments)?);
    let report = Report {
        model: arguments.workload.model.display().to_string(),
        imgsz: side,
        batch: arguments.workload.batch,
        threads,
        runs: arguments.workload.runs,
        train: arguments.train,
        dtype: precision.name(),
        isa: precision.kernel_name(Isa::best()),
        median_ms: middle,
        min_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        macs,
        gflops: 2.0 * macs as f64 / middle / 1e6,
        peak_rss_mb: peak_memory_mb(),
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &report)?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        let what = if report.train { "training step" } else { "inference" };
        let memory = report.peak_rss_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB"));
        println!(
            "{what} of {}x{side}x{side} on {threads} threads ({}): median {:.2} ms, least {:.2} ms, {:.1} GFLOP/s, peak memory {memory}",
            report.batch, report.isa, report.median_ms, report.min_ms, report.gflops
        );
    }
    Ok(())
}

/// Multiply-adds of a run; a training step has three times those of its forward pass.
fn macs(spec: &ModelSpec, side: usize, arguments: &Arguments) -> Result<u64> {
    let graph = spec.build(None)?.graph;
    let forward = graph.cost(&graph.shapes(arguments.workload.batch, side, side)?).macs;
    Ok(if arguments.train { 3 * forward } else { forward })
}

fn inference_times(
    spec: &ModelSpec,
    side: usize,
    precision: Precision,
    arguments: &Arguments,
) -> Result<Vec<f64>> {
    let model = spec.build(None)?;
    let prediction = model.prediction();
    let graph = Arc::new(model.graph);
    let weights = InitialWeights { graph: &graph, seed: SEED };
    let packed = InferModel::new(graph.clone(), &weights, &[prediction], Isa::best(), precision)?;
    let mut plan = packed.plan(arguments.workload.batch, side, side)?;
    let mut uniform = step_stream(SEED, 0);
    let images: Vec<f32> =
        (0..arguments.workload.batch * 3 * side * side).map(|_| uniform() as f32).collect();
    times(arguments.workload.runs, || Ok(plan.run(Images::Nchw(&images))?))
}

fn training_times(spec: &ModelSpec, side: usize, arguments: &Arguments) -> Result<Vec<f64>> {
    let Model { graph, outputs, .. } = spec.build(None)?;
    let (graph, isa) = (Arc::new(graph), Isa::best());
    let params = initial_params(&graph, SEED);
    let mut train = spec.train.clone();
    train.optimizer = effyolo_config::Optimizer::Sgd;
    let size = Size { height: side, width: side };
    let mut uniform = step_stream(SEED, 0);
    match outputs {
        Outputs::Detector(head) => {
            let objective = DetectionObjective::new(&train, &head)?;
            let targets = random_targets(arguments.workload.batch, size, head.class_count, &mut uniform)?;
            let network = CpuNetwork::new(graph, head, params, isa);
            step_times(Learner::new(network, objective, &train, &[], isa), size, &targets, arguments)
        }
        Outputs::Classifier { logits } => {
            let classes = spec.classes;
            let targets = random_classes(arguments.workload.batch, classes, &mut uniform);
            let network = CpuClassifierNetwork::new(graph, logits, params, isa);
            let learner = Learner::new(network, ClassificationObjective, &train, &[], isa);
            step_times(learner, size, &targets, arguments)
        }
    }
}

fn step_times<N: Trainable, O: Objective<Logits = N::Logits>>(
    mut learner: Learner<N, O>,
    size: Size,
    targets: &O::Targets,
    arguments: &Arguments,
) -> Result<Vec<f64>> {
    let mut uniform = step_stream(SEED, 1);
    let bytes = arguments.workload.batch * 3 * size.height * size.width;
    let images: Vec<u8> = (0..bytes).map(|_| (uniform() * 256.0) as u8).collect();
    let rates = Rates { lr: 1e-3, bias_lr: 1e-3, momentum: 0.9, accumulate: 1 };
    let mut number = 0..;
    times(arguments.workload.runs, || {
        let batch = ImageBatch { images: Images::Rgb8(&images), count: arguments.workload.batch, size };
        let number = number.next().context("counting batches")?;
        learner.learn(batch, targets, number, &rates)?;
        Ok(())
    })
}

fn random_classes(images: usize, classes: usize, uniform: &mut impl FnMut() -> f64) -> SoftTargets {
    let mut probabilities = vec![0.0; images * classes];
    for row in probabilities.chunks_exact_mut(classes) {
        row[(uniform() * classes as f64) as usize] = 1.0;
    }
    SoftTargets { probabilities, classes }
}

fn random_targets(
    images: usize,
    size: Size,
    classes: usize,
    uniform: &mut impl FnMut() -> f64,
) -> Result<Targets> {
    let rows: Vec<(usize, usize, CxCyWh)> = (0..images * OBJECTS)
        .map(|row| {
            let mut between = |low: f64, high: f64| (low + (high - low) * uniform()) as f32;
            let bbox =
                CxCyWh::new(between(0.2, 0.8), between(0.2, 0.8), between(0.05, 0.35), between(0.05, 0.35));
            (row / OBJECTS, row * 7 % classes, bbox)
        })
        .collect();
    Ok(Targets::from_normalised(images, size, rows)?)
}

/// Milliseconds of each run that counts.
fn times(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..WARM_UP).try_for_each(|_| work())?;
    let timed = |_| {
        let started = Instant::now();
        work().map(|()| started.elapsed().as_secs_f64() * 1e3)
    };
    (0..runs).map(timed).collect()
}

/// The most memory that this process held so far, where the system tells.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
