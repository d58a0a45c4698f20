//! `effyolo profile`: where a network's time goes, step by step.

use crate::commands::workload::{SEED, WARM_UP, Workload, median};
use crate::dtype::DtypeArgument;
use crate::output;
use anyhow::Result;
use effyolo_config::{Model, Outputs};
use net_cpu::{Images, InferModel, Isa, Pass, Precision, StepInfo, TrainPlan, flops_per_second};
use net_graph::{Graph, NodeId, Op};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use yolo_train::{InitialWeights, initial_params, step_stream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    workload: Workload,
    /// The forward and backward passes of training instead of inference; without loss and optimiser.
    #[arg(long)]
    train: bool,
    #[command(flatten)]
    dtype: DtypeArgument,
    /// Steps that the table shows, the slowest first; JSON has them all.
    #[arg(long, default_value_t = 30)]
    top: usize,
    /// Write one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What ran, and the times of every run that counts.
struct Measured {
    steps: Vec<StepInfo>,
    /// Of whole runs, by the clock outside.
    totals: Vec<Duration>,
    /// By run, by step.
    times: Vec<Vec<Duration>>,
}

#[derive(Serialize)]
struct Report {
    model: String,
    imgsz: usize,
    batch: usize,
    threads: usize,
    dtype: &'static str,
    isa: &'static str,
    train: bool,
    runs: usize,
    total_ms: f64,
    steps_ms: f64,
    gflops: f64,
    peak_gflops: f64,
    arena_mb: f64,
    kinds: Vec<Row>,
    steps: Vec<Step>,
    addresses: Vec<String>,
}

/// A line of either table.
#[derive(Debug, Clone, Serialize)]
struct Row {
    pass: &'static str,
    kind: String,
    steps: usize,
    ms: f64,
    share: f64,
    gflops: f64,
    peak_share: f64,
    bytes: u64,
    gbytes_per_second: f64,
}

#[derive(Serialize)]
struct Step {
    name: String,
    nodes: Vec<String>,
    #[serde(flatten)]
    row: Row,
}

pub(crate) fn run(arguments: &Arguments, threads: usize) -> Result<()> {
    let precision = arguments.dtype.precision_for(arguments.train)?;
    let (spec, side) = arguments.workload.load()?;
    let model = spec.build(None)?;
    let graph = Arc::new(model.graph.clone());
    let outputs = if arguments.train { trained_outputs(&model) } else { vec![model.prediction()] };
    let (measured, arena_bytes) = if arguments.train {
        training(&graph, &outputs, side, arguments)?
    } else {
        inference(&graph, &outputs, side, precision, arguments)?
    };
    let isa = Isa::best();
    let peak = flops_per_second(isa, threads);
    let steps = measured.step_rows(&graph, peak);
    let steps_ms = steps.iter().map(|step| step.row.ms).sum();
    let total = median_seconds(measured.totals.iter().copied());
    let macs: u64 = measured.steps.iter().map(|step| step.macs).sum();
    let report = Report {
        model: arguments.workload.model.display().to_string(),
        imgsz: side,
        batch: arguments.workload.batch,
        threads,
        dtype: precision.name(),
        isa: precision.kernel_name(isa),
        train: arguments.train,
        runs: arguments.workload.runs,
        total_ms: total * 1e3,
        steps_ms,
        gflops: 2.0 * macs as f64 / total / 1e9,
        peak_gflops: peak / 1e9,
        arena_mb: arena_bytes as f64 / (1 << 20) as f64,
        kinds: kind_rows(&steps, &measured.steps, peak),
        addresses: addresses(&graph, &outputs, &measured.steps),
        steps,
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &report)?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        print(&report, arguments.top);
    }
    Ok(())
}

/// What a training step reads: raw maps of a head, or logits.
fn trained_outputs(model: &Model) -> Vec<NodeId> {
    match &model.outputs {
        Outputs::Detector(head) => [&head.boxes[..], &head.classes[..]].concat(),
        Outputs::Classifier { logits } => vec![*logits],
    }
}

