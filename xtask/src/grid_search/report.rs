//! The result of a search: a table, JSON, and in --out a report with plots and the configurations it leads to.

use super::arguments::Arguments;
use super::definition::Definition;
use super::training::Eliminated;
use crate::json_file::{is_standard_output, write_json};
use anyhow::Result;
use effnet_scaling::{BrokenTrial, CompoundCoefficients, Network, Objective, SearchOutcome, Trial};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// Messages about single candidates on the terminal; all are in the JSON.
const TOLD: usize = 10;

/// A finished search.
pub(super) struct Report<'a> {
    pub(super) definition: &'a Definition,
    pub(super) objective: Objective,
    /// Candidates that meet the constraint, of all shards.
    pub(super) total: usize,
    pub(super) outcome: &'a SearchOutcome<Network>,
    pub(super) eliminated: &'a [Eliminated],
}

#[derive(Serialize)]
struct Json<'a> {
    candidates: usize,
    best: Best,
    objective: Objective,
    definition: &'a Definition,
    #[serde(serialize_with = "rows")]
    trials: &'a SearchOutcome<Network>,
    broken: &'a [BrokenTrial],
    unknown: &'a [CompoundCoefficients],
    eliminated: &'a [Eliminated],
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

fn rows<S: Serializer>(outcome: &&SearchOutcome<Network>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(outcome.trials.len()))?;
    for (trial, front) in outcome.trials.iter().zip(front_marks(outcome)) {
        list.serialize_element(&row(trial, front))?;
    }
    list.end()
}

/// For each trial: is it on the front?
fn front_marks(outcome: &SearchOutcome<Network>) -> Vec<bool> {
    let mut marks = vec![false; outcome.trials.len()];
    outcome.front.iter().for_each(|&index| marks[index] = true);
    marks
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
        Ok(())
    }

    fn json(&self) -> Json<'_> {
        let best = self.outcome.best();
        Json {
            candidates: self.total,
            best: Best { coefficients: best.candidate.coefficients, score: best.score },
            objective: self.objective,
            definition: self.definition,
            trials: self.outcome,
            broken: &self.outcome.broken,
            unknown: &self.outcome.unknown,
            eliminated: self.eliminated,
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
        text
    }
}
