//! `cargo xtask grid-search`: which alpha, beta and gamma scale a baseline best on some data and budget.
//!
//! `definition` is what a search is, `latency` a stopwatch for its constraint. Accuracies come from a table
//! (`table`) or from training: `trial` says what one run is, `workers` runs them as processes of the effyolo binary,
//! `store` remembers every finished one, `training` puts these together. `report` tells the result.

mod arguments;
mod data;
mod definition;
mod latency;
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
use effnet_scaling::{AccuracyOracle, Candidate, Network, grid_search};
use latency::Latencies;
use report::Report;
use store::Store;

/// Runs the search, or joins finished ones.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    if !arguments.merge.is_empty() {
        return merge(arguments);
    }
    match arguments.oracle()? {
        OracleChoice::Table(file) => {
            arguments.note_unused();
            let definition = Definition::new(arguments, None)?;
            let mut oracle = table::read(&file)?;
            let candidates = definition.candidates(&mut Latencies::default())?;
            let total = candidates.len();
            let mine = shard::part(arguments.shard.as_deref(), candidates)?;
            finish(arguments, &definition, total, mine, &mut oracle, Vec::new())
        }
        OracleChoice::Train => train(arguments),
    }
}

fn train(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_deref().context("--out DIR is needed to keep the trials in")?;
    let training = training::Training::new(arguments)?;
    let definition = Definition::new(arguments, Some(training.settings().clone()))?;
    let store = Store::open(out, &definition, arguments.resume)?;
    let candidates = definition.candidates(&mut Latencies::kept_in(&store)?)?;
    let total = candidates.len();
    let mine = shard::part(arguments.shard.as_deref(), candidates)?;
    let trained = training.run(arguments, &store, out, mine)?;
    let mut oracle = training::StoredTrials::new(&training, &store)?;
    finish(arguments, &definition, total, trained.finalists, &mut oracle, trained.eliminated)
}

fn merge(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_deref().context("--merge: --out DIR says where the joined trials go")?;
    let (store, definition) = Store::merge(&arguments.merge, out, arguments.resume)?;
    let training = training::Training::of(&definition)?;
    let candidates = definition.candidates(&mut Latencies::kept_in(&store)?)?;
    let total = candidates.len();
    let mut oracle = training::StoredTrials::new(&training, &store)?;
    finish(arguments, &definition, total, candidates, &mut oracle, Vec::new())
}

fn finish(
    arguments: &Arguments,
    definition: &Definition,
    total: usize,
    candidates: Vec<Candidate<Network>>,
    oracle: &mut dyn AccuracyOracle<Network>,
    eliminated: Vec<training::Eliminated>,
) -> Result<()> {
    let objective = arguments.objective(definition)?;
    let outcome = grid_search(candidates, oracle, objective)?;
    Report { definition, objective, total, outcome: &outcome, eliminated: &eliminated }.write(arguments)
}
