//! Convolution with a kernel of its own for every image, mixed from the kernels of experts: "CondConv" (arXiv 1904.04971,
//! section 3). The kernel of image `b` is the sum over the experts `e` of `routing[b, e] * weight[e]`.
//!
//! Packing a kernel is linear in its values. So the experts are packed once, what is mixed for an image is what was
//! packed, and the convolutions of ordinary kernels run on it, image by image.

mod mix;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use crate::conv::{self, Fused, PackedKernel, PackedTransposed, PackedWeight};
use crate::depthwise::{self, Epilogue};
use crate::{Isa, MapMut, MapRef, Window, scratch};
use mix::{add_scaled, dot, mix};

/// The experts of a convolution, packed for [`forward`].
#[derive(Debug)]
pub struct Experts(Packed<PackedWeight>);

/// The experts of a convolution, packed for [`backward_data`].
#[derive(Debug)]
pub struct TransposedExperts(Packed<PackedTransposed>);

/// One packed kernel an expert.
#[derive(Debug)]
enum Packed<K> {
    Dense(Vec<K>),
    /// As [`depthwise::pack`] has them.
    Depthwise {
        kernels: Vec<Vec<f32>>,
        channels: usize,
        kernel: usize,
    },
}

/// Shape of an expert's kernel, `[outputs, inputs, kernel, kernel]`, and the stride that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertShape {
    /// Number of experts.
    pub experts: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input channels; of a depthwise convolution as many as outputs, and its kernels are `[outputs, 1, kernel, kernel]`.
    pub inputs: usize,
    /// Each channel has its own taps.
    pub is_depthwise: bool,
    /// Kernel side.
    pub kernel: usize,
    /// Step in both axes.
    pub stride: usize,
}

impl ExpertShape {
    /// Values of an expert's kernel.
    pub fn kernel_len(&self) -> usize {
        let taps = self.kernel * self.kernel;
        if self.is_depthwise { self.outputs * taps } else { self.outputs * self.inputs * taps }
    }

    /// The kernel of every expert of a weight `[E, kernel values]`.
    fn kernels<'a>(&self, weight: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let len = self.kernel_len();
        assert_eq!(weight.len(), self.experts * len, "weight of {} experts of {len} values", self.experts);
        weight.chunks_exact(len)
    }

    fn depthwise<K>(&self, weight: &[f32]) -> Packed<K> {
        assert_eq!(self.outputs, self.inputs, "channels of a depthwise convolution");
        let (channels, kernel) = (self.outputs, self.kernel);
        let pack = |weight: &[f32]| {
            let mut packed = vec![0.0; weight.len()];
            depthwise::pack(weight, channels, kernel, &mut packed);
            packed
        };
        Packed::Depthwise { kernels: self.kernels(weight).map(pack).collect(), channels, kernel }
    }
}

impl<K> Packed<K> {
    /// Takes new values of the same shape; `repack` does so for a dense kernel.
    fn repack(&mut self, weight: &[f32], repack: impl Fn(&mut K, &[f32])) {
        let count = self.count();
        assert_eq!(weight.len() % count, 0, "a weight of {count} experts");
        let values = weight.chunks_exact(weight.len() / count);
        match self {
            Packed::Dense(kernels) => kernels.iter_mut().zip(values).for_each(|(k, v)| repack(k, v)),
            Packed::Depthwise { kernels, channels, kernel } => kernels
                .iter_mut()
                .zip(values)
                .for_each(|(packed, values)| depthwise::pack(values, *channels, *kernel, packed)),
        }
    }

    fn count(&self) -> usize {
        match self {
            Packed::Dense(kernels) => kernels.len(),
            Packed::Depthwise { kernels, .. } => kernels.len(),
        }
    }
}

impl Experts {
    /// Packs a weight `[E, kernel values]`, whose rows are kernels `[O, I, k, k]`, or `[C, 1, k, k]` of a depthwise
    /// convolution.
    ///
    /// # Panics
    /// When the length differs from that of `shape`, or the kernel side is above [`conv::MAX_KERNEL`].
    pub fn new(isa: Isa, weight: &[f32], shape: &ExpertShape) -> Self {
        if shape.is_depthwise {
            return Experts(shape.depthwise(weight));
        }
        let ExpertShape { outputs, inputs, kernel, stride, .. } = *shape;
        let pack = |weight| PackedWeight::new(isa, weight, outputs, inputs, kernel, stride);
        Experts(Packed::Dense(shape.kernels(weight).map(pack).collect()))
    }

