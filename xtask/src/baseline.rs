//! The options that name a baseline, with what is left out resolved.

use anyhow::{Result, ensure};
use effnet_scaling::{Baseline, NamedBaseline};

#[derive(Debug, clap::Args)]
pub(crate) struct BaselineArguments {
    /// What is scaled: efficientnet-b0 ... lite4, mobilenet-v1, mobilenet-v2, resnet-50; or a detector: effyolo-n (B0 under
    /// the YOLOv8n neck and head), effyolo-lite0-s, effyolo-b3-m ...
    #[arg(long = "baseline", default_value = "efficientnet-b0")]
    name: String,
    /// Image sides are rounded to the nearest multiple of this; 1, and 32 of a detector, unless given
    #[arg(long)]
    resolution_divisor: Option<usize>,
    /// Classes of the network whose cost is counted; 1000, and 80 of a detector, unless given
    #[arg(long)]
    classes: Option<usize>,
}

/// A baseline and what its networks are made for.
#[derive(Debug, Clone)]
pub(crate) struct ChosenBaseline {
    pub(crate) baseline: NamedBaseline,
    /// Image sides are multiples of this.
    pub(crate) resolution_divisor: usize,
    pub(crate) classes: usize,
}

impl BaselineArguments {
    pub(crate) fn resolve(&self) -> Result<ChosenBaseline> {
        let baseline = NamedBaseline::find(&self.name)?;
        let stride = baseline.stride();
        let resolution_divisor = self.resolution_divisor.unwrap_or(stride);
        ensure!(resolution_divisor > 0, "--resolution-divisor: expected at least 1, got 0");
        ensure!(
            resolution_divisor.is_multiple_of(stride),
            "--resolution-divisor: {} needs image sides that are multiples of {stride}, got {resolution_divisor}",
            baseline.name()
        );
        let classes = self.classes.unwrap_or(if baseline.detector().is_some() { 80 } else { 1000 });
        ensure!(classes > 0, "--classes: expected at least 1, got 0");
        Ok(ChosenBaseline { baseline, resolution_divisor, classes })
    }
}
