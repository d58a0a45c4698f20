//! What `bench` and `profile` run: a network with random weights, so many times.

use anyhow::{Result, ensure};
use effyolo_config::ModelSpec;
use std::path::PathBuf;

/// Runs before the first that counts.
pub(crate) const WARM_UP: usize = 2;
/// Values do not change the time; the same ones are used every time.
pub(crate) const SEED: u64 = 0;

#[derive(clap::Args)]
pub(crate) struct Workload {
    /// Model configuration.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Side of the square image in pixels; the configuration's, unless given.
    #[arg(long)]
    imgsz: Option<usize>,
    /// Images a batch.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Runs that count; the median is shown.
    #[arg(long, default_value_t = 10)]
    pub(crate) runs: usize,
}

impl Workload {
    /// The model, and the side of its images.
    pub(crate) fn load(&self) -> Result<(ModelSpec, usize)> {
        ensure!(self.runs > 0 && self.batch > 0, "expected at least one run and one image");
        let spec = ModelSpec::load(&self.model)?;
        let side = self.imgsz.unwrap_or(spec.train.image_size);
        Ok((spec, side))
    }
}

pub(crate) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