    /// Takes new values of the same shape. Allocates nothing.
    ///
    /// # Panics
    /// When the length differs.
    pub fn repack(&mut self, weight: &[f32]) {
        self.0.repack(weight, PackedWeight::repack);
    }
}

impl TransposedExperts {
    /// As [`Experts::new`], for windows with this padding above and to the left.
    ///
    /// # Panics
    /// As there.
    pub fn new(isa: Isa, weight: &[f32], shape: &ExpertShape, [pad_top, pad_left]: [usize; 2]) -> Self {
        if shape.is_depthwise {
            return TransposedExperts(shape.depthwise(weight));
        }
        let ExpertShape { outputs, inputs, kernel, stride, .. } = *shape;
        let pack =
            |weight| PackedTransposed::new(isa, weight, outputs, inputs, kernel, stride, pad_top, pad_left);
        TransposedExperts(Packed::Dense(shape.kernels(weight).map(pack).collect()))
    }

    /// Takes new values of the same shape. Allocates nothing.
    ///
    /// # Panics
    /// When the length differs.
    pub fn repack(&mut self, weight: &[f32]) {
        self.0.repack(weight, PackedTransposed::repack);
    }
}

thread_local! {
    /// The mix of an image.
    static MIXED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// The gradient of an image's kernel.
    static GRADIENT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Mixes an image's kernel and lends it to `work`.
fn with_mixed<K: PackedKernel>(isa: Isa, experts: &[K], shares: &[f32], work: impl FnOnce(&K)) {
    assert_eq!(experts.len(), shares.len(), "a share for every expert");
    scratch::with(&MIXED, |buffer: &mut Vec<f32>| {
        buffer.resize(experts[0].values().len(), 0.0);
        mix(isa, experts, shares, buffer);
        let kernel = experts[0].with_values(std::mem::take(buffer));
        work(&kernel);
        *buffer = kernel.into_values();
    });
}

/// An image of a batch: its window, and which rows of the input and of the output are its own.
struct Image {
    window: Window,
    inputs: std::ops::Range<usize>,
    outputs: std::ops::Range<usize>,
}

/// Image after image of a batch, after a look at the sizes.
fn images(window: &Window, routing: MapRef, x: [usize; 2], count: usize) -> impl Iterator<Item = Image> {
    assert_eq!([routing.positions(), routing.channels()], [window.batch, count], "routing");
    assert_eq!(x, [window.in_positions(), window.out_positions()], "positions of input and output");
    let window = Window { batch: 1, ..*window };
    let (inputs, outputs) = (window.in_positions(), window.out_positions());
    (0..routing.positions()).map(move |image| Image {
        window,
        inputs: image * inputs..(image + 1) * inputs,
        outputs: image * outputs..(image + 1) * outputs,
    })
}

/// `y[b] = activation(conv(x[b] * gate[b], mixed kernel of b) + bias) + residual[b]`.
///
/// `x` is `[B, H, W, I]`, `routing` `[B, E]`, `y` `[B, H', W', O]`. The value of an output does not depend on the number
/// of threads. Allocates nothing once the thread has run it.
///
/// # Panics
/// When the sizes of the maps, the experts, the window and what is fused do not fit, the experts were packed for another
/// instruction set or stride, or a gate or a residual is given to a depthwise convolution.
pub fn forward(
    isa: Isa,
    x: MapRef,
    routing: MapRef,
    experts: &Experts,
    window: &Window,
    fused: &Fused,
    y: &mut MapMut,
) {
    let images = images(window, routing, [x.positions(), y.positions()], experts.0.count());
    for (b, Image { window, inputs, outputs }) in images.enumerate() {
        // SAFETY: the images share no row, and the map of one is gone before that of the next is made.
        let mut y = unsafe { y.part(outputs.clone()) };
        let (x, shares) = (x.part(inputs), routing.row(b));
        match &experts.0 {
            Packed::Dense(kernels) => with_mixed(isa, kernels, shares, |kernel| {
                let gate = fused.gate.map(|gate| gate.part(b..b + 1));
                let residual = fused.residual.map(|residual| residual.part(outputs));
                conv::forward(isa, x, kernel, &window, &Fused { gate, residual, ..*fused }, &mut y);
            }),
            Packed::Depthwise { kernels, .. } => with_mixed(isa, kernels, shares, |kernel| {
                let plain = fused.gate.is_none() && fused.residual.is_none();
                assert!(plain, "a depthwise convolution has neither gate nor residual");
                let epilogue =
                    Epilogue { bias: fused.bias, activation: fused.activation, precision: fused.precision };
                depthwise::forward(isa, x, kernel, &window, &epilogue, &mut y);
            }),
        }
    }
}

/// Gradient of [`forward`]'s sums with respect to `x`: `dx += ...` if `accumulate`, else every value of `dx` is
/// overwritten.
///
/// `dy` is `[B, H', W', O]`, `routing` `[B, E]`, `dx` `[B, H, W, I]`.
///
/// # Panics
/// When the sizes do not fit, or the experts were packed for another instruction set, stride or padding.
pub fn backward_data(
    isa: Isa,
    dy: MapRef,
    routing: MapRef,
    experts: &TransposedExperts,
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    let images = images(window, routing, [dx.positions(), dy.positions()], experts.0.count());
    for (b, Image { window, inputs, outputs }) in images.enumerate() {
        // SAFETY: as in `forward`.
        let mut dx = unsafe { dx.part(inputs) };
        let (dy, shares) = (dy.part(outputs), routing.row(b));
        match &experts.0 {
            Packed::Dense(kernels) => with_mixed(isa, kernels, shares, |kernel| {
                conv::backward_data(isa, dy, kernel, &window, accumulate, &mut dx);
            }),
            Packed::Depthwise { kernels, .. } => with_mixed(isa, kernels, shares, |kernel| {
                depthwise::backward_data(isa, dy, kernel, &window, accumulate, &mut dx);
            }),
        }
    }
}

/// Gradients of [`forward`]'s sums with respect to the experts, `dw[e] += routing[b, e] * g[b]`, and to the routing,
/// `d_routing[b, e] = <g[b], weight[e]>`, where `g[b]` is the gradient of image `b`'s kernel. `d_routing` is added to with
/// `accumulate`, else overwritten.
///
/// `x` is `[B, H, W, I]`, `dy` `[B, H', W', O]`, `routing` and `d_routing` `[B, E]`, `weight` and `dw` `[E, kernel values]`. The
/// sums over positions are cut by the number of threads; the same number gives the same bits.
///
/// # Panics
/// When the sizes do not fit, or the kernel side is above [`conv::MAX_KERNEL`].
pub fn backward_experts(
    isa: Isa,
    x: MapRef,
    dy: MapRef,
    routing: MapRef,
    weight: &[f32],
    shape: &ExpertShape,
    window: &Window,
    mut dw: Option<&mut [f32]>,
    mut d_routing: Option<(&mut MapMut, bool)>,
) {
    assert_eq!(weight.len(), shape.experts * shape.kernel_len(), "weight");
    assert_eq!([window.kernel, window.stride], [shape.kernel, shape.stride], "window");
    let images = images(window, routing, [x.positions(), dy.positions()], shape.experts);
    for (b, Image { window, inputs, outputs }) in images.enumerate() {
        scratch::with(&GRADIENT, |gradient: &mut Vec<f32>| {
            gradient.clear();
            gradient.resize(shape.kernel_len(), 0.0);
            let (x, dy) = (x.part(inputs), dy.part(outputs));
            if shape.is_depthwise {
                depthwise::backward_weight(isa, x, dy, &window, gradient);
            } else {
                conv::backward_weight(isa, x, dy, &window, gradient);
            }
            if let Some(dw) = dw.as_deref_mut() {
                add_scaled(isa, routing.row(b), gradient, dw);
            }
            if let Some((d_routing, accumulate)) = &mut d_routing {
                dot(isa, weight, gradient, *accumulate, d_routing.row_mut(b));
            }
        });
    }
}
