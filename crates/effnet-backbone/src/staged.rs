use crate::init::{conv_init, linear_init};
use crate::{mobilenet, resnet};
use effnet_scaling::{BlockKind, GroupSpec, StagedSpec};
use net_graph::{Activation, Backbone, Builder, Conv, GraphError, Init, Level, NodeId, Padding};

/// A MobileNetV1, MobileNetV2 or ResNet and how it was, or is to be, trained.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedConfig {
    /// Groups of blocks.
    pub spec: StagedSpec,
    /// Padding of all convolutions.
    pub padding: Padding,
    /// Epsilon of all batch norms.
    pub bn_eps: f64,
    /// Weight of the new batch in the running statistics (PyTorch's sense).
    pub bn_momentum: f64,
    /// First part of every name; may be empty.
    pub prefix: String,
    /// Strides of the levels that the backbone yields, strictly increasing.
    pub strides: Vec<usize>,
}

/// Builds the nodes of a MobileNetV1, MobileNetV2 or ResNet. Parameters have timm's names.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedNetwork {
    config: StagedConfig,
}

impl StagedNetwork {
    /// A builder for that configuration.
    ///
    /// # Panics
    /// When `config.strides` is empty, not strictly increasing, or names a stride that no map of the network has.
    pub fn new(config: StagedConfig) -> Self {
        let network = StagedNetwork { config };
        let available: Vec<usize> = network.ends().iter().map(|end| end.stride).collect();
        let wanted = &network.config.strides;
        let known = wanted.iter().all(|stride| available.contains(stride));
        assert!(
            !wanted.is_empty() && known && wanted.is_sorted_by(|a, b| a < b),
            "strides: expected increasing numbers of {available:?}, got {wanted:?}"
        );
        network
    }

    /// Appends the whole classifier with `classes` outputs and gives its logits `[B, K, 1, 1]`. `image` is
    /// `[B, 3, H, W]`.
    ///
    /// # Errors
    /// When a name is taken in the graph, or the channels of a group do not fit.
    pub fn build_classifier(
        &self,
        builder: &mut Builder,
        image: NodeId,
        classes: usize,
    ) -> Result<NodeId, GraphError> {
        let spec = &self.config.spec;
        let mut x = *self.features(builder, image, spec.groups.len())?.last().expect("a network has groups");
        let mut layers = StagedLayers { builder, config: &self.config };
        if let Some(channels) = spec.head {
            x = layers.conv_norm_act("conv_head", "bn2", x, channels, 1, 1)?;
        }
        let (pool, linear) = (layers.name("global_pool"), layers.name(self.classifier_name()));
        let pooled = builder.global_avg_pool(&pool, x)?;
        builder.linear(&linear, pooled, classes, linear_init(classes), Init::Constant(0.0))
    }

    fn classifier_name(&self) -> &'static str {
        if self.config.spec.block == BlockKind::Bottleneck { "fc" } else { "classifier" }
    }

    /// Stem and the first `groups` groups; the last map of each.
    fn features(
        &self,
        builder: &mut Builder,
        image: NodeId,
        groups: usize,
    ) -> Result<Vec<NodeId>, GraphError> {
        let spec = &self.config.spec;
        let mut layers = StagedLayers { builder, config: &self.config };
        let mut x = match spec.block {
            BlockKind::Bottleneck => resnet::stem(&mut layers, image, spec.stem)?,
            BlockKind::Separable | BlockKind::InvertedResidual => {
                layers.conv_norm_act("conv_stem", "bn1", image, spec.stem, 3, 2)?
            }
        };
        let mut outputs = Vec::with_capacity(groups);
        for (stage, group) in spec.groups.iter().take(groups).enumerate() {
            for index in 0..group.repeats {
                let stride = if index == 0 { group.stride } else { 1 };
                x = block(&mut layers, spec.block, stage, index, x, group, stride)?;
            }
            outputs.push(x);
        }
        Ok(outputs)
    }

    /// The last group of each stride.
    fn ends(&self) -> Vec<End> {
        let spec = &self.config.spec;
        let widening = if spec.block == BlockKind::Bottleneck { resnet::EXPANSION } else { 1 };
        let mut stride = if spec.block == BlockKind::Bottleneck { 4 } else { 2 };
        let mut ends: Vec<End> = Vec::new();
        for (group, spec) in spec.groups.iter().enumerate() {
            stride *= spec.stride;
            ends.retain(|end| end.stride != stride);
            ends.push(End { stride, group, channels: spec.channels * widening });
        }
        ends
    }

    fn wanted(&self) -> Vec<End> {
        let mut ends = self.ends();
        ends.retain(|end| self.config.strides.contains(&end.stride));
        ends
    }
}

