//! `cargo xtask scale`: the family that compound coefficients make of a baseline.

use crate::baseline::{BaselineArguments, ChosenBaseline};
use crate::json_file::{is_standard_output, write_json};
use crate::model_file::{self, ModelTemplate};
use crate::network_graph::graph_cost;
use anyhow::{Context, Result, bail, ensure};
use effnet_backbone::GraphCost;
use effnet_scaling::{
    ActivationBytes, Baseline, CompoundCoefficients, CostModel, Dimension, NamedBaseline, Network,
    ScaledNetwork, Scaling, Variant, phi_ladder, single_dimension,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most members of a family.
const LONGEST: usize = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    baseline: BaselineArguments,
    /// Base of the depth
    #[arg(long, allow_hyphen_values = true)]
    alpha: f64,
    /// Base of the width
    #[arg(long, allow_hyphen_values = true)]
    beta: f64,
    /// Base of the resolution
    #[arg(long, allow_hyphen_values = true)]
    gamma: f64,
    /// Exponents: `0..7` (both ends included, in steps of 1), `2`, or `0,0.5,1`
    #[arg(long, default_value = "0..7", allow_hyphen_values = true)]
    phi: String,
    /// Also show the networks of the same cost that grow in one dimension alone
    #[arg(long)]
    single: bool,
    /// Write a configuration for `effyolo train --model` of every member to this folder
    #[arg(long)]
    configs: Option<PathBuf>,
    /// Configuration that is scaled by --configs; one that says nothing but the baseline, unless given
    #[arg(long, requires = "configs")]
    model: Option<PathBuf>,
    /// Write one JSON object to this file (`-`: one line on standard output)
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Family {
    baseline: String,
    #[serde(flatten)]
    coefficients: CompoundCoefficients,
    cost_factor: f64,
    resolution_divisor: usize,
    classes: usize,
    family: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    phi: f64,
    #[serde(flatten)]
    network: Row,
    published: Option<Published>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    single: Vec<Single>,
}

/// A network and what it costs.
#[derive(Serialize)]
struct Row {
    depth: f64,
    width: f64,
    channels: Vec<usize>,
    repeats: Vec<usize>,
    resolution: usize,
    params: u64,
    macs: u64,
    cost_ratio: f64,
    activation_bytes: ActivationBytes,
}

#[derive(Serialize)]
struct Published {
    name: &'static str,
    #[serde(flatten)]
    network: Row,
}

#[derive(Serialize)]
struct Single {
    dimension: Dimension,
    /// `null` where even 64 times the dimension costs less.
    network: Option<Row>,
}

/// Prints the family, or writes it as JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let chosen = arguments.baseline.resolve()?;
    let family = family(arguments, &chosen)?;
    if let Some(folder) = &arguments.configs {
        write_configs(arguments, &chosen, folder, &family)?;
    }
    if let Some(target) = &arguments.json {
        write_json(target, &family)?;
    }
    if !is_standard_output(arguments.json.as_deref()) {
        print(&family);
    }
    Ok(())
}

fn family(arguments: &Arguments, chosen: &ChosenBaseline) -> Result<Family> {
    let ChosenBaseline { baseline, resolution_divisor, classes } = chosen;
    let coefficients = CompoundCoefficients::new(arguments.alpha, arguments.beta, arguments.gamma)?;
    let phis = parse_phis(&arguments.phi).with_context(|| format!("--phi {}", arguments.phi))?;
    let mut counter = Counter::new(chosen, arguments.single)?;
    let ladder = phi_ladder(baseline, coefficients, &phis, *resolution_divisor)?;
    let members = phis.iter().zip(&ladder).map(|(&phi, scaled)| counter.member(phi, scaled));
    Ok(Family {
        baseline: baseline.name().into(),
        coefficients,
        cost_factor: coefficients.cost_factor(),
        resolution_divisor: *resolution_divisor,
        classes: *classes,
        family: members.collect::<Result<_>>()?,
    })
}

/// `a..b` with both ends in steps of 1, a list, or a number.
pub(crate) fn parse_phis(text: &str) -> Result<Vec<f64>> {
    let number = |text: &str| -> Result<f64> {
        let value: f64 = text.trim().parse().with_context(|| format!("`{text}` is no number"))?;
        ensure!(value.is_finite(), "expected a finite number, got {value}");
        Ok(value)
    };
    let Some((first, last)) = text.split_once("..") else { return text.split(',').map(number).collect() };
    let (first, last) = (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?);
    if first > last {
        bail!("expected the smaller end first");
    }
    let steps = last - first;
    ensure!(steps < LONGEST as f64, "expected at most {LONGEST} exponents");
    Ok((0..=(steps + 1e-9) as usize).map(|i| first + i as f64).collect())
}

/// Counts networks against their baseline.
struct Counter<'a> {
    baseline: &'a NamedBaseline,
    cost: GraphCost,
    divisor: usize,
    base_macs: f64,
    single: bool,
}

impl<'a> Counter<'a> {
    fn new(chosen: &'a ChosenBaseline, single: bool) -> Result<Self> {
        let ChosenBaseline { baseline, resolution_divisor, classes } = chosen;
        let divisor = *resolution_divisor;
        let mut cost = graph_cost(*classes);
        let base = ScaledNetwork::new(baseline, Scaling::ONE, divisor)?;
        let counted = cost.footprint(&base.network, base.resolution).map_err(anyhow::Error::from_boxed)?;
        Ok(Counter { baseline, cost, divisor, base_macs: counted.cost.macs as f64, single })
    }

