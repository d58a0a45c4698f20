use net_graph::{Activation, Builder, Conv, GraphError, Init, NodeId, Padding};

const BN_EPS: f64 = 1e-3;
const BN_MOMENTUM: f64 = 0.03;

/// Start of a convolution's weights and bias: uniform within `1 / sqrt(fan in)` (He et al. with negative slope
/// `sqrt 5`, arXiv 1502.01852).
pub fn conv_init(in_channels: usize, kernel: usize) -> Init {
    Init::Uniform { bound: 1.0 / ((in_channels * kernel * kernel) as f64).sqrt() }
}

/// A full convolution with symmetric padding.
pub(crate) fn symmetric(kernel: usize, stride: usize) -> Conv {
    Conv { kernel, stride, padding: Padding::Symmetric, groups: 1 }
}

/// Convolution without bias, batch norm, SiLU: `[B, C, H, W]` to `[B, out, H / stride, W / stride]`.
///
/// # Errors
/// When a name is taken in the graph.
pub fn conv_norm_act(
    builder: &mut Builder,
    name: &str,
    x: NodeId,
    out: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let init = conv_init(builder.channels(x), kernel);
    let x = builder.conv(&format!("{name}.conv"), x, out, symmetric(kernel, stride), init, None)?;
    let x = builder.batch_norm(&format!("{name}.bn"), x, BN_EPS, BN_MOMENTUM)?;
    builder.activation(&format!("{name}.act"), x, Activation::Silu)
}

/// Two 3x3 convolutions of one width, with the input added if `shortcut`.
///
/// # Errors
/// When a name is taken in the graph.
pub fn bottleneck(
    builder: &mut Builder,
    name: &str,
    input: NodeId,
    shortcut: bool,
) -> Result<NodeId, GraphError> {
    let channels = builder.channels(input);
    let x = conv_norm_act(builder, &format!("{name}.cv1"), input, channels, 3, 1)?;
    let x = conv_norm_act(builder, &format!("{name}.cv2"), x, channels, 3, 1)?;
    if shortcut { builder.add(&format!("{name}.add"), input, x) } else { Ok(x) }
}

/// Cross-stage partial block with two convolutions: `[B, C, H, W]` to `[B, out, H, W]`.
///
/// A 1x1 convolution makes two halves of `out / 2` channels; `repeats` bottlenecks run in a chain on the second; both
/// halves and the output of every bottleneck are joined and mixed by a 1x1 convolution.
///
/// # Errors
/// When a name is taken in the graph.
pub fn c2f(
    builder: &mut Builder,
    name: &str,
    x: NodeId,
    out: usize,
    repeats: usize,
    shortcut: bool,
) -> Result<NodeId, GraphError> {
    let half = out / 2;
    let halves = conv_norm_act(builder, &format!("{name}.cv1"), x, 2 * half, 1, 1)?;
    let mut x = builder.slice(&format!("{name}.slice"), halves, half, half)?;
    let mut joined = vec![halves];
    for index in 0..repeats {
        x = bottleneck(builder, &format!("{name}.m.{index}"), x, shortcut)?;
        joined.push(x);
    }
    let x = builder.concat(&format!("{name}.concat"), &joined)?; // [B, (2 + repeats) * half, H, W]
    conv_norm_act(builder, &format!("{name}.cv2"), x, out, 1, 1)
}

/// Spatial pyramid pooling, the fast form: three 5x5 max-pools in a chain see windows of 5, 9 and 13 cells.
/// `[B, C, H, W]` to `[B, out, H, W]`.
///
/// # Errors
/// When a name is taken in the graph.
pub fn sppf(builder: &mut Builder, name: &str, x: NodeId, out: usize) -> Result<NodeId, GraphError> {
    let hidden = builder.channels(x) / 2;
    let x = conv_norm_act(builder, &format!("{name}.cv1"), x, hidden, 1, 1)?;
    let pool1 = builder.max_pool(&format!("{name}.pool1"), x, 5, 1)?;
    let pool2 = builder.max_pool(&format!("{name}.pool2"), pool1, 5, 1)?;
    let pool3 = builder.max_pool(&format!("{name}.pool3"), pool2, 5, 1)?;
    let x = builder.concat(&format!("{name}.concat"), &[x, pool1, pool2, pool3])?; // [B, 4 * hidden, H, W]
    conv_norm_act(builder, &format!("{name}.cv2"), x, out, 1, 1)
}
