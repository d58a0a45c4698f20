//! The result of a search: a table, JSON, and in --out a report with plots and the configurations it leads to.

use super::arguments::Arguments;
use super::curves::CurvePoint;
use super::definition::Definition;
use super::training::Eliminated;
use super::{html, plots};
use crate::json_file::{is_standard_output, write_json, write_text};
use crate::model_file::{Family, ModelTemplate};
use crate::network_graph::graph_cost;
use anyhow::Result;
use effnet_scaling::{
    ActivationBytes, BrokenTrial, CompoundCoefficients, Network, Objective, SearchOutcome, Trial,
};
use serde::ser::{Error, SerializeSeq};
use serde::{Serialize, Serializer};
use std::fmt::Write;
use std::path::Path;

/// Messages about single candidates on the terminal; all are in the JSON.
const TOLD: usize = 10;

/// Configurations are written up to this phi.
const LARGEST_PHI: u8 = 7;

/// A finished search.
pub(super) struct Report<'a> {
    pub(super) definition: &'a Definition,
    pub(super) objective: Objective,
    /// Candidates that meet the constraint, of all shards.
    pub(super) total: usize,
    pub(super) outcome: &'a SearchOutcome<Network>,
    pub(super) eliminated: &'a [Eliminated],
    pub(super) curves: &'a [CurvePoint],
}

#[derive(Serialize)]
struct Json<'a> {
    candidates: usize,
    best: Best,
    objective: Objective,
    definition: &'a Definition,
    trials: Rows<'a>,
    broken: &'a [BrokenTrial],
    unknown: &'a [CompoundCoefficients],
    eliminated: &'a [Eliminated],
    curves: &'a [CurvePoint],
}

#[derive(Serialize)]
struct Best {
    #[serde(flatten)]
    coefficients: CompoundCoefficients,
    score: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    coefficients: CompoundCoefficients,
    accuracy: f64,
    standard_error: Option<f64>,
    runs: usize,
    score: Option<f64>,
    cost_factor: f64,
    cost: f64,
    cost_ratio: f64,
    resolution: usize,
    front: bool,
}

/// A trial with what is counted of its network.
#[derive(Serialize)]
struct CountedRow {
    #[serde(flatten)]
    row: Row,
    params: u64,
    macs: u64,
    activation_bytes: ActivationBytes,
}

/// All trials; a million rows are written one by one.
struct Rows<'a> {
    outcome: &'a SearchOutcome<Network>,
    classes: usize,
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cost = graph_cost(self.classes);
        let mut list = serializer.serialize_seq(Some(self.outcome.trials.len()))?;
        for (trial, front) in self.outcome.trials.iter().zip(front_marks(self.outcome)) {
            let scaled = &trial.candidate.scaled;
            let footprint = cost.footprint(&scaled.network, scaled.resolution).map_err(S::Error::custom)?;
            list.serialize_element(&CountedRow {
                row: row(trial, front),
                params: footprint.cost.params,
                macs: footprint.cost.macs,
                activation_bytes: footprint.activations,
            })?;
        }
        list.end()
    }
}

fn row(trial: &Trial<Network>, front: bool) -> Row {
    let candidate = &trial.candidate;
    Row {
        coefficients: candidate.coefficients,
        accuracy: trial.accuracy.mean,
        standard_error: trial.accuracy.standard_error,
        runs: trial.accuracy.runs,
        score: trial.score,
        cost_factor: candidate.coefficients.cost_factor(),
        cost: candidate.cost,
        cost_ratio: candidate.cost_ratio,
        resolution: candidate.scaled.resolution,
        front,
    }
}

/// For each trial: is it on the front?
fn front_marks(outcome: &SearchOutcome<Network>) -> Vec<bool> {
    let mut marks = vec![false; outcome.trials.len()];
    outcome.front.iter().for_each(|&index| marks[index] = true);
    marks
}

/// Trials whose accuracy differs from the best one's by at most two standard errors of the difference; `None` where the
/// best has no standard error.
fn within_noise(outcome: &SearchOutcome<Network>) -> Option<usize> {
    let best = outcome.best().accuracy;
    let error = best.standard_error?;
    let close = |trial: &&Trial<Network>| {
        let other = trial.accuracy.standard_error.unwrap_or(0.0);
        (best.mean - trial.accuracy.mean).abs() <= 2.0 * error.hypot(other)
    };
    Some(outcome.trials[1..].iter().filter(close).count())
}

