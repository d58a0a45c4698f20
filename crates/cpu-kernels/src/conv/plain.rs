//! The weight of a plain sum for inference, in either precision.

use super::{bf16, direct, micro};
use crate::{Isa, MapRef, Precision};

/// A weight that is multiplied by rows of a map, or by these rows as pairs of bf16 values.
#[derive(Debug)]
pub(super) enum PlainWeight {
    F32(direct::Weight),
    Bf16(bf16::Weight),
}

impl PlainWeight {
    /// Packs a weight `[O, I, k, k]`.
    pub(super) fn new(isa: Isa, precision: Precision, weight_oihw: &[f32], sizes: [usize; 3]) -> Self {
        match precision {
            Precision::F32 => {
                let (kernels, [out_channels, in_channels, kernel]) = (micro::micro_kernels(isa), sizes);
                let weight =
                    direct::Weight::new(kernels, isa, weight_oihw, out_channels, in_channels, kernel);
                PlainWeight::F32(weight)
            }
            Precision::Bf16 => PlainWeight::Bf16(bf16::Weight::new(isa, weight_oihw, sizes)),
        }
    }

    /// Output and input channels and the kernel side.
    pub(super) fn sizes(&self) -> [usize; 3] {
        match self {
            PlainWeight::F32(weight) => weight.sizes(),
            PlainWeight::Bf16(weight) => weight.sizes(),
        }
    }

    /// The weight that the rows of [`PlainWeight::with_rows`] are multiplied by.
    pub(super) fn direct(&self) -> &direct::Weight {
        match self {
            PlainWeight::F32(weight) => weight,
            PlainWeight::Bf16(weight) => &weight.pairs,
        }
    }

    /// Lends the rows of a map in the form that they are multiplied in.
    pub(super) fn with_rows(&self, isa: Isa, x: MapRef, work: impl FnOnce(MapRef)) {
        match self {
            PlainWeight::F32(_) => work(x),
            PlainWeight::Bf16(_) => bf16::with_pairs(x.positions(), x.channels(), |mut pairs| {
                bf16::fill(isa, x, None, 0, &mut pairs);
                work(pairs.as_ref());
            }),
        }
    }
}
