//! Weights as pairs of bf16 values.

use super::pairs;
use crate::conv::direct;
use crate::conv::micro::{MicroKernels, pair_kernels};
use crate::{Isa, Precision};

/// The weight of a convolution, rounded to bf16 and packed for [`forward`](super::forward).
///
/// `[panel][ky][kx][pair of in channels][out channel of the panel][2]`, padded with zeros to whole pairs and vectors.
#[derive(Debug)]
pub(in crate::conv) struct Weight {
    /// A weight of half as many input channels, whose values are pairs.
    pub(in crate::conv) pairs: direct::Weight,
    in_channels: usize,
}

impl Weight {
    /// Packs a weight `[O, I, k, k]` that is asked for in bf16, if the instruction set multiplies pairs; sizes are `[O, I, k]`.
    ///
    /// # Panics
    /// As [`Weight::new`].
    pub(in crate::conv) fn if_asked_for(
        isa: Isa,
        precision: Precision,
        weight_oihw: &[f32],
        sizes: [usize; 3],
    ) -> Option<Self> {
        let kernels = pair_kernels(isa).filter(|_| precision == Precision::Bf16)?;
        Some(Weight::new(kernels, isa, weight_oihw, sizes))
    }

    /// Packs a weight for an instruction set and micro-kernels of pairs.
    ///
    /// # Panics
    /// When the length is not `O * I * k * k` or `k` is above [`MAX_KERNEL`](crate::conv::MAX_KERNEL).
    pub(super) fn new(
        kernels: &'static MicroKernels,
        isa: Isa,
        weight_oihw: &[f32],
        [out_channels, in_channels, kernel]: [usize; 3],
    ) -> Self {
        let taps = kernel * kernel;
        assert_eq!(
            weight_oihw.len(),
            out_channels * in_channels * taps,
            "weight {out_channels} x {in_channels} x {taps}"
        );
        let mut values = Vec::with_capacity(out_channels * pairs::count(in_channels) * taps);
        for of_output in weight_oihw.chunks_exact((in_channels * taps).max(1)) {
            for both in of_output.chunks(2 * taps) {
                let second = |tap: usize| both.get(taps + tap).copied().unwrap_or(0.0);
                values.extend((0..taps).map(|tap| pairs::pair(both[tap], second(tap))));
            }
        }
        let pairs =
            direct::Weight::new(kernels, isa, &values, out_channels, pairs::count(in_channels), kernel);
        Weight { pairs, in_channels }
    }

    /// Output and input channels and the kernel side.
    pub(in crate::conv) fn sizes(&self) -> [usize; 3] {
        let [out_channels, _, kernel] = self.pairs.sizes();
        [out_channels, self.in_channels, kernel]
    }
}
