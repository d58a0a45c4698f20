//! Trains, validates and runs YOLOv8 detectors with EfficientNet backbones.
#![forbid(unsafe_code)]

mod class_pictures;
mod classes;
mod commands;
mod curves;
mod data;
mod demo;
mod drawing;
mod dtype;
mod interrupt;
mod network;
mod output;
mod pictures;
mod progress;
mod report;
mod sources;
mod weights_folder;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use commands::{bench, demo as demo_command, info, predict, profile, summary, train, val, weights};
use std::process::ExitCode;

/// Train, validate and run YOLOv8 detectors with EfficientNet backbones, on the CPU.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads that compute; as many as the machine has, unless given.
    #[arg(long, global = true)]
    threads: Option<usize>,
}

#[derive(Subcommand)]
enum Command {
    /// Draw a small data set, train a detector on it, and show what it finds.
    Demo(demo_command::Arguments),
    /// Train a detector or a classifier.
    Train(train::Arguments),
    /// Measure how well trained weights do on labelled images.
    Val(val::Arguments),
    /// Find objects in images, or tell what they show.
    Predict(predict::Arguments),
    /// List a network's layers, parameters and multiply-adds.
    Summary(summary::Arguments),
    /// Time a network.
    Bench(bench::Arguments),
    /// Show where a network's time goes, step by step.
    Profile(profile::Arguments),
    /// Fetch pretrained weights by name, list and verify them.
    Weights(weights::Arguments),
    /// Say what this machine offers.
    Info(info::Arguments),
}

fn main() -> ExitCode {
    // A reader that has seen enough (`| head`) ends the program quietly.
    sigpipe::reset();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let threads = match cli.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("starting threads")?;
    match cli.command {
        Command::Demo(arguments) => demo_command::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Val(arguments) => val::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Summary(arguments) => summary::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments, threads),
        Command::Profile(arguments) => profile::run(&arguments, threads),
        Command::Weights(arguments) => weights::run(&arguments),
        Command::Info(arguments) => info::run(&arguments, threads),
    }
}
