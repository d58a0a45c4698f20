//! `cargo xtask`: the project's chores and tools.
#![forbid(unsafe_code)]

mod baseline;
mod bench_report;
mod convert_weights;
mod edges;
mod grid_search;
mod json_file;
mod model_file;
mod network_graph;
mod scale;
mod test;

use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

/// The project's chores and tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Runs all tests, the doc tests, and the check of internal edges
    Test(test::Arguments),
    /// Compares the crate table of ARCHITECTURE.md with what the crates depend on
    CheckEdges,
    /// Converts EfficientNet weights of other frameworks to safetensors with timm's names
    ConvertWeights(convert_weights::Arguments),
    /// The family that compound coefficients make of a baseline, and what it costs
    Scale(scale::Arguments),
    /// Measures whole networks and writes the table of README.md
    BenchReport(bench_report::Arguments),
    /// Searches for compound coefficients on a baseline, a data set and a budget
    GridSearch(Box<grid_search::Arguments>),
}

fn main() -> ExitCode {
    run(Command::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Test(arguments) => test::run(&arguments)?,
        Command::CheckEdges => edges::run()?,
        Command::ConvertWeights(arguments) => return convert_weights::run(&arguments),
        Command::BenchReport(arguments) => bench_report::run(&arguments)?,
        Command::Scale(arguments) => scale::run(&arguments)?,
        Command::GridSearch(arguments) => grid_search::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
