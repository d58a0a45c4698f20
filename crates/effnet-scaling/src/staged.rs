use crate::{ScalingError, round_channels, round_repeats};
use serde::Serialize;

/// What a stage of a [`StagedSpec`] repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// Depthwise 3x3, then 1x1 (MobileNetV1).
    Separable,
    /// 1x1 expansion, depthwise 3x3, linear 1x1, residual (MobileNetV2).
    InvertedResidual,
    /// 1x1, 3x3 with the stride, 1x1 to four times the width, residual with projection (ResNet "v1.5").
    Bottleneck,
}

/// A run of equal blocks; the first has the stride and changes the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct GroupSpec {
    /// Width inside an inverted residual over that of its input; 1 in other kinds.
    pub expansion: usize,
    /// Channels that the blocks yield; a bottleneck yields four times as many.
    pub channels: usize,
    /// Number of blocks.
    pub repeats: usize,
    /// Stride of the first block.
    pub stride: usize,
}

/// A network of stem, groups of one kind of block, pooling and classifier: the other baselines of the scaling study.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct StagedSpec {
    /// Kind of all blocks; it also settles stem and activation (see `effnet-backbone`).
    pub block: BlockKind,
    /// Channels of the stem.
    pub stem: usize,
    /// Groups in order.
    pub groups: Vec<GroupSpec>,
    /// Channels of a 1x1 convolution before pooling, if there is one.
    pub head: Option<usize>,
}

impl StagedSpec {
    /// MobileNetV1 (arXiv 1704.04861, table 1). The last pair has stride 1: the table prints 2, but its cost does not
    /// fit that.
    pub fn mobilenet_v1() -> Self {
        let group = |channels, stride, repeats| GroupSpec { expansion: 1, channels, repeats, stride };
        let groups =
            vec![group(64, 1, 1), group(128, 2, 2), group(256, 2, 2), group(512, 2, 6), group(1024, 2, 2)];
        StagedSpec { block: BlockKind::Separable, stem: 32, groups, head: None }
    }

    /// MobileNetV2 (arXiv 1801.04381, table 2).
    pub fn mobilenet_v2() -> Self {
        let group = |expansion, channels, repeats, stride| GroupSpec { expansion, channels, repeats, stride };
        let groups = vec![
            group(1, 16, 1, 1),
            group(6, 24, 2, 2),
            group(6, 32, 3, 2),
            group(6, 64, 4, 2),
            group(6, 96, 3, 1),
            group(6, 160, 3, 2),
            group(6, 320, 1, 1),
        ];
        StagedSpec { block: BlockKind::InvertedResidual, stem: 32, groups, head: Some(1280) }
    }

    /// ResNet-50 (arXiv 1512.03385, table 1).
    pub fn resnet50() -> Self {
        let group = |channels, repeats, stride| GroupSpec { expansion: 1, channels, repeats, stride };
        let groups = vec![group(64, 3, 1), group(128, 4, 2), group(256, 6, 2), group(512, 3, 2)];
        StagedSpec { block: BlockKind::Bottleneck, stem: 64, groups, head: None }
    }

    /// Widths rounded as in the EfficientNet builder, repeats of each group rounded up; added blocks have stride 1. The
    /// scaling paper gives no rule for these networks. MobileNetV2's head only grows, as its paper says.
    ///
    /// # Errors
    /// When a multiplier is not above 0 and at most 64.
    pub fn scaled(&self, width: f64, depth: f64) -> Result<Self, ScalingError> {
        ScalingError::check_multiplier("width multiplier", width)?;
        ScalingError::check_multiplier("depth multiplier", depth)?;
        let scale_group = |group: &GroupSpec| GroupSpec {
            channels: round_channels(group.channels, width),
            repeats: round_repeats(group.repeats, depth),
            ..*group
        };
        Ok(StagedSpec {
            block: self.block,
            stem: round_channels(self.stem, width),
            groups: self.groups.iter().map(scale_group).collect(),
            head: self.head.map(|channels| round_channels(channels, width.max(1.0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_in_width_and_repeats_and_keep_their_strides() {
        let wide = StagedSpec::resnet50().scaled(1.2, 1.4).unwrap();
        let rows: Vec<_> = wide.groups.iter().map(|g| (g.channels, g.repeats, g.stride)).collect();
        assert_eq!(rows, [(80, 5, 1), (152, 6, 2), (304, 9, 2), (616, 5, 2)]);
        assert_eq!(wide.stem, 80);
    }

    #[test]
    fn the_head_of_mobilenet_v2_never_shrinks() {
        let head = |width| StagedSpec::mobilenet_v2().scaled(width, 1.0).unwrap().head;
        assert_eq!([0.5, 1.0, 2.0].map(head), [Some(1280), Some(1280), Some(2560)]);
    }
}
