//! Opening a split of a data set, and saying what is wrong with it.

use anyhow::{Result, bail, ensure};
use detect_data::{CocoSource, Dataset, FileDataset, ImageCheck, OpenOptions, Report};
use effyolo_config::DataSpec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// So many problems are spelled out; of more, [`OF_EACH_KIND`] are.
const LISTED: usize = 30;
const OF_EACH_KIND: usize = 5;

/// Bytes of scaled images that are kept in memory, for each data set of a run.
pub(crate) const CACHE_BYTES: usize = 2 << 30;

/// Opens a split; what was left out is said on standard error.
pub(crate) fn open_split(data: &DataSpec, split: &str) -> Result<FileDataset> {
    let entries = data.split(split)?;
    entries.iter().try_for_each(|entry| check_exists(data, split, entry))?;
    let threads = rayon::current_num_threads();
    let options = OpenOptions { check: ImageCheck::Decode, max_pixels: data.max_pixels, threads };
    let (coco, folders): (Vec<&PathBuf>, Vec<&PathBuf>) = entries.iter().partition(|entry| is_json(entry));
    let names = data.names.clone();
    let dataset = if coco.is_empty() {
        FileDataset::open_yolo(entries, names, &options)?
    } else {
        ensure!(
            folders.is_empty(),
            "{}: `{split}`: expected either COCO files (.json) or folders and lists of images, got both",
            data.file
        );
        let source =
            |file: &&PathBuf| CocoSource { instances: file.to_path_buf(), images: data.images.clone() };
        FileDataset::open_coco(&coco.iter().map(source).collect::<Vec<_>>(), names, &options)?
    };
    say_report(split, &dataset);
    Ok(dataset)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn check_exists(data: &DataSpec, split: &str, entry: &Path) -> Result<()> {
    if entry.exists() {
        return Ok(());
    }
    let absolute =
        |path: &Path| std::path::absolute(Path::new(".").join(path)).unwrap_or_else(|_| path.into());
    let (resolved, base) = (absolute(entry), absolute(&data.base));
    bail!(
        "{}: `{split}`: there is no {}; relative entries are relative to {} (`path`, itself relative to the folder of \
         the data file)",
        data.file,
        resolved.display(),
        base.display()
    )
}

fn say_report(split: &str, dataset: &FileDataset) {
    let report = dataset.report();
    let crowds = if report.crowds > 0 { format!(", {} crowds", report.crowds) } else { String::new() };
    eprintln!(
        "{split}: {} images, {} objects{crowds}, {} without labels, {} images and {} labels left out",
        dataset.len(),
        dataset.box_count(),
        report.missing + report.empty,
        report.bad_images,
        report.bad_rows + report.duplicate_rows
    );
    report.counts().iter().for_each(|(kind, count)| eprintln!("  {count} x {kind}"));
    say_problems(report);
    say_some(&report.notes.iter().map(|note| format!("note: {note}")).collect::<Vec<_>>());
}

/// All problems where there are few, else some of each kind.
fn say_problems(report: &Report) {
    if report.problems.len() <= LISTED {
        return report.problems.iter().for_each(|problem| eprintln!("  {problem}"));
    }
    let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for problem in &report.problems {
        by_kind.entry(problem.kind.name()).or_default().push(problem.to_string());
    }
    by_kind.values().for_each(|problems| say_some(problems));
}

fn say_some(lines: &[String]) {
    lines.iter().take(OF_EACH_KIND).for_each(|line| eprintln!("  {line}"));
    if let Some(more @ 1..) = lines.len().checked_sub(OF_EACH_KIND) {
        eprintln!("  and {more} more of this kind");
    }
}