    fn member(&mut self, phi: f64, scaled: &ScaledNetwork<Network>) -> Result<Member> {
        let network = self.row(scaled)?;
        let published = published(self.baseline, phi).map(|variant| self.published(variant)).transpose()?;
        let single = if self.single { self.singles(network.macs)? } else { Vec::new() };
        Ok(Member { phi, network, published, single })
    }

    fn row(&mut self, scaled: &ScaledNetwork<Network>) -> Result<Row> {
        let counted = self.cost.footprint(&scaled.network, scaled.resolution);
        let footprint = counted.map_err(anyhow::Error::from_boxed)?;
        Ok(Row {
            depth: scaled.scaling.depth,
            width: scaled.scaling.width,
            channels: scaled.network.channels(),
            repeats: scaled.network.repeats(),
            resolution: scaled.resolution,
            params: footprint.cost.params,
            macs: footprint.cost.macs,
            cost_ratio: footprint.cost.macs as f64 / self.base_macs,
            activation_bytes: footprint.activations,
        })
    }

    fn published(&mut self, variant: Variant) -> Result<Published> {
        let network = Network::EfficientNet(variant.network()).into();
        let scaling = Scaling { depth: variant.depth, width: variant.width, resolution: 1.0 };
        let scaled = ScaledNetwork { scaling, network, resolution: variant.resolution };
        Ok(Published { name: variant.name, network: self.row(&scaled)? })
    }

    fn singles(&mut self, macs: u64) -> Result<Vec<Single>> {
        let mut one = |dimension| {
            let cost: &mut dyn CostModel<Network> = &mut self.cost;
            let found = single_dimension(self.baseline, dimension, macs as f64, self.divisor, cost)?;
            Ok(Single { dimension, network: found.map(|scaled| self.row(&scaled)).transpose()? })
        };
        Dimension::ALL.into_iter().map(&mut one).collect()
    }
}

/// The published member that stands at `phi`: B0 to B8 and Lite0 to Lite4 at whole numbers.
fn published(baseline: &NamedBaseline, phi: f64) -> Option<Variant> {
    let stem = match baseline.name() {
        "b0" => "b",
        "lite0" => "lite",
        _ => return None,
    };
    Variant::find(&format!("{stem}{phi}")).ok()
}

fn write_configs(
    arguments: &Arguments,
    chosen: &ChosenBaseline,
    folder: &Path,
    family: &Family,
) -> Result<()> {
    let ChosenBaseline { baseline, classes, .. } = chosen;
    let template = match &arguments.model {
        Some(path) => ModelTemplate::load(path, baseline),
        None => ModelTemplate::plain(baseline, *classes),
    };
    let template = template.context("--configs")?;
    let phis: Vec<f64> = family.family.iter().map(|member| member.phi).collect();
    let files = model_file::Family {
        template: &template,
        coefficients: family.coefficients,
        resolution_divisor: chosen.resolution_divisor,
    };
    files.write(folder, &phis)?;
    Ok(())
}

fn print(family: &Family) {
    println!(
        "{}, {}: alpha * beta^2 * gamma^2 = {:.4}; multiply-adds (FLOPs are twice that) with {} classes",
        family.baseline, family.coefficients, family.cost_factor, family.classes
    );
    println!(
        "{:>5} {:>7} {:>7} {:>5} {:>8} {:>9} {:>7} {:>8}  channels | repeats",
        "phi", "depth", "width", "side", "params M", "MACs G", "x base", "peak MB"
    );
    for member in &family.family {
        print_row(&format!("{}", member.phi), &member.network);
        if let Some(published) = &member.published {
            print_row(published.name, &published.network);
        }
        for single in &member.single {
            match &single.network {
                Some(network) => print_row(&short(single.dimension), network),
                None => println!("{:>5} beyond 64 times", short(single.dimension)),
            }
        }
    }
}

fn short(dimension: Dimension) -> String {
    format!("{}.", &dimension.to_string()[..1])
}

fn print_row(label: &str, row: &Row) {
    let list = |values: &[usize]| values.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    println!(
        "{label:>5} {:>7.3} {:>7.3} {:>5} {:>8.2} {:>9.3} {:>7.2} {:>8.1}  {} | {}",
        row.depth,
        row.width,
        row.resolution,
        row.params as f64 / 1e6,
        row.macs as f64 / 1e9,
        row.cost_ratio,
        row.activation_bytes.peak as f64 / 1e6,
        list(&row.channels),
        list(&row.repeats)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_a_range_with_both_ends_a_list_or_a_number() {
        assert_eq!(parse_phis("0..3").unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(parse_phis("0.5..2").unwrap(), [0.5, 1.5]);
        assert_eq!(parse_phis("2").unwrap(), [2.0]);
        assert_eq!(parse_phis("0,0.5,1").unwrap(), [0.0, 0.5, 1.0]);
        for wrong in ["3..0", "a", "", "0..", "0..1e9", "nan", "1,,2"] {
            assert!(parse_phis(wrong).is_err(), "{wrong}");
        }
    }
}
