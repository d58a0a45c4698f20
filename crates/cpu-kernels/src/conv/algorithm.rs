//! Which algorithm a convolution runs on, and the weights packed for it.

use super::micro::micro_kernels;
use super::{Fused, direct, winograd};
use crate::{Isa, MapMut, MapRef, Window};

/// Channels from which on the transforms of minimal filtering cost less than the multiplications they save.
const FEWEST_CHANNELS: usize = 16;

/// Products of input and output channels up to which they do: more weights, four times as many by point, are read from
/// farther away than the few tiles of the maps that such layers have can pay for.
const MOST_PRODUCTS: usize = 128 * 128;

/// True for a convolution that takes fewer multiplications.
fn is_minimal(outputs: usize, inputs: usize, kernel: usize, stride: usize) -> bool {
    kernel == winograd::TAPS
        && stride == 1
        && outputs.min(inputs) >= FEWEST_CHANNELS
        && outputs * inputs <= MOST_PRODUCTS
}

/// The weight of a convolution, packed for [`forward`].
#[derive(Debug)]
pub struct PackedWeight(pub(super) Packed<direct::Weight>);

/// The weight of a convolution, packed for [`backward_data`].
#[derive(Debug)]
pub struct PackedTransposed(pub(super) Packed<direct::Transposed>);

/// A weight in the form that its algorithm reads.
#[derive(Debug)]
pub(super) enum Packed<D> {
    Direct(D),
    Winograd(winograd::Weight),
}

impl PackedWeight {
    /// Packs a weight `[O, I, k, k]` for an instruction set and a stride.
    ///
    /// # Panics
    /// When the length is not `O * I * k * k` or `k` is above [`MAX_KERNEL`](super::MAX_KERNEL).
    pub fn new(
        isa: Isa,
        weight_oihw: &[f32],
        out_channels: usize,
        in_channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Self {
        let kernels = micro_kernels(isa);
        PackedWeight(if is_minimal(out_channels, in_channels, kernel, stride) {
            let channels = [out_channels, in_channels];
            Packed::Winograd(winograd::Weight::new(kernels, isa, weight_oihw, channels, false))
        } else {
            Packed::Direct(direct::Weight::new(kernels, isa, weight_oihw, out_channels, in_channels, kernel))
        })
    }

    /// Takes new values of the same shape. Allocates nothing.
    ///
    /// # Panics
    /// As [`PackedWeight::new`].
    pub fn repack(&mut self, weight_oihw: &[f32]) {
        match &mut self.0 {
            Packed::Direct(weight) => weight.repack(weight_oihw),
            Packed::Winograd(weight) => weight.repack(weight_oihw),
        }
    }
}

impl PackedTransposed {
    /// Packs a weight `[O, I, k, k]` for an instruction set and for windows with this stride and padding.
    ///
    /// # Panics
    /// When the length is not `O * I * k * k` or `k` is above [`MAX_KERNEL`](super::MAX_KERNEL).
    pub fn new(
        isa: Isa,
        weight_oihw: &[f32],
        out_channels: usize,
        in_channels: usize,
        kernel: usize,
        stride: usize,
        pad_top: usize,
        pad_left: usize,
    ) -> Self {
        let kernels = micro_kernels(isa);
        PackedTransposed(if is_minimal(out_channels, in_channels, kernel, stride) {
            let channels = [out_channels, in_channels];
            Packed::Winograd(winograd::Weight::new(kernels, isa, weight_oihw, channels, true))
        } else {
            let pads = [pad_top, pad_left];
            Packed::Direct(direct::Transposed::new(
                kernels,
                isa,
                weight_oihw,
                out_channels,
                in_channels,
                kernel,
                stride,
                pads,
            ))
        })
    }