/// The last group of one stride.
#[derive(Clone, Copy)]
struct End {
    stride: usize,
    group: usize,
    channels: usize,
}

impl Backbone for StagedNetwork {
    fn levels(&self) -> Vec<(usize, usize)> {
        self.wanted().iter().map(|end| (end.stride, end.channels)).collect()
    }

    fn build(&self, builder: &mut Builder, image: NodeId) -> Result<Vec<Level>, GraphError> {
        let wanted = self.wanted();
        let last = wanted.last().expect("checked when made").group;
        let outputs = self.features(builder, image, last + 1)?;
        let level =
            |end: &End| Level { stride: end.stride, channels: end.channels, node: outputs[end.group] };
        Ok(wanted.iter().map(level).collect())
    }
}

fn block(
    layers: &mut StagedLayers<'_>,
    kind: BlockKind,
    stage: usize,
    index: usize,
    x: NodeId,
    group: &GroupSpec,
    stride: usize,
) -> Result<NodeId, GraphError> {
    match kind {
        BlockKind::Separable => {
            mobilenet::separable(layers, &format!("blocks.{stage}.{index}"), x, group.channels, stride)
        }
        BlockKind::InvertedResidual => mobilenet::inverted_residual(
            layers,
            &format!("blocks.{stage}.{index}"),
            x,
            group.expansion,
            group.channels,
            stride,
        ),
        BlockKind::Bottleneck => {
            resnet::bottleneck(layers, &format!("layer{}.{index}", stage + 1), x, group.channels, stride)
        }
    }
}

/// Appends layers with one network's padding, batch norm and activation. Names are without the prefix.
pub(crate) struct StagedLayers<'a> {
    pub(crate) builder: &'a mut Builder,
    config: &'a StagedConfig,
}

impl StagedLayers<'_> {
    /// `name` below the prefix.
    pub(crate) fn name(&self, name: &str) -> String {
        match self.config.prefix.as_str() {
            "" => name.to_string(),
            prefix => format!("{prefix}.{name}"),
        }
    }

    /// MobileNetV2 clips at 6, the others do not.
    pub(crate) fn act(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        let activation = match self.config.spec.block {
            BlockKind::InvertedResidual => Activation::Relu6,
            BlockKind::Separable | BlockKind::Bottleneck => Activation::Relu,
        };
        let name = self.name(name);
        self.builder.activation(&name, x, activation)
    }

    /// Convolution and batch norm.
    pub(crate) fn conv_norm(
        &mut self,
        conv: &str,
        norm: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        self.grouped(conv, norm, x, out, kernel, stride, 1)
    }

    /// Convolution, batch norm, activation.
    pub(crate) fn conv_norm_act(
        &mut self,
        conv: &str,
        norm: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let x = self.conv_norm(conv, norm, x, out, kernel, stride)?;
        self.act(&format!("{norm}.act"), x)
    }

    /// 3x3 convolution a channel, batch norm, activation.
    pub(crate) fn depthwise_norm_act(
        &mut self,
        conv: &str,
        norm: &str,
        x: NodeId,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let channels = self.builder.channels(x);
        let x = self.grouped(conv, norm, x, channels, 3, stride, channels)?;
        self.act(&format!("{norm}.act"), x)
    }

    fn grouped(
        &mut self,
        conv: &str,
        norm: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> Result<NodeId, GraphError> {
        let (conv_name, norm_name) = (self.name(conv), self.name(norm));
        let conv = Conv { kernel, stride, padding: self.config.padding, groups };
        let init = conv_init(kernel, out / groups);
        let x = self.builder.conv(&conv_name, x, out, conv, init, None)?;
        self.builder.batch_norm(&norm_name, x, self.config.bn_eps, self.config.bn_momentum)
    }
}
