//! `effyolo demo`: draws a data set, trains a small detector on it, and shows what came out.

use super::train;
use crate::demo::{SPLITS, write_data_set};
use anyhow::Result;
use effyolo_config::ModelSpec;
use std::path::PathBuf;
use std::time::Instant;
use yolo_train::new_run_folder;

/// The model, as it lies in the sources.
const MODEL: &str = include_str!("../../../../configs/detect/demo.yaml");

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seed of the pictures and of the training.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Passes over the training images.
    #[arg(long)]
    epochs: Option<usize>,
    /// Folder that the demo's folder is made in.
    #[arg(long, default_value = "runs")]
    project: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let folder = new_run_folder(&arguments.project, "demo", |folder| {
        write_data_set(&folder.join("data"), arguments.seed)?;
        Ok::<(), anyhow::Error>(yolo_train::write_atomically(&folder.join("model.yaml"), MODEL.as_bytes())?)
    })?;
    let counts = SPLITS.map(|(name, count)| format!("{count} for {name}"));
    eprintln!("{}: {} pictures drawn", folder.join("data").display(), counts.join(", "));
    let model = folder.join("model.yaml");
    let mut spec = ModelSpec::load(&model)?;
    let mut settings = vec![format!("seed={}", arguments.seed)];
    settings.extend(arguments.epochs.map(|epochs| format!("epochs={epochs}")));
    spec.set(&settings, "command line")?;
    train::train_new(spec, &model, &folder.join("data/data.yaml"), &folder, "train")?;
    let weights = folder.join("train/weights/best.safetensors");
    println!(
        "{:.0} s in all; look at {}",
        started.elapsed().as_secs_f64(),
        folder.join("train/pictures").display()
    );
    println!(
        "next: effyolo predict --weights {} {}",
        weights.display(),
        folder.join("data/images/val").display()
    );
    Ok(())
}
