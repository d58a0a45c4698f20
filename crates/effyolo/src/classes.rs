//! Classification from folders: opening a split, and results as a table and as JSON.

use anyhow::{Result, ensure};
use classify_data::ClassFolder;
use serde::Serialize;
use std::path::{Path, PathBuf};
use yolo_train::ClassValidation;

use crate::data::CACHE_BYTES;

/// Problems of a data set that are spelled out.
const LISTED: usize = 10;
/// Images with the highest loss that are named and drawn.
pub(crate) const WORST: usize = 20;

/// Opens a split; what was left out is said on standard error.
pub(crate) fn open_split(data: &Path, split: &str, names: Option<&[String]>) -> Result<ClassFolder> {
    ensure!(
        data.is_dir(),
        "{}: expected a folder with {split}/CLASS/ for each class, got {}",
        data.display(),
        if data.exists() { "a file" } else { "nothing there" }
    );
    let images = ClassFolder::open(&data.join(split), names, CACHE_BYTES)?;
    let problems = images.problems();
    eprintln!(
        "{split}: {} images of {} classes, {} left out",
        images.len(),
        images.names().len(),
        problems.len()
    );
    for problem in problems.iter().take(LISTED) {
        eprintln!("  {}", problem.error);
    }
    if let Some(more @ 1..) = problems.len().checked_sub(LISTED) {
        eprintln!("  and {more} more");
    }
    Ok(images)
}

/// What `val --json` writes for a classifier.
#[derive(Serialize)]
pub(crate) struct ClassReport {
    task: &'static str,
    images: usize,
    top1: f64,
    top5: f64,
    loss: f64,
    classes: Vec<String>,
    /// Rows: true class; columns: predicted class.
    confusion: Vec<Vec<usize>>,
    worst: Vec<WorstImage>,
}

#[derive(Serialize)]
struct WorstImage {
    image: PathBuf,
    class: String,
    predicted: String,
    probability: f64,
    loss: f64,
}

impl ClassReport {
    pub(crate) fn new(validation: &ClassValidation, images: &ClassFolder) -> Self {
        let ClassValidation { images: count, top1, top5, loss, confusion, by_loss } = validation;
        let names = images.names();
        let worst = by_loss.iter().take(WORST).map(|judged| WorstImage {
            image: images.path(judged.index).to_path_buf(),
            class: names[images.class(judged.index)].clone(),
            predicted: names[judged.predicted].clone(),
            probability: judged.probability,
            loss: judged.loss,
        });
        ClassReport {
            task: "classify",
            images: *count,
            top1: *top1,
            top5: *top5,
            loss: *loss,
            classes: names.to_vec(),
            confusion: confusion.chunks(names.len()).map(<[usize]>::to_vec).collect(),
            worst: worst.collect(),
        }
    }
}

/// Prints each class with its images, how many were recognised, and what it was most often taken for.
pub(crate) fn print_table(validation: &ClassValidation, images: &ClassFolder) {
    let names = images.names();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("all".len());
    println!("{:width$} {:>8} {:>8}  most often taken for", "", "images", "right");
    for (class, row) in validation.confusion.chunks(names.len()).enumerate() {
        let count: usize = row.iter().sum();
        let share = row[class] as f64 / count.max(1) as f64;
        let wrong = row.iter().enumerate().filter(|(other, count)| *other != class && **count > 0);
        let taken_for = wrong.max_by_key(|(_, count)| **count);
        let taken_for =
            taken_for.map_or(String::new(), |(other, count)| format!("{} ({count})", names[other]));
        println!("{:width$} {count:>8} {share:>8.3}  {taken_for}", names[class]);
    }
    let ClassValidation { images, top1, top5, loss, .. } = validation;
    println!("{:width$} {images:>8} {top1:>8.3}  top-5 {top5:.3}, loss {loss:.3}", "all");
}