impl Report<'_> {
    pub(super) fn write(&self, arguments: &Arguments) -> Result<()> {
        self.tell_problems();
        if let Some(target) = &arguments.json {
            write_json(target, &self.json())?;
        }
        if !is_standard_output(arguments.json.as_deref()) {
            print!("{}", self.table(arguments.top));
        }
        match &arguments.out {
            Some(out) => self.write_folder(arguments, out),
            None => Ok(()),
        }
    }

    /// Plots, report, JSON and the configurations of the answer.
    fn write_folder(&self, arguments: &Arguments, out: &Path) -> Result<()> {
        let plots = plots::all(self.outcome, self.curves)?;
        for plot in &plots {
            write_text(&out.join("plots").join(format!("{}.svg", plot.name)), &plot.svg)?;
        }
        write_text(&out.join("report.html"), &html::page(self, &plots)?)?;
        write_json(&out.join("results.json"), &self.json())?;
        self.write_configs(arguments, &out.join("configs"))?;
        eprintln!("report: {}", out.join("report.html").display());
        Ok(())
    }

    /// The answer at phi 0, 1 ... 7, as far as a configuration can be that large. Only EfficientNets and detectors over
    /// them have one.
    fn write_configs(&self, arguments: &Arguments, folder: &Path) -> Result<()> {
        let baseline = self.definition.baseline()?;
        if baseline.variant().is_none() {
            return Ok(());
        }
        let training = self.definition.training.as_ref();
        let trained_model = training.and_then(|training| training.model.as_deref());
        let classes = training.and_then(|training| training.classes).unwrap_or(self.definition.classes);
        let template = match (trained_model, &arguments.model) {
            (Some(text), _) => ModelTemplate::parse(text, &baseline)?,
            (None, Some(path)) => ModelTemplate::load(path, &baseline)?,
            (None, None) => ModelTemplate::plain(&baseline, classes)?,
        };
        let family = Family {
            template: &template,
            coefficients: self.outcome.best().candidate.coefficients,
            resolution_divisor: self.definition.resolution_divisor,
        };
        for phi in 0..=LARGEST_PHI {
            if let Err(error) = family.write(folder, &[f64::from(phi)]) {
                eprintln!("note: no configuration from phi {phi} on: {error:#}");
                break;
            }
        }
        Ok(())
    }

    fn json(&self) -> Json<'_> {
        let best = self.outcome.best();
        Json {
            candidates: self.total,
            best: Best { coefficients: best.candidate.coefficients, score: best.score },
            objective: self.objective,
            definition: self.definition,
            trials: Rows { outcome: self.outcome, classes: self.definition.classes },
            broken: &self.outcome.broken,
            unknown: &self.outcome.unknown,
            eliminated: self.eliminated,
            curves: self.curves,
        }
    }

    fn tell_problems(&self) {
        let broken = &self.outcome.broken;
        for trial in broken.iter().take(TOLD) {
            eprintln!("broken trial: {}: {}", trial.coefficients, trial.reason);
        }
        if broken.len() > TOLD {
            eprintln!("... and {} more broken trials", broken.len() - TOLD);
        }
        let unknown = &self.outcome.unknown;
        for coefficients in unknown.iter().take(TOLD) {
            eprintln!("passed over, no accuracy known: {coefficients}");
        }
        if unknown.len() > TOLD {
            eprintln!("... and {} more without a known accuracy", unknown.len() - TOLD);
        }
    }

    /// The best trials, ranked.
    pub(super) fn table(&self, top: usize) -> String {
        let mut text = String::new();
        let outcome = self.outcome;
        let line = "rank  alpha   beta  gamma  product  x cost  side  accuracy  std.err  runs     score";
        let _ = writeln!(text, "{line}");
        for (rank, (trial, front)) in outcome.trials.iter().zip(front_marks(outcome)).take(top).enumerate() {
            let row = row(trial, front);
            let CompoundCoefficients { alpha, beta, gamma } = row.coefficients;
            let optional = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
            let _ = writeln!(
                text,
                "{:>4}{} {alpha:>6} {beta:>6} {gamma:>6} {:>8.4} {:>7.3} {:>5} {:>9.4} {:>8} {:>5} {:>9}",
                rank + 1,
                if front { '*' } else { ' ' },
                row.cost_factor,
                row.cost_ratio,
                row.resolution,
                row.accuracy,
                optional(row.standard_error),
                row.runs,
                optional(row.score),
            );
        }
        let _ = writeln!(
            text,
            "{} candidates: {} judged, {} broken, {} unknown, {} eliminated; * nothing is better in both accuracy and \
             cost",
            self.total,
            outcome.trials.len(),
            outcome.broken.len(),
            outcome.unknown.len(),
            self.eliminated.len()
        );
        let best = outcome.best();
        let _ = writeln!(text, "best: {}", best.candidate.coefficients);
        if let Some(count) = within_noise(outcome) {
            let _ = writeln!(text, "{count} others lie within two standard errors of it");
        }
        text
    }
}
