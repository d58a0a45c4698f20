//! `results.csv`: one row an epoch, under the headings that users of Ultralytics' tools know.

use crate::{TrainError, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One row. Losses are means over the epoch's batches, after the gains, not multiplied by the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // The heading says it.
pub struct EpochRow {
    pub epoch: usize,
    pub time: f64,
    #[serde(rename = "train/box_loss")]
    pub box_loss: f64,
    #[serde(rename = "train/cls_loss")]
    pub class_loss: f64,
    #[serde(rename = "train/dfl_loss")]
    pub dfl_loss: f64,
    #[serde(rename = "metrics/precision(B)")]
    pub precision: f64,
    #[serde(rename = "metrics/recall(B)")]
    pub recall: f64,
    #[serde(rename = "metrics/mAP50(B)")]
    pub map50: f64,
    #[serde(rename = "metrics/mAP50-95(B)")]
    pub map50_95: f64,
    #[serde(rename = "val/box_loss")]
    pub val_box_loss: f64,
    #[serde(rename = "val/cls_loss")]
    pub val_class_loss: f64,
    #[serde(rename = "val/dfl_loss")]
    pub val_dfl_loss: f64,
    #[serde(rename = "lr/pg0")]
    pub lr_biases: f64,
    #[serde(rename = "lr/pg1")]
    pub lr_norms: f64,
    #[serde(rename = "lr/pg2")]
    pub lr_weights: f64,
}

/// Writes all rows so far.
///
/// # Errors
/// When the file cannot be written.
pub fn write_results(path: &Path, rows: &[EpochRow]) -> Result<(), TrainError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.serialize(row).expect("a row of numbers always serialises"));
    files::write_atomically(path, &writer.into_inner().expect("a vector takes every byte"))
}
