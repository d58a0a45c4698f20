use crate::staged::StagedLayers;
use net_graph::{GraphError, NodeId};

/// Depthwise 3x3, then 1x1, both with activation (MobileNetV1, arXiv 1704.04861, section 3.1).
pub(crate) fn separable(
    layers: &mut StagedLayers<'_>,
    name: &str,
    x: NodeId,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let x = layers.depthwise_norm_act(&part("conv_dw"), &part("bn1"), x, stride)?;
    layers.conv_norm_act(&part("conv_pw"), &part("bn2"), x, channels, 1, 1)
}

/// 1x1 expansion, depthwise 3x3, linear 1x1; the sum with the input where stride and width allow (MobileNetV2, arXiv
/// 1801.04381, section 3.3). Without expansion timm calls the last convolution `conv_pw`.
pub(crate) fn inverted_residual(
    layers: &mut StagedLayers<'_>,
    name: &str,
    input: NodeId,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let in_channels = layers.builder.channels(input);
    let expands = expansion != 1;
    let mut x = input;
    if expands {
        x = layers.conv_norm_act(&part("conv_pw"), &part("bn1"), x, in_channels * expansion, 1, 1)?;
    }
    let (norm, project, last) = if expands { ("bn2", "conv_pwl", "bn3") } else { ("bn1", "conv_pw", "bn2") };
    x = layers.depthwise_norm_act(&part("conv_dw"), &part(norm), x, stride)?;
    x = layers.conv_norm(&part(project), &part(last), x, channels, 1, 1)?;
    if stride != 1 || in_channels != channels {
        return Ok(x);
    }
    let name = layers.name(&part("add"));
    layers.builder.add(&name, x, input)
}
