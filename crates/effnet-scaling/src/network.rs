use crate::{ScalingError, round_channels, round_repeats};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Non-linearity after every convolution that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Swish,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `max(x, 0)`.
    Relu,
}

/// Convolutions of a block between its input and its 1x1 projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockForm {
    /// A 1x1 expansion, then a depthwise convolution with the stride (MBConv).
    Depthwise,
    /// One full convolution that expands and has the stride (EdgeTPU).
    Full,
}

/// A run of blocks at one resolution; only the first block has a stride and changes the width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Number of blocks.
    pub repeats: usize,
    /// Side of the kernel that has the stride.
    pub kernel: usize,
    /// Stride of the first block.
    pub stride: usize,
    /// Expansion ratio: width inside a block over the width of its input.
    pub expansion: usize,
    /// Channels that the stage yields.
    pub channels: usize,
    /// Squeeze-and-excitation width as a share of a block's input channels; `None` without it.
    pub squeeze_ratio: Option<f64>,
    /// Convolutions of its blocks.
    pub form: BlockForm,
    /// Blocks whose input and output have one shape add them.
    pub residual: bool,
    /// Channels that the first block's expansion multiplies where they are not those of its input, as in the first stage
    /// of EdgeTPU.
    pub nominal_input: Option<usize>,
    /// Kernels that each of a block's three convolutions mixes for every image (CondConv, arXiv 1904.04971); `None` for
    /// ordinary convolutions. Only blocks with a depthwise convolution have them.
    pub experts: Option<usize>,
}

/// A ratio is a number and never NaN.
impl Eq for StageSpec {}

impl Hash for StageSpec {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let StageSpec { repeats, kernel, stride, expansion, channels, .. } = *self;
        (repeats, kernel, stride, expansion, channels).hash(state);
        (self.squeeze_ratio.map(f64::to_bits), self.form, self.residual, self.nominal_input).hash(state);
        self.experts.hash(state);
    }
}

/// An EfficientNet: stem convolution, stages of blocks, 1x1 head convolution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Channels of the 3x3 stride 2 stem convolution.
    pub stem: usize,
    /// Stages in order.
    pub stages: Vec<StageSpec>,
    /// Channels of the 1x1 head convolution.
    pub head: usize,
    /// Non-linearity.
    pub activation: Activation,
    /// Stem and head keep their width and the first and last stage their depth when the network is scaled (Lite).
    pub fixed_ends: bool,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpec {
    /// Index of its stage, from 0.
    pub stage: usize,
    /// Index in its stage, from 0.
    pub index_in_stage: usize,
    /// Convolutions before the projection.
    pub form: BlockForm,
    /// Side of the kernel that has the stride.
    pub kernel: usize,
    /// Stride of that convolution.
    pub stride: usize,
    /// Expansion ratio; 1 means no expansion convolution.
    pub expansion: usize,
    /// Channels inside.
    pub expanded_channels: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Channels of the squeezed vector, if there is squeeze-and-excitation.
    pub squeeze_channels: Option<usize>,
    /// The block adds its input to its output.
    pub has_residual: bool,
    /// Kernels that each convolution mixes, if they are not ordinary ones.
    pub experts: Option<usize>,
}

/// Last map of one resolution: `reduction_i` has stride `2^i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    /// Image pixels a cell.
    pub stride: usize,
    /// Index of the block whose output it is.
    pub block: usize,
    /// Channels.
    pub channels: usize,
}

/// Stages with experts in a CondConv network, the last ones.
const MIXED_STAGES: usize = 3;

/// Squeeze-and-excitation ratio of EfficientNet.
const SQUEEZE: Option<f64> = Some(0.25);

impl NetworkSpec {
    /// EfficientNet-B0 (arXiv 1905.11946, table 1).
    pub fn b0() -> Self {
        let stage = |repeats, kernel, stride, expansion, channels| StageSpec {
            repeats,
            kernel,
            stride,
            expansion,
            channels,
            squeeze_ratio: SQUEEZE,
            form: BlockForm::Depthwise,
            residual: true,
            nominal_input: None,
            experts: None,
        };
        NetworkSpec {
            stem: 32,
            stages: vec![
                stage(1, 3, 1, 1, 16),
                stage(2, 3, 2, 6, 24),
                stage(2, 5, 2, 6, 40),
                stage(3, 3, 2, 6, 80),
                stage(3, 5, 1, 6, 112),
                stage(4, 5, 2, 6, 192),
                stage(1, 3, 1, 6, 320),
            ],
            head: 1280,
            activation: Activation::Swish,
            fixed_ends: false,
        }
    }

    /// EfficientNet-Lite0: B0 without squeeze-and-excitation, with ReLU6, and with stem and head that do not scale.
    pub fn lite0() -> Self {
        let mut network = NetworkSpec { activation: Activation::Relu6, fixed_ends: true, ..Self::b0() };
        network.stages.iter_mut().for_each(|stage| stage.squeeze_ratio = None);
        network
    }

    /// B0 with `experts` kernels for every convolution of a block in its last three stages, from which each image mixes
    /// its own (CondConv, arXiv 1904.04971, section 4.1).
    pub fn condconv(experts: usize) -> Self {
        let mut network = Self::b0();
        let mixed = network.stages.len() - MIXED_STAGES;
        network.stages[mixed..].iter_mut().for_each(|stage| stage.experts = Some(experts));
        network
    }

