//! YOLOv8 detectors with an EfficientNet as backbone, scaled as one network.

use crate::{Baseline, NetworkSpec, ScalingError, Variant};
use serde::Serialize;

/// A detector after rounding: levels of strides 8, 16 and 32 of the backbone, YOLOv8's neck and head over them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DetectorSpec {
    /// The backbone.
    pub backbone: NetworkSpec,
    /// Channels of the neck's levels, from stride 8 to 32; those of the first set the width of the head.
    pub neck_channels: [usize; 3],
    /// Bottlenecks of every block of the neck.
    pub neck_repeats: usize,
}

/// A size of YOLOv8: its letter, depth multiplier, width multiplier, and the cap on channels before they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NeckScale {
    letter: char,
    depth: f64,
    width: f64,
    max_channels: usize,
}

const fn neck(letter: char, depth: f64, width: f64, max_channels: usize) -> NeckScale {
    NeckScale { letter, depth, width, max_channels }
}

const NECKS: [NeckScale; 5] = [
    neck('n', 0.33, 0.25, 1024),
    neck('s', 0.33, 0.50, 1024),
    neck('m', 0.67, 0.75, 768),
    neck('l', 1.00, 1.00, 512),
    neck('x', 1.00, 1.25, 512),
];

/// Channels of the neck's levels before scaling.
const LEVEL_CHANNELS: [usize; 3] = [256, 512, 1024];
/// Bottlenecks of the neck's blocks before scaling.
const REPEATS: usize = 3;
/// Side of the square image of every YOLOv8.
const SIDE: usize = 640;

/// An EfficientNet under a YOLOv8 neck and head, at 640 pixels: width multiplies the channels of both, depth the repeats of
/// both, each by its own rule. The backbone's channels round as in the EfficientNet builder; those of the neck are capped,
/// multiplied, and go up to a multiple of 8, and its repeats round to the nearest number, halves to the even one.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorBaseline {
    name: String,
    variant: Variant,
    neck: NeckScale,
}

impl DetectorBaseline {
    /// `effyolo-n` is EfficientNet-B0 under the neck and head of YOLOv8n, `effyolo-b3-m` EfficientNet-B3 under those of
    /// YOLOv8m; in any case, with `-` or `_`. `None` of other names.
    pub fn find(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        let rest = lower.strip_prefix("effyolo-")?;
        let (variant, letter) = rest.rsplit_once('-').unwrap_or(("b0", rest));
        let variant = Variant::find(variant).ok()?;
        let neck = NECKS.into_iter().find(|neck| neck.letter.to_string() == letter)?;
        let name = match variant.name {
            "b0" => format!("effyolo-{letter}"),
            other => format!("effyolo-{other}-{letter}"),
        };
        Some(DetectorBaseline { name, variant, neck })
    }

    /// The unscaled backbone.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Letter of YOLOv8's size: n, s, m, l or x.
    pub fn neck_letter(&self) -> char {
        self.neck.letter
    }

    /// Image sides are multiples of this: the stride of the coarsest level.
    pub const STRIDE: usize = 32;
}

impl Baseline for DetectorBaseline {
    type Network = DetectorSpec;

    fn name(&self) -> &str {
        &self.name
    }

    fn resolution(&self) -> usize {
        SIDE
    }

    fn scaled(&self, width: f64, depth: f64) -> Result<DetectorSpec, ScalingError> {
        let backbone = self.variant.scaled(width, depth)?;
        let NeckScale { width: own_width, depth: own_depth, max_channels, .. } = self.neck;
        let channels = |base: usize| round_neck_channels(base.min(max_channels), own_width * width);
        Ok(DetectorSpec {
            backbone,
            neck_channels: LEVEL_CHANNELS.map(channels),
            neck_repeats: round_neck_repeats(REPEATS, own_depth * depth),
        })
    }
}

/// YOLOv8's rule for channels.
fn round_neck_channels(channels: usize, width: f64) -> usize {
    (channels as f64 * width / 8.0).ceil() as usize * 8
}

/// YOLOv8's rule for repeats.
fn round_neck_repeats(repeats: usize, depth: f64) -> usize {
    ((repeats as f64 * depth).round_ties_even() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_backbone_and_neck() {
        let found = |name| DetectorBaseline::find(name).map(|found| found.name);
        let names = ["effyolo-n", "EffYOLO_b0_n", "effyolo-lite0-s", "effyolo-b3-m"].map(found);
        let want = ["effyolo-n", "effyolo-n", "effyolo-lite0-s", "effyolo-b3-m"];
        assert_eq!(names.map(Option::unwrap), want);
        assert_eq!(
            ["effyolo", "effyolo-", "effyolo-b3", "effyolo-q", "b0-n", "effyolo-vgg-n"].map(found),
            [const { None }; 6]
        );
    }

    #[test]
    fn backbone_and_neck_grow_together_each_by_its_rule() {
        let baseline = DetectorBaseline::find("effyolo-n").unwrap();
        let base = baseline.scaled(1.0, 1.0).unwrap();
        assert_eq!((base.neck_channels, base.neck_repeats), ([64, 128, 256], 1));
        assert_eq!(base.backbone, NetworkSpec::b0());
        let grown = baseline.scaled(1.1, 1.2).unwrap();
        assert_eq!((grown.neck_channels, grown.neck_repeats), ([72, 144, 288], 1));
        assert_eq!(grown.backbone, Variant::find("b2").unwrap().network());
        assert_eq!(baseline.scaled(1.0, 3.0).unwrap().neck_repeats, 3);
        assert_eq!(
            DetectorBaseline::find("effyolo-m").unwrap().scaled(1.0, 1.0).unwrap().neck_channels,
            [192, 384, 576]
        );
        assert!(baseline.scaled(0.0, 1.0).is_err());
    }
}
