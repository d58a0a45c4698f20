use net_graph::Init;

/// Normal with variance `2 / (k * k * out)` where `out` counts the channels a filter yields: all of them in an
/// ordinary convolution, one in a depthwise one.
pub(crate) fn conv_init(kernel: usize, out: usize) -> Init {
    Init::Normal { std: (2.0 / (kernel * kernel * out) as f64).sqrt() }
}

/// Uniform with variance `2 / (inputs + experts)` (Glorot and Bengio 2010): every routing starts near one half for every
/// expert.
pub(crate) fn routing_init(inputs: usize, experts: usize) -> Init {
    Init::Uniform { bound: (6.0 / (inputs + experts) as f64).sqrt() }
}

/// Classes that the range of a classifier's weights was made for.
const IMAGENET_CLASSES: usize = 1000;

/// Uniform within `1 / sqrt(outputs)`, as the published networks start, but as if there were at least as many outputs
/// as ImageNet has: a network of ten classes would otherwise start with logits of many units and unlearn them first.
pub(crate) fn linear_init(outputs: usize) -> Init {
    Init::Uniform { bound: 1.0 / (outputs.max(IMAGENET_CLASSES) as f64).sqrt() }
}
