//! `effyolo weights`: published weights by name.

mod fetch;
mod hub;

use crate::output;
use crate::weights_folder::{FileState, WeightsFolder, manifest, named};
use anyhow::{Result, bail};
use effyolo_config::{PublishedWeights, WeightsManifest};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the names that there are, and which of them are in the folder of weights.
    List(FolderArguments),
    /// Download weights, check them, and convert them to what `train --weights NAME` takes.
    Fetch(fetch::Arguments),
    /// Compare weights with their checksums.
    Verify(VerifyArguments),
}

#[derive(clap::Args)]
struct FolderArguments {
    /// Folder of weights; that of the variable EFFYOLO_WEIGHTS or else `weights`, unless given.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Write one JSON array to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct VerifyArguments {
    /// Which weights; all that are in the folder, unless given.
    names: Vec<String>,
    #[command(flatten)]
    folder: FolderArguments,
}

/// A line of `list` and `verify`.
#[derive(Serialize)]
struct Row {
    name: String,
    what: String,
    licence: Option<String>,
    /// Where it is fetched from.
    repository: Option<String>,
    file: PathBuf,
    state: &'static str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Fetch(arguments) => fetch::run(arguments),
        Command::Verify(arguments) => verify(arguments),
    }
}

fn list(arguments: &FolderArguments) -> Result<()> {
    let folder = WeightsFolder::chosen(arguments.to.as_deref());
    let rows = rows(&folder, manifest()?.0.iter())?;
    if let Some(target) = &arguments.json {
        output::write_json(target, &rows.iter().map(|(row, _)| row).collect::<Vec<_>>())?;
    }
    if !output::is_standard_output(arguments.json.as_deref()) {
        println!("folder of weights: {}", folder.path().display());
        for (Row { name, what, licence, state, .. }, _) in &rows {
            println!("{name:24} {state:9} {what} ({})", licence.as_deref().unwrap_or("licence not noted"));
        }
    }
    Ok(())
}

/// Fails after the last file if one of them is not what it should be.
fn verify(VerifyArguments { names, folder: arguments }: &VerifyArguments) -> Result<()> {
    let folder = WeightsFolder::chosen(arguments.to.as_deref());
    let manifest = manifest()?;
    let asked = asked(&manifest, names, &folder)?;
    let rows = rows(&folder, asked.iter().copied())?;
    if let Some(target) = &arguments.json {
        output::write_json(target, &rows.iter().map(|(row, _)| row).collect::<Vec<_>>())?;
    }
    let mut wrong = 0;
    for (Row { name, file, state: word, .. }, state) in &rows {
        if !output::is_standard_output(arguments.json.as_deref()) {
            println!("{name:24} {word:9} {}", file.display());
        }
        if let Err(problem) = state.require_verified(file, name) {
            eprintln!("{name}: {problem}");
            wrong += 1;
        }
    }
    match (rows.len(), wrong) {
        (0, _) => bail!(
            "{}: none of the published weights is there; see `effyolo weights list`",
            folder.path().display()
        ),
        (_, 0) => Ok(()),
        (all, wrong) => bail!("{wrong} of {all} files are not what they should be"),
    }
}

/// The weights of the names; without names, those whose file is there or was fetched.
fn asked<'a>(
    manifest: &'a WeightsManifest,
    names: &[String],
    folder: &WeightsFolder,
) -> Result<Vec<&'a PublishedWeights>> {
    if !names.is_empty() {
        return names.iter().map(|name| named(manifest, name)).collect();
    }
    let lock = folder.lock()?;
    let is_known =
        |weights: &&PublishedWeights| folder.file(weights).exists() || lock.0.contains_key(&weights.file);
    Ok(manifest.0.iter().filter(is_known).collect())
}

fn rows<'a>(
    folder: &WeightsFolder,
    weights: impl Iterator<Item = &'a PublishedWeights>,
) -> Result<Vec<(Row, FileState)>> {
    let lock = folder.lock()?;
    weights
        .map(|weights| {
            let state = folder.state(weights, &lock)?;
            let row = Row {
                name: weights.name.clone(),
                what: weights.what.clone(),
                licence: weights.licence.clone(),
                repository: weights.hub.as_ref().map(|hub| hub.repository.clone()),
                file: folder.file(weights),
                state: state.word(),
            };
            Ok((row, state))
        })
        .collect()
}
