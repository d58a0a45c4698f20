//! Opening a split of a data set, and saying what is wrong with it.

use anyhow::Result;
use detect_data::{Dataset, ImageCheck, YoloDataset};
use effyolo_config::DataSpec;

/// Problems of a data set that are spelled out.
const LISTED: usize = 10;

/// Bytes of scaled images that are kept in memory, for each data set of a run.
pub(crate) const CACHE_BYTES: usize = 2 << 30;

/// Opens a split; what was left out is said on standard error.
pub(crate) fn open_split(data: &DataSpec, split: &str) -> Result<YoloDataset> {
    let threads = rayon::current_num_threads();
    let dataset = YoloDataset::open(data.split(split)?, data.names.clone(), ImageCheck::Decode, threads)?;
    let report = dataset.report();
    eprintln!(
        "{split}: {} images, {} objects, {} without labels, {} images and {} rows left out",
        dataset.len(),
        dataset.box_count(),
        report.missing + report.empty,
        report.bad_images,
        report.bad_rows + report.duplicate_rows
    );
    report.problems.iter().take(LISTED).for_each(|problem| eprintln!("  {problem}"));
    if let Some(more @ 1..) = report.problems.len().checked_sub(LISTED) {
        eprintln!("  and {more} more");
    }
    Ok(dataset)
}
