//! `effyolo weights fetch`: from the hub to a checked file in our form.

use super::hub;
use crate::interrupt;
use crate::weights_folder::{FileState, WeightsFolder, manifest, named, sha256};
use anyhow::{Context, Result, bail, ensure};
use effyolo_config::{FetchedFile, PublishedWeights};
use net_formats::{Archive, Averages};
use std::path::{Path, PathBuf};
use tempfile::TempPath;
use weight_sources::{Convention, Matched, Variant, Wanted};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A name of `effyolo weights list`.
    name: String,
    /// Folder of weights; that of the variable EFFYOLO_WEIGHTS or else `weights`, unless given.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Take this file, which was downloaded by other means, instead of downloading it.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// A file of somebody's, and where it came from.
struct Source {
    path: PathBuf,
    origin: String,
    /// Of a download: removed with this.
    temporary: Option<TempPath>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let manifest = manifest()?;
    let weights = named(&manifest, &arguments.name)?;
    let folder = WeightsFolder::chosen(arguments.to.as_deref());
    let (path, lock) = (folder.file(weights), folder.lock()?);
    let state = folder.state(weights, &lock)?;
    if state != FileState::Absent {
        state.require_verified(&path, &weights.name)?;
        println!("{} is there and unchanged: {}", weights.name, path.display());
        return Ok(());
    }
    std::fs::create_dir_all(folder.path()).with_context(|| format!("making {}", folder.path().display()))?;
    let source = obtain(arguments, weights, &folder)?;
    let source_sha256 = sha256(&source.path)?;
    if let Some(before) = lock.0.get(&weights.file) {
        ensure!(
            before.source_sha256 == source_sha256,
            "{}: not the file that was fetched before: expected sha256 {}, got {source_sha256}; if the change is \
             wanted, remove `{}` from {}",
            source.origin,
            before.source_sha256,
            weights.file,
            folder.lock_file().display()
        );
    }
    convert(&source, weights, &path).with_context(|| format!("{} is not used", source.origin))?;
    let fetched = FetchedFile { sha256: sha256(&path)?, source_sha256, source: source.origin };
    println!("{}: {}", weights.name, weights.what);
    println!("from {}, licence {}", fetched.source, weights.licence.as_deref().unwrap_or("not noted"));
    println!("wrote {}\nsha256 {}", path.display(), fetched.sha256);
    folder.record(&weights.file, fetched)?;
    println!("to start from them: effyolo train --weights {} ...", usable(&folder, weights, &path));
    Ok(())
}

/// The name where it finds the file, else its path.
fn usable(folder: &WeightsFolder, weights: &PublishedWeights, path: &Path) -> String {
    match folder.path() == WeightsFolder::chosen(None).path() {
        true => weights.name.clone(),
        false => path.display().to_string(),
    }
}

/// The file that was given, or what the hub has.
fn obtain(arguments: &Arguments, weights: &PublishedWeights, folder: &WeightsFolder) -> Result<Source> {
    if let Some(path) = &arguments.from {
        ensure!(path.is_file(), "--from {}: expected a file", path.display());
        return Ok(Source { path: path.clone(), origin: path.display().to_string(), temporary: None });
    }
    let Some(file) = &weights.hub else {
        bail!("{}: it is not known where to fetch it; hand over a file by --from FILE", weights.name)
    };
    let url = hub::url(file);
    eprintln!("downloading {url}");
    let temporary = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempfile_in(folder.path())
        .with_context(|| format!("making a file in {}", folder.path().display()))?
        .into_temp_path();
    remove_on_interrupt(temporary.to_path_buf())?;
    let commit = hub::download(file, &temporary).with_context(|| {
        format!(
            "{url}: not downloaded. If this machine does not reach it, get that file by other means and hand it over: \
             effyolo weights fetch {} --to {} --from {}",
            weights.name,
            folder.path().display(),
            file.file
        )
    })?;
    let origin = format!("{}, commit {commit}, {}", file.repository, file.file);
    Ok(Source { path: temporary.to_path_buf(), origin, temporary: Some(temporary) })
}

/// Ctrl-C leaves nothing behind.
fn remove_on_interrupt(file: PathBuf) -> Result<()> {
    let handler = move || {
        // What cannot be removed is a hidden file that nothing reads.
        let _ = std::fs::remove_file(&file);
        eprintln!("interrupted; nothing was written");
        std::process::exit(interrupt::EXIT_STATUS);
    };
    ctrlc::set_handler(handler).context("listening for Ctrl-C")
}

/// Writes the weights of a file in our form, with the record of how they were trained.
fn convert(source: &Source, weights: &PublishedWeights, target: &Path) -> Result<()> {
    let archive = net_formats::load(&source.path, Averages::Prefer)?;
    let variant = Some(Variant::named(&weights.variant, None)?);
    let matched =
        weight_sources::find(&archive, &Wanted { variant, also: Vec::new(), prefix: None, headless: false })?;
    require_whole(&matched)?;
    let convention = Convention::of_config(weights.conventions);
    let told = source.convention(&archive, &matched)?;
    ensure!(
        told.as_ref().is_none_or(|told| *told == convention),
        "`{}` were trained with {convention}; this file with {}: it holds other weights of that network",
        weights.name,
        told.map(|told| told.to_string()).unwrap_or_default()
    );
    Ok(matched.write(target, matched.our_names(), &matched.info(&convention))?)
}

impl Source {
    /// How the weights of the file were trained, where it tells. The name of a download tells nothing.
    fn convention(&self, archive: &Archive, matched: &Matched<'_>) -> Result<Option<Convention>> {
        let architecture = match self.temporary {
            Some(_) => String::new(),
            None => weight_sources::architecture(&self.path, None, archive),
        };
        let convention = Convention::find(archive, matched, &architecture)?;
        Ok(convention.assumed.is_empty().then_some(convention))
    }
}

/// A deeper variant has all parameters of a shallower one, so nothing may be left over.
fn require_whole(matched: &Matched<'_>) -> Result<()> {
    matched.require_complete()?;
    if let Some(first) = matched.unexpected.first() {
        bail!(
            "{} arrays are not of `{}`, such as `{first}`; is it another variant?",
            matched.unexpected.len(),
            matched.variant.name
        );
    }
    let broken = matched.non_finite();
    ensure!(broken.is_empty(), "expected finite numbers, got others in `{}`", broken.join("`, `"));
    Ok(())
}
