//! Windows for property tests.

use proptest::prelude::*;

use crate::Window;

/// Windows of the given kernels: strides 1 to 3, pads that differ from side to side, maps smaller than the kernel, one or
/// several images.
pub(crate) fn windows(kernels: &'static [usize]) -> impl Strategy<Value = Window> {
    let kernel = prop::sample::select(kernels);
    let size = || prop_oneof![1usize..6, 6usize..28];
    (kernel, 1usize..4, 1usize..3, [size(), size()]).prop_flat_map(
        |(kernel, stride, batch, [in_height, in_width])| {
            let pad = || 0..kernel;
            [pad(), pad(), pad(), pad()].prop_map(move |[pad_top, pad_bottom, pad_left, pad_right]| {
                // A padded map that is smaller than the kernel grows to it at its lower and right edges.
                let outputs = |size: usize| size.saturating_sub(kernel) / stride + 1;
                Window {
                    batch,
                    in_height,
                    in_width,
                    out_height: outputs(in_height + pad_top + pad_bottom),
                    out_width: outputs(in_width + pad_left + pad_right),
                    kernel,
                    stride,
                    pad_top,
                    pad_left,
                }
            })
        },
    )
}
