//! `cargo xtask`: the project's chores and tools.
#![forbid(unsafe_code)]

mod edges;
mod grid_search;
mod json_file;
mod model_file;
mod scale;
mod test;

use anyhow::Result;
use clap::Parser;

/// The project's chores and tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Runs all tests, the doc tests, and the check of internal edges
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compares the crate table of ARCHITECTURE.md with what the crates depend on
    CheckEdges,
    /// The family that compound coefficients make of a baseline, and what it costs
    Scale(scale::Arguments),
    /// Searches for compound coefficients on a baseline, a data set and a budget
    GridSearch(Box<grid_search::Arguments>),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Test { arguments } => test::run(&arguments),
        Command::CheckEdges => edges::run(),
        Command::Scale(arguments) => scale::run(&arguments),
        Command::GridSearch(arguments) => grid_search::run(&arguments),
    }
}
