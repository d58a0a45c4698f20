//! `cargo xtask bench-report`: how fast this machine runs the networks, as the table of README.md.

mod measure;
mod section;
mod table;
mod works;

use crate::json_file::{is_standard_output, write_json, write_text};
use anyhow::{Context, Result};
use measure::{Effyolo, Machine};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use works::Work;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Markdown file that gets the table between its markers (`-`: the table alone on standard output); README.md of the
    /// project, unless given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Threads that compute; as many as the machine has, unless given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Runs of every work that count; the median is shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure these works alone, which are then the whole table (separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "WORK", value_parser = works::parse)]
    only: Vec<&'static Work>,
    /// The effyolo binary that is measured; that of this project in release mode, built if need be, unless given
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write one JSON object to this file (`-`: one line on standard output)
    #[arg(long)]
    json: Option<PathBuf>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    machine: Machine,
    runs: u32,
    works: Vec<Row>,
}

/// A work and what it took.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    work: &'static Work,
    median_ms: f64,
    min_ms: f64,
    gflops: f64,
    /// Of the operations a second that a loop of multiply-adds reached.
    peak_share: f64,
    /// `None` where the system does not tell.
    peak_rss_mb: Option<f64>,
}

/// Measures, then writes the table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = arguments.out.clone().unwrap_or_else(|| root().join("README.md"));
    let to_standard_output = is_standard_output(Some(&target));
    if !to_standard_output {
        // Before the minutes that measuring takes.
        section::replaced(&read(&target)?, "").with_context(|| target.display().to_string())?;
    }
    let report = measured(arguments)?;
    if let Some(json) = &arguments.json {
        write_json(json, &report)?;
    }
    let table = table::markdown(&report);
    if to_standard_output {
        return Ok(std::io::stdout().write_all(table.as_bytes())?);
    }
    let document =
        section::replaced(&read(&target)?, &table).with_context(|| target.display().to_string())?;
    // A link stays a link.
    write_text(&std::fs::canonicalize(&target)?, &document)?;
    eprintln!("wrote {}", target.display());
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project's folder")
}

fn read(target: &Path) -> Result<String> {
    std::fs::read_to_string(target).with_context(|| format!("cannot read {}", target.display()))
}

fn measured(arguments: &Arguments) -> Result<Report> {
    let effyolo = Effyolo::find(arguments.binary.as_deref(), arguments.threads)?;
    let works: Vec<&Work> =
        if arguments.only.is_empty() { works::ALL.iter().collect() } else { arguments.only.clone() };
    let before = effyolo.machine()?;
    let measured = works.into_iter().map(|work| {
        let measured = effyolo.bench(work, arguments.runs)?;
        eprintln!("{:<18} {:9.2} ms", work.name, measured.median_ms);
        Ok((work, measured))
    });
    let measured: Vec<_> = measured.collect::<Result<_>>()?;
    // Others that share the machine can only lower what a loop reaches.
    let after = effyolo.machine()?;
    let machine = if after.peak_gflops > before.peak_gflops { after } else { before };
    let row = |(work, measured): (&'static Work, measure::Measured)| Row {
        work,
        median_ms: measured.median_ms,
        min_ms: measured.min_ms,
        gflops: measured.gflops,
        peak_share: measured.gflops / machine.peak_gflops,
        peak_rss_mb: measured.peak_rss_mb,
    };
    let works = measured.into_iter().map(row).collect();
    Ok(Report { machine, runs: arguments.runs, works })
}
