//! `results.csv`: one row an epoch, under the headings that users of Ultralytics' tools know.

use crate::{TrainError, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One row. Losses are means over the epoch's batches, after the gains, not multiplied by the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Seconds since the run began, without those between an interruption and its resumption.
    pub time: f64,
    /// Losses, metrics and learning rates, each under its heading.
    pub values: Vec<(String, f64)>,
}

impl EpochRow {
    /// The value under a heading.
    pub fn get(&self, heading: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| name == heading).map(|(_, value)| *value)
    }
}

/// Writes all rows so far.
///
/// # Errors
/// When the file cannot be written.
pub fn write_results(path: &Path, rows: &[EpochRow]) -> Result<(), TrainError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut record = |fields: Vec<String>| writer.write_record(fields).expect("rows of one length");
    if let Some(row) = rows.first() {
        let names = row.values.iter().map(|(name, _)| name.clone());
        record(["epoch", "time"].map(String::from).into_iter().chain(names).collect());
    }
    for row in rows {
        let values = row.values.iter().map(|(_, value)| value.to_string());
        record([row.epoch.to_string(), row.time.to_string()].into_iter().chain(values).collect());
    }
    files::write_atomically(path, &writer.into_inner().expect("a vector takes every byte"))
}
