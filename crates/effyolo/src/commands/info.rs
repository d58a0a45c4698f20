//! `effyolo info`: what this machine offers.

use crate::output;
use anyhow::Result;
use net_cpu::{Isa, Precision, conv_block, flops_per_second};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure the most that a loop of multiply-adds reaches, on one thread and on all.
    #[arg(long)]
    peak: bool,
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
    avx512_bf16: bool,
    threads: usize,
    kernels: Vec<Kernel>,
    caches: Vec<Cache>,
    peak_gflops: Option<Peak>,
}

/// What runs an operation.
#[derive(Serialize)]
struct Kernel {
    operations: &'static str,
    family: String,
}

/// A cache as the system describes it for the first core.
#[derive(Serialize)]
struct Cache {
    level: u32,
    kind: String,
    kilobytes: u64,
}

/// GFLOP/s.
#[derive(Serialize)]
struct Peak {
    one_thread: f64,
    all_threads: f64,
}

pub(crate) fn run(arguments: &Arguments, threads: usize) -> Result<()> {
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        cpu: cpu_name(),
        isa: Isa::best().name(),
        available_isas: Isa::available().iter().map(|isa| isa.name()).collect(),
        avx512_bf16: Isa::best().multiplies_bf16(),
        threads,
        kernels: kernels(Isa::best()),
        caches: caches(),
        peak_gflops: arguments.peak.then(|| peak(Isa::best(), threads)),
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &info)?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        println!("effyolo {} on {} ({})", info.version, info.os, info.architecture);
        println!("CPU              {}", info.cpu.as_deref().unwrap_or("unknown"));
        println!("instruction set  {} (of {})", info.isa, info.available_isas.join(", "));
        println!("avx512_bf16      {}", if info.avx512_bf16 { "yes" } else { "no" });
        println!("threads          {threads}");
        for Cache { level, kind, kilobytes } in &info.caches {
            println!("cache            L{level} {kind}, {kilobytes} KB");
        }
        for Kernel { operations, family } in &info.kernels {
            println!("kernels          {operations}: {family}");
        }
        if let Some(Peak { one_thread, all_threads }) = &info.peak_gflops {
            println!("peak             {one_thread:.1} GFLOP/s on one thread, {all_threads:.1} on {threads}");
        }
    }
    Ok(())
}

/// The processor's name, where the system tells it in a file.
fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

fn kernels(isa: Isa) -> Vec<Kernel> {
    let (rows, columns) = conv_block(isa);
    let made = if isa.has_own_vectors() { "written for" } else { "compiled for" };
    let name = isa.name();
    vec![
        Kernel {
            operations: "dense convolution, linear",
            family: format!("blocks of {rows} x {columns} sums in registers, {made} {name}"),
        },
        Kernel {
            operations: "dense convolution, linear with --dtype bf16",
            family: match isa.multiplies_bf16() {
                true => format!("pairs of values, {}", Precision::Bf16.kernel_name(isa)),
                false => "values rounded to bf16, multiplied as in f32".to_string(),
            },
        },
        Kernel { operations: "depthwise convolution", family: format!("vectors of channels, {made} {name}") },
        Kernel {
            operations: "norm, activation, gate, pool, upsample, decode, optimiser",
            family: format!("loops compiled for {name}"),
        },
    ]
}

fn peak(isa: Isa, threads: usize) -> Peak {
    let gflops = |threads| flops_per_second(isa, threads) / 1e9;
    Peak { one_thread: gflops(1), all_threads: gflops(threads) }
}

/// Empty where the system does not tell in files.
fn caches() -> Vec<Cache> {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    (0..).map_while(|index| cache(&folder.join(format!("index{index}")))).collect()
}

fn cache(folder: &std::path::Path) -> Option<Cache> {
    let read =
        |name: &str| std::fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_string());
    Some(Cache {
        level: read("level")?.parse().ok()?,
        kind: read("type")?.to_lowercase(),
        kilobytes: read("size")?.strip_suffix('K')?.parse().ok()?,
    })
}