fn inference(
    graph: &Arc<Graph>,
    outputs: &[NodeId],
    side: usize,
    precision: Precision,
    arguments: &Arguments,
) -> Result<(Measured, usize)> {
    let weights = InitialWeights { graph, seed: SEED };
    let packed = InferModel::new(graph.clone(), &weights, outputs, Isa::best(), precision)?;
    let mut plan = packed.plan(arguments.workload.batch, side, side)?;
    let images = images(arguments.workload.batch, side);
    let steps = plan.steps();
    let run = |times: &mut [Duration]| Ok(plan.run_timed(Images::Rgb8(&images), times)?);
    let measured = measure(steps, arguments.workload.runs, run)?;
    Ok((measured, plan.arena_bytes()))
}

fn training(
    graph: &Arc<Graph>,
    outputs: &[NodeId],
    side: usize,
    arguments: &Arguments,
) -> Result<(Measured, usize)> {
    let mut params = initial_params(graph, SEED);
    let (layout, size) = (params.layout.clone(), (arguments.workload.batch, side, side));
    let mut plan = TrainPlan::new(graph.clone(), layout, outputs, size, Isa::best(), &|_| false)?;
    let mut gradients = vec![0.0; params.trained.len()];
    let images = images(arguments.workload.batch, side);
    let (forward, backward) = (plan.forward_steps(), plan.backward_steps());
    let (border, mut number) = (forward.len(), 0);
    let run = |times: &mut [Duration]| -> Result<()> {
        let (forward_times, backward_times) = times.split_at_mut(border);
        let mut uniform = step_stream(SEED, number);
        number += 1;
        plan.forward_timed(&mut params, Images::Rgb8(&images), &mut uniform, forward_times)?;
        (0..outputs.len()).for_each(|index| plan.output_grad(index).fill(1e-3));
        plan.backward_timed(&params, &mut gradients, backward_times);
        Ok(())
    };
    let measured = measure([forward, backward].concat(), arguments.workload.runs, run)?;
    Ok((measured, plan.arena_bytes()))
}

fn images(batch: usize, side: usize) -> Vec<u8> {
    let mut uniform = step_stream(SEED, 0);
    (0..batch * 3 * side * side).map(|_| (uniform() * 256.0) as u8).collect()
}

fn measure(
    steps: Vec<StepInfo>,
    runs: usize,
    mut run: impl FnMut(&mut [Duration]) -> Result<()>,
) -> Result<Measured> {
    let (mut totals, mut times) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + runs {
        let mut of_steps = vec![Duration::ZERO; steps.len()];
        let started = Instant::now();
        run(&mut of_steps)?;
        if number >= WARM_UP {
            totals.push(started.elapsed());
            times.push(of_steps);
        }
    }
    Ok(Measured { steps, totals, times })
}

/// The node that a step is named after: its convolution, else its first.
fn main_node<'a>(graph: &Graph, info: &'a StepInfo) -> Option<&'a NodeId> {
    let is_main = |id: &&NodeId| {
        matches!(graph.node(**id).op, Op::Conv2d { .. } | Op::CondConv { .. } | Op::Linear { .. })
    };
    info.nodes.iter().find(is_main).or(info.nodes.first())
}

impl Measured {
    /// A row for every step, the slowest first.
    fn step_rows(&self, graph: &Graph, peak: f64) -> Vec<Step> {
        let seconds: Vec<f64> = (0..self.steps.len()).map(|index| self.step_seconds(index)).collect();
        let sum: f64 = seconds.iter().sum();
        let name = |id: &NodeId| graph.node(*id).name.clone();
        let step = |(info, seconds): (&StepInfo, f64)| Step {
            name: main_node(graph, info).map(name).unwrap_or_default(),
            nodes: info.nodes.iter().map(name).collect(),
            row: row(pass_name(info.pass), &info.kind, 1, seconds, sum, info.macs, info.bytes, peak),
        };
        let mut steps: Vec<Step> = self.steps.iter().zip(seconds).map(step).collect();
        steps.sort_by(|a, b| b.row.ms.total_cmp(&a.row.ms));
        steps
    }

    /// The median over the runs.
    fn step_seconds(&self, index: usize) -> f64 {
        median_seconds(self.times.iter().map(|run| run[index]))
    }
}

