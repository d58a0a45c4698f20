use crate::{BlockForm, NetworkSpec};
use serde::Serialize;
use std::ops::{Add, AddAssign};

/// Parameters and multiply-adds of one image.
///
/// Counted as in the EfficientNet papers: convolutions and the classifier. Batch norm counts two parameters a channel
/// and no multiply-adds; running statistics are not parameters. Where kernels are mixed from experts, an image costs as
/// many multiply-adds more as there are values in all experts, and those of the layer that weighs them (CondConv, arXiv
/// 1904.04971).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Cost {
    /// Trained values.
    pub params: u64,
    /// Multiply-adds; FLOPs in the YOLO literature are twice this number.
    pub macs: u64,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, macs: self.macs + other.macs }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

/// Cost of a classifier, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NetworkCost {
    /// Stem and all blocks: what a detector uses.
    pub features: Cost,
    /// The 1x1 head convolution.
    pub head: Cost,
    /// The linear layer.
    pub classifier: Cost,
}

impl NetworkCost {
    /// Sum of the parts.
    pub fn total(&self) -> Cost {
        self.features + self.head + self.classifier
    }
}

/// Height and width of a map.
#[derive(Clone, Copy)]
struct Size(usize, usize);

impl Size {
    fn strided(self, stride: usize) -> Size {
        Size(self.0.div_ceil(stride), self.1.div_ceil(stride))
    }

    fn cells(self) -> u64 {
        (self.0 * self.1) as u64
    }
}

/// A convolution without bias, with `weights` weights, that yields a map of `cells` positions; then batch norm.
fn conv_norm(weights: usize, channels: usize, size: Size) -> Cost {
    Cost { params: (weights + 2 * channels) as u64, macs: weights as u64 * size.cells() }
}

/// [`conv_norm`] of a kernel that is mixed from `experts` kernels for every image.
fn mixed_conv_norm(experts: usize, weights: usize, channels: usize, size: Size) -> Cost {
    let Cost { params, macs } = conv_norm(weights, channels, size);
    let all = (experts * weights) as u64;
    Cost { params: params - weights as u64 + all, macs: macs + all }
}

/// A layer on a pooled vector, with bias.
fn linear(inputs: usize, outputs: usize) -> Cost {
    Cost { params: (inputs * outputs + outputs) as u64, macs: (inputs * outputs) as u64 }
}

impl NetworkSpec {
    /// Closed-form cost for one image of `height` x `width` pixels and a classifier with `classes` outputs. Both
    /// padding conventions give the same.
    pub fn cost(&self, height: usize, width: usize, classes: usize) -> NetworkCost {
        let mut size = Size(height, width).strided(2);
        let mut features = conv_norm(3 * 9 * self.stem, self.stem, size);
        for block in self.blocks() {
            let expanded = block.expanded_channels;
            if block.form == BlockForm::Full {
                size = size.strided(block.stride);
                let weights = block.kernel * block.kernel * block.in_channels * expanded;
                features += conv_norm(weights, expanded, size);
                features += conv_norm(expanded * block.out_channels, block.out_channels, size);
                continue;
            }
            let conv_norm = |weights, channels, size| match block.experts {
                Some(experts) => mixed_conv_norm(experts, weights, channels, size),
                None => conv_norm(weights, channels, size),
            };
            if let Some(experts) = block.experts {
                features += linear(block.in_channels, experts);
            }
            if block.expansion != 1 {
                features += conv_norm(block.in_channels * expanded, expanded, size);
            }
            size = size.strided(block.stride);
            features += conv_norm(block.kernel * block.kernel * expanded, expanded, size);
            if let Some(squeezed) = block.squeeze_channels {
                features += linear(expanded, squeezed) + linear(squeezed, expanded);
            }
            features += conv_norm(expanded * block.out_channels, block.out_channels, size);
        }
        let last = self.stages.last().map_or(self.stem, |stage| stage.channels);
        let head = conv_norm(last * self.head, self.head, size);
        NetworkCost { features, head, classifier: linear(self.head, classes) }
    }
}
