//! The weight of a plain sum for inference, in either precision.

use super::{bf16, direct, micro};
use crate::{Isa, MapRef, Precision};

/// A weight that is multiplied by rows of a map, or by these rows as pairs of bf16 values.
#[derive(Debug)]
pub(super) enum PlainWeight {
    Singles(direct::Weight),
    Pairs(bf16::Weight),
}

impl PlainWeight {
    /// Packs a weight `[O, I, k, k]`.
    pub(super) fn new(isa: Isa, precision: Precision, weight_oihw: &[f32], sizes: [usize; 3]) -> Self {
        if let Some(pairs) = bf16::Weight::if_asked_for(isa, precision, weight_oihw, sizes) {
            return PlainWeight::Pairs(pairs);
        }
        let ([out_channels, in_channels, kernel], values) = (sizes, precision.round(weight_oihw));
        let kernels = micro::micro_kernels(isa);
        let weight = direct::Weight::new(kernels, isa, &values, out_channels, in_channels, kernel);
        PlainWeight::Singles(weight)
    }

    /// Output and input channels and the kernel side.
    pub(super) fn sizes(&self) -> [usize; 3] {
        match self {
            PlainWeight::Singles(weight) => weight.sizes(),
            PlainWeight::Pairs(weight) => weight.sizes(),
        }
    }

    /// The weight that the rows of [`PlainWeight::with_rows`] are multiplied by.
    pub(super) fn direct(&self) -> &direct::Weight {
        match self {
            PlainWeight::Singles(weight) => weight,
            PlainWeight::Pairs(weight) => &weight.pairs,
        }
    }

    /// Lends the rows of a map in the form that they are multiplied in.
    pub(super) fn with_rows(&self, isa: Isa, x: MapRef, work: impl FnOnce(MapRef)) {
        match self {
            PlainWeight::Singles(_) => work(x),
            PlainWeight::Pairs(_) => bf16::with_pairs(x.positions(), x.channels(), |mut pairs| {
                bf16::fill(isa, x, None, 0, &mut pairs);
                work(pairs.as_ref());
            }),
        }
    }
}