    /// EfficientNet-EdgeTPU-S: ReLU, no squeeze-and-excitation, full convolutions in the fine stages.
    pub fn edgetpu() -> Self {
        let stage = |form, repeats, kernel, stride, expansion, channels| StageSpec {
            repeats,
            kernel,
            stride,
            expansion,
            channels,
            squeeze_ratio: None,
            form,
            residual: true,
            nominal_input: None,
            experts: None,
        };
        let (full, depthwise) = (BlockForm::Full, BlockForm::Depthwise);
        let first = StageSpec { residual: false, nominal_input: Some(24), ..stage(full, 1, 3, 1, 4, 24) };
        NetworkSpec {
            stem: 32,
            stages: vec![
                first,
                stage(full, 2, 3, 2, 8, 32),
                stage(full, 4, 3, 2, 8, 48),
                stage(depthwise, 5, 5, 2, 8, 96),
                stage(depthwise, 4, 5, 1, 8, 144),
                stage(depthwise, 2, 5, 2, 8, 192),
            ],
            head: 1280,
            activation: Activation::Relu,
            fixed_ends: false,
        }
    }

    /// The network with channels times `width` and repeats times `depth`, rounded as in the official builder.
    ///
    /// # Errors
    /// When a multiplier is not above 0 and at most 64.
    pub fn scaled(&self, width: f64, depth: f64) -> Result<Self, ScalingError> {
        ScalingError::check_multiplier("width multiplier", width)?;
        ScalingError::check_multiplier("depth multiplier", depth)?;
        let ends = |channels| if self.fixed_ends { channels } else { round_channels(channels, width) };
        let last = self.stages.len() - 1;
        let scale_stage = |(index, stage): (usize, &StageSpec)| {
            let fixed_depth = self.fixed_ends && (index == 0 || index == last);
            let repeats = if fixed_depth { stage.repeats } else { round_repeats(stage.repeats, depth) };
            let nominal_input = stage.nominal_input.map(|channels| round_channels(channels, width));
            StageSpec { repeats, channels: round_channels(stage.channels, width), nominal_input, ..*stage }
        };
        let stages = self.stages.iter().enumerate().map(scale_stage).collect();
        Ok(NetworkSpec { stem: ends(self.stem), stages, head: ends(self.head), ..*self })
    }

    /// All blocks in order.
    pub fn blocks(&self) -> Vec<BlockSpec> {
        let mut in_channels = self.stem;
        let mut blocks = Vec::new();
        for (stage, spec) in self.stages.iter().enumerate() {
            for index_in_stage in 0..spec.repeats {
                let squeeze = |ratio: f64| ((in_channels as f64 * ratio) as usize).max(1);
                let first = index_in_stage == 0;
                let stride = if first { spec.stride } else { 1 };
                let nominal_input = spec.nominal_input.filter(|_| first).unwrap_or(in_channels);
                blocks.push(BlockSpec {
                    stage,
                    index_in_stage,
                    form: spec.form,
                    kernel: spec.kernel,
                    stride,
                    expansion: spec.expansion,
                    expanded_channels: nominal_input * spec.expansion,
                    in_channels,
                    out_channels: spec.channels,
                    squeeze_channels: spec.squeeze_ratio.map(squeeze),
                    has_residual: spec.residual && stride == 1 && in_channels == spec.channels,
                    experts: spec.experts,
                });
                in_channels = spec.channels;
            }
        }
        blocks
    }

    /// `reduction_1`, `reduction_2` ...: the output of the last block before each stride, and of the last block.
    pub fn reductions(&self) -> Vec<Reduction> {
        let blocks = self.blocks();
        let mut stride = 2;
        let mut reductions = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            stride *= block.stride;
            if blocks.get(index + 1).is_none_or(|next| next.stride > 1) {
                reductions.push(Reduction { stride, block: index, channels: block.out_channels });
            }
        }
        reductions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_of_b0_end_at_stages_1_2_3_5_7() {
        let reductions = NetworkSpec::b0().reductions();
        assert_eq!(reductions.iter().map(|r| r.stride).collect::<Vec<_>>(), [2, 4, 8, 16, 32]);
        assert_eq!(reductions.iter().map(|r| r.block).collect::<Vec<_>>(), [0, 2, 4, 10, 15]);
        assert_eq!(reductions.iter().map(|r| r.channels).collect::<Vec<_>>(), [16, 24, 40, 112, 320]);
    }

    #[test]
    fn a_block_squeezes_its_input_not_its_expansion() {
        let block = NetworkSpec::b0().blocks()[1];
        assert_eq!((block.expanded_channels, block.squeeze_channels), (96, Some(4)));
    }

    #[test]
    fn the_last_three_stages_of_condconv_have_experts() {
        let blocks = NetworkSpec::condconv(4).blocks();
        let with = blocks.iter().filter(|block| block.experts == Some(4)).map(|block| block.stage);
        assert_eq!(with.collect::<Vec<_>>(), [4, 4, 4, 5, 5, 5, 5, 6]);
        assert!(NetworkSpec::b0().blocks().iter().all(|block| block.experts.is_none()));
    }

    #[test]
    fn multipliers_must_be_positive_numbers() {
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(NetworkSpec::b0().scaled(width, 1.0).is_err());
        }
    }
}