    /// Takes new values of the same shape. Allocates nothing.
    ///
    /// # Panics
    /// As [`PackedTransposed::new`].
    pub fn repack(&mut self, weight_oihw: &[f32]) {
        match &mut self.0 {
            Packed::Direct(weight) => weight.repack(weight_oihw),
            Packed::Winograd(weight) => weight.repack(weight_oihw),
        }
    }
}

/// A kernel whose packed values are linear in those that were packed.
pub(crate) trait PackedKernel: Sync {
    /// The packed values.
    fn values(&self) -> &[f32];
    /// A kernel of the same shape of other packed values.
    fn with_values(&self, values: Vec<f32>) -> Self;
    /// Its packed values.
    fn into_values(self) -> Vec<f32>;
}

/// For each type, the values and the same kernel of others, by the algorithm.
macro_rules! packed_kernel {
    ($($kernel:ident)*) => {$(
        impl PackedKernel for $kernel {
            fn values(&self) -> &[f32] {
                match &self.0 {
                    Packed::Direct(weight) => &weight.data,
                    Packed::Winograd(weight) => &weight.data,
                }
            }

            fn with_values(&self, values: Vec<f32>) -> Self {
                $kernel(match &self.0 {
                    Packed::Direct(weight) => Packed::Direct(weight.with_data(values)),
                    Packed::Winograd(weight) => Packed::Winograd(weight.with_data(values)),
                })
            }

            fn into_values(self) -> Vec<f32> {
                match self.0 {
                    Packed::Direct(weight) => weight.data,
                    Packed::Winograd(weight) => weight.data,
                }
            }
        }
    )*};
}
packed_kernel!(PackedWeight PackedTransposed);

/// Dense convolution: `y = round(activation(conv(x * gate, weight) + bias) + residual)`.
///
/// `x` is `[B, H, W, I]`, `y` is `[B, H', W', O]`. The value of an output does not depend on the number of threads.
///
/// # Panics
/// When the sizes of the maps, the weight, the window and what is fused do not fit, the weight was packed for another
/// instruction set or stride, or a gate is given to a convolution that is not pointwise.
pub fn forward(isa: Isa, x: MapRef, weight: &PackedWeight, window: &Window, fused: &Fused, y: &mut MapMut) {
    fused.check([window.batch, x.channels()], [y.positions(), y.channels()]);
    match &weight.0 {
        Packed::Direct(weight) => direct::forward(isa, x, weight, window, fused, y),
        Packed::Winograd(weight) => winograd::forward(isa, x, weight, window, fused, y),
    }
}

/// Gradient of [`forward`]'s sums with respect to `x`: `dx += ...` if `accumulate`, else every value of `dx` is
/// overwritten.
///
/// `dy` is `[B, H', W', O]`, `dx` is `[B, H, W, I]`.
///
/// # Panics
/// When the sizes of the maps, the weight and the window do not fit, or the weight was packed for another instruction
/// set, stride or padding.
pub fn backward_data(
    isa: Isa,
    dy: MapRef,
    weight: &PackedTransposed,
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    match &weight.0 {
        Packed::Direct(weight) => direct::backward_data(isa, dy, weight, window, accumulate, dx),
        Packed::Winograd(weight) => winograd::backward_data(isa, dy, weight, window, accumulate, dx),
    }
}

/// Gradient of [`forward`]'s sums with respect to the weight `[O, I, k, k]`: `dw += ...`.
///
/// `x` is `[B, H, W, I]`, `dy` is `[B, H', W', O]`. The sums over positions are cut by the number of threads; the same
/// number gives the same bits.
///
/// # Panics
/// When the sizes of the maps, the weight and the window do not fit, or the kernel side is above
/// [`MAX_KERNEL`](super::MAX_KERNEL).
pub fn backward_weight(isa: Isa, x: MapRef, dy: MapRef, window: &Window, dw_oihw: &mut [f32]) {
    let kernels = micro_kernels(isa);
    if is_minimal(dy.channels(), x.channels(), window.kernel, window.stride) {
        winograd::backward_weight(kernels, isa, x, dy, window, dw_oihw);
    } else {
        direct::backward_weight(kernels, x, dy, window, dw_oihw);
    }
}
