//! `effyolo summary`: a network's layers and cost.

use crate::output;
use anyhow::Result;
use effyolo_config::ModelSpec;
use net_graph::{Cost, LayerCost};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Model configuration.
    #[arg(long)]
    model: PathBuf,
    /// Side of the square image in pixels; the configuration's, unless given.
    #[arg(long)]
    imgsz: Option<usize>,
    /// Number of classes; the configuration's, unless given.
    #[arg(long)]
    classes: Option<usize>,
    /// Write one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary<'a> {
    params: u64,
    macs: u64,
    layers: Vec<Layer<'a>>,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    kind: &'static str,
    shape: [usize; 4],
    params: u64,
    macs: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let spec = ModelSpec::load(&arguments.model)?;
    spec.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let graph = spec.build(arguments.classes)?.graph;
    let side = arguments.imgsz.unwrap_or(spec.train.image_size);
    let shapes = graph.shapes(1, side, side)?;
    let (layers, total) = (graph.layer_costs(&shapes), graph.cost(&shapes));
    if let Some(target) = &arguments.json {
        output::write_json(target, &summary(&layers, total))?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        print_table(&layers, total, side);
    }
    Ok(())
}

fn summary(layers: &[LayerCost], total: Cost) -> Summary<'_> {
    let layers = layers.iter().map(|layer| Layer {
        name: &layer.name,
        kind: layer.kind,
        shape: layer.shape.dims(),
        params: layer.cost.params,
        macs: layer.cost.macs,
    });
    Summary { params: total.params, macs: total.macs, layers: layers.collect() }
}

fn print_table(layers: &[LayerCost], total: Cost, side: usize) {
    let width = layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
    println!("{:width$}  {:<16}  {:>18}  {:>10}  {:>14}", "layer", "kind", "shape", "params", "MACs");
    for LayerCost { name, kind, shape, cost } in layers {
        println!(
            "{name:width$}  {kind:<16}  {:>18}  {:>10}  {:>14}",
            shape.to_string(),
            cost.params,
            cost.macs
        );
    }
    let (mega, giga) = (total.params as f64 / 1e6, total.macs as f64 / 1e9);
    println!(
        "{} layers, {} parameters ({mega:.2} M), {} multiply-adds at {side}x{side} ({giga:.3} G; {:.3} GFLOPs, counting two for each)",
        layers.len(),
        total.params,
        total.macs,
        2.0 * giga
    );
}
