//! `cargo xtask test`: everything that has to hold before a change lands.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Runs the check of internal edges, then all tests with their doc tests; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::edges::run()?;
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
