use crate::staged::StagedLayers;
use net_graph::{GraphError, NodeId};

/// Channels that a bottleneck yields over its inner width.
pub(crate) const EXPANSION: usize = 4;

/// 7x7 stride 2, then max-pool 3x3 stride 2: `[B, channels, H / 4, W / 4]`.
pub(crate) fn stem(
    layers: &mut StagedLayers<'_>,
    image: NodeId,
    channels: usize,
) -> Result<NodeId, GraphError> {
    let x = layers.conv_norm_act("conv1", "bn1", image, channels, 7, 2)?;
    let name = layers.name("maxpool");
    layers.builder.max_pool(&name, x, 3, 2)
}

/// 1x1, 3x3 with the stride, 1x1 to four times `width`; sum with the input, projected where its shape differs;
/// activation after the sum (arXiv 1512.03385, figure 5; the stride in the 3x3 is the form called v1.5).
pub(crate) fn bottleneck(
    layers: &mut StagedLayers<'_>,
    name: &str,
    input: NodeId,
    width: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let out = width * EXPANSION;
    let x = layers.conv_norm_act(&part("conv1"), &part("bn1"), input, width, 1, 1)?;
    let x = layers.conv_norm_act(&part("conv2"), &part("bn2"), x, width, 3, stride)?;
    let x = layers.conv_norm(&part("conv3"), &part("bn3"), x, out, 1, 1)?;
    let keeps_shape = stride == 1 && layers.builder.channels(input) == out;
    let shortcut = if keeps_shape {
        input
    } else {
        layers.conv_norm(&part("downsample.0"), &part("downsample.1"), input, out, 1, stride)?
    };
    let name = layers.name(&part("add"));
    let x = layers.builder.add(&name, x, shortcut)?;
    layers.act(&part("act3"), x)
}
