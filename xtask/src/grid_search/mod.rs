//! `cargo xtask grid-search`: which alpha, beta and gamma scale a baseline best on some data and budget.
//!
//! `definition` is what a search is, `latency` a stopwatch for its constraint. Accuracies come from a table
//! (`table`) or from training: `trial` says what one run is, `workers` runs them as processes of the effyolo binary,
//! `store` remembers every finished one, `training` puts these together. `report` tells the result, with `plots` and
//! `html`; `curves` compares single dimensions with the answer.

mod arguments;
mod curves;
mod data;
mod definition;
mod html;
mod latency;
mod plots;
mod proxy;
mod report;
mod shard;
mod store;
mod table;
mod training;
mod trial;
mod workers;

pub(crate) use arguments::Arguments;

use anyhow::{Context, Result};
use arguments::OracleChoice;
use definition::Definition;
use effnet_scaling::grid_search;
use latency::Latencies;
use report::Report;
use std::path::Path;
use store::Store;
use training::StoredTrials;

/// Runs the search, or joins finished ones.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    if !arguments.merge.is_empty() {
        return merge(arguments);
    }
    match arguments.oracle()? {
        OracleChoice::Table(file) => look_up(arguments, &file),
        OracleChoice::Train => train(arguments),
    }
}

fn look_up(arguments: &Arguments, file: &Path) -> Result<()> {
    arguments.note_unused();
    let definition = Definition::new(arguments, None)?;
    let mut oracle = table::read(file)?;
    let candidates = definition.candidates(&mut Latencies::default())?;
    let total = candidates.len();
    let mine = shard::part(arguments.shard.as_deref(), candidates)?;
    let objective = arguments.objective(&definition)?;
    let outcome = grid_search(mine, &mut oracle, objective)?;
    Report { definition: &definition, objective, total, outcome: &outcome, eliminated: &[], curves: &[] }
        .write(arguments)
}

fn train(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_deref().context("--out DIR is needed to keep the trials in")?;
    let training = training::Training::new(arguments)?;
    let definition = Definition::new(arguments, Some(training.settings().clone()))?;
    let store = Store::open(out, &definition, arguments.resume)?;
    let candidates = definition.candidates(&mut Latencies::kept_in(&store)?)?;
    let objective = arguments.objective(&definition)?;
    let total = candidates.len();
    let mine = shard::part(arguments.shard.as_deref(), candidates)?;
    let trained = training.run(arguments, &store, out, mine)?;
    let mut oracle = StoredTrials::new(&training, &store)?;
    let outcome = grid_search(trained.finalists, &mut oracle, objective)?;
    training.tell_if_nothing_is_learnt(outcome.best().accuracy.mean);
    let mut curves = Vec::new();
    if !arguments.curves.is_empty() {
        let planned = curves::plan(&definition, outcome.best().candidate.coefficients, &arguments.curves)?;
        let candidates: Vec<_> = planned.iter().map(|point| point.candidate.clone()).collect();
        training.run_all(arguments, &store, out, &candidates)?;
        curves = curves::judge(planned, &mut StoredTrials::new(&training, &store)?);
    }
    let eliminated = &trained.eliminated;
    Report { definition: &definition, objective, total, outcome: &outcome, eliminated, curves: &curves }
        .write(arguments)
}

fn merge(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_deref().context("--merge: --out DIR says where the joined trials go")?;
    let (store, definition) = Store::merge(&arguments.merge, out, arguments.resume)?;
    let training = training::Training::of(&definition)?;
    let candidates = definition.candidates(&mut Latencies::kept_in(&store)?)?;
    let total = candidates.len();
    let objective = arguments.objective(&definition)?;
    let outcome = grid_search(candidates, &mut StoredTrials::new(&training, &store)?, objective)?;
    Report { definition: &definition, objective, total, outcome: &outcome, eliminated: &[], curves: &[] }
        .write(arguments)
}
