//! `cargo xtask test`: everything that has to hold before a change lands.

mod python;

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also runs the checks of tests/python with this interpreter, which needs the packages of its requirements.txt
    #[arg(long, value_name = "PYTHON")]
    with_python: Option<PathBuf>,
    /// Passed on to `cargo test`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the check of internal edges, then all tests with their doc tests.
pub(crate) fn run(Arguments { with_python, arguments }: &Arguments) -> Result<()> {
    crate::edges::run()?;
    if let Some(python) = with_python {
        python::run(python)?;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // `--tests` leaves out the benches, which are compiled by clippy and run by `cargo bench`.
    for targets in [&["--lib", "--bins", "--tests", "--examples"][..], &["--doc"]] {
        let mut command = Command::new(&cargo);
        command.args(["test", "--workspace", "--all-features"]).args(targets).args(arguments);
        let status = command.status().with_context(|| format!("cannot start {cargo}"))?;
        ensure!(status.success(), "cargo test {} failed", targets.join(" "));
    }
    Ok(())
}
