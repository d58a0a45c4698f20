//! `effyolo info`: what this machine offers.

use crate::output;
use anyhow::Result;
use net_cpu::Isa;
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    os: &'static str,
    architecture: &'static str,
    cpu: Option<String>,
    isa: &'static str,
    available_isas: Vec<&'static str>,
    threads: usize,
}

pub(crate) fn run(arguments: &Arguments, threads: usize) -> Result<()> {
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        cpu: cpu_name(),
        isa: Isa::best().name(),
        available_isas: Isa::available().iter().map(|isa| isa.name()).collect(),
        threads,
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &info)?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        println!("effyolo {} on {} ({})", info.version, info.os, info.architecture);
        println!("CPU              {}", info.cpu.as_deref().unwrap_or("unknown"));
        println!("instruction set  {} (of {})", info.isa, info.available_isas.join(", "));
        println!("threads          {threads}");
    }
    Ok(())
}

/// The processor's name, where the system tells it in a file.
fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}
