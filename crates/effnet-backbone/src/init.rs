use net_graph::Init;

/// Normal with variance `2 / (k * k * out)` where `out` counts the channels a filter yields: all of them in an
/// ordinary convolution, one in a depthwise one.
pub(crate) fn conv_init(kernel: usize, out: usize) -> Init {
    Init::Normal { std: (2.0 / (kernel * kernel * out) as f64).sqrt() }
}

/// Uniform within `1 / sqrt(outputs)`.
pub(crate) fn linear_init(outputs: usize) -> Init {
    Init::Uniform { bound: 1.0 / (outputs as f64).sqrt() }
}