fn kind_rows(steps: &[Step], infos: &[StepInfo], peak: f64) -> Vec<Row> {
    let mut kinds = BTreeMap::<(&'static str, &str), (usize, f64, u64, u64)>::new();
    for info in infos {
        kinds.entry((pass_name(info.pass), &info.kind)).or_default().2 += info.macs;
    }
    for Step { row, .. } in steps {
        let sum = kinds.entry((row.pass, &row.kind)).or_default();
        (sum.0, sum.1, sum.3) = (sum.0 + 1, sum.1 + row.ms / 1e3, sum.3 + row.bytes);
    }
    let total = kinds.values().map(|sum| sum.1).sum();
    let mut rows: Vec<Row> = kinds
        .iter()
        .map(|((pass, kind), (steps, seconds, macs, bytes))| {
            row(pass, kind, *steps, *seconds, total, *macs, *bytes, peak)
        })
        .collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

fn row(
    pass: &'static str,
    kind: &str,
    steps: usize,
    seconds: f64,
    total: f64,
    macs: u64,
    bytes: u64,
    peak: f64,
) -> Row {
    // A step may be too short for the clock.
    let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let flops = rate(2.0 * macs as f64);
    Row {
        pass,
        kind: kind.to_string(),
        steps,
        ms: seconds * 1e3,
        share: if total > 0.0 { seconds / total } else { 0.0 },
        gflops: flops / 1e9,
        peak_share: flops / peak,
        bytes,
        gbytes_per_second: rate(bytes as f64) / 1e9,
    }
}

fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
    }
}

/// Needed nodes of no step: they are places in other nodes' maps.
fn addresses(graph: &Graph, outputs: &[NodeId], steps: &[StepInfo]) -> Vec<String> {
    let needed = graph.needed_for(outputs);
    let mut is_computed = vec![false; needed.len()];
    steps.iter().flat_map(|step| &step.nodes).for_each(|id| is_computed[id.0] = true);
    let free = graph.ids().filter(|id| needed[id.0] && !is_computed[id.0]);
    free.map(|id| graph.node(id).name.clone()).collect()
}

fn median_seconds(times: impl Iterator<Item = Duration>) -> f64 {
    median(&times.map(|time| time.as_secs_f64()).collect::<Vec<_>>())
}

fn print(report: &Report, top: usize) {
    let shown = &report.steps[..top.min(report.steps.len())];
    let width = shown.iter().map(|step| step.name.len()).chain([4]).max().unwrap_or(4);
    println!("{:width$}  {}", "step", heading());
    shown.iter().for_each(|step| println!("{:width$}  {}", step.name, line(&step.row)));
    let rest: f64 = report.steps[shown.len()..].iter().map(|step| step.row.ms).sum();
    if shown.len() < report.steps.len() {
        println!("and {} more steps, together {rest:.3} ms", report.steps.len() - shown.len());
    }
    println!("\n{:>5}  {}", "steps", heading());
    report.kinds.iter().for_each(|row| println!("{:>5}  {}", row.steps, line(row)));
    println!(
        "\n{} of {}x{side}x{side} on {} threads ({}): median {:.2} ms, steps {:.2} ms; {:.1} of {:.1} GFLOP/s \
         ({:.0} %); {} nodes are addresses in other maps; arena {:.1} MB",
        if report.train { "forward and backward" } else { "inference" },
        report.batch,
        report.threads,
        report.isa,
        report.total_ms,
        report.steps_ms,
        report.gflops,
        report.peak_gflops,
        100.0 * report.gflops / report.peak_gflops,
        report.addresses.len(),
        report.arena_mb,
        side = report.imgsz,
    );
}

fn heading() -> String {
    format!(
        "{:<8}  {:<18}  {:>9}  {:>6}  {:>8}  {:>6}  {:>9}  {:>6}",
        "pass", "kind", "ms", "share", "GFLOP/s", "peak", "MB", "GB/s"
    )
}

fn line(row: &Row) -> String {
    format!(
        "{:<8}  {:<18}  {:>9.3}  {:>5.1}%  {:>8.1}  {:>5.0}%  {:>9.2}  {:>6.1}",
        row.pass,
        row.kind,
        row.ms,
        100.0 * row.share,
        row.gflops,
        100.0 * row.peak_share,
        row.bytes as f64 / 1e6,
        row.gbytes_per_second
    )
}
