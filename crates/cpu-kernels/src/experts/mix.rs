//! Sums of kernels, each times a factor, and what their gradients need.

use crate::conv::PackedKernel;
use crate::isa::{mul_add, multiversion};
use crate::{Isa, lanes, parallel};

/// Values that a thread mixes at a time.
const CHUNK: usize = 1 << 13;

/// Values that stay in the first-level cache while expert after expert is added.
const BLOCK: usize = 1 << 11;

/// Products that are added up in `f32`.
const RUN: usize = 1 << 10;

impl PackedKernel for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }

    fn with_values(&self, values: Vec<f32>) -> Self {
        values
    }

    fn into_values(self) -> Vec<f32> {
        self
    }
}

/// `y` becomes the sum of the kernels, each times its share.
pub(super) fn mix<K: PackedKernel>(isa: Isa, kernels: &[K], shares: &[f32], y: &mut [f32]) {
    assert!(kernels.iter().all(|kernel| kernel.values().len() == y.len()), "kernels of one size");
    parallel::run_on_chunks(y, CHUNK, |chunk, y| {
        for (block, y) in y.chunks_mut(BLOCK).enumerate() {
            let start = chunk * CHUNK + block * BLOCK;
            for (number, (kernel, &share)) in kernels.iter().zip(shares).enumerate() {
                let values = &kernel.values()[start..start + y.len()];
                if number == 0 { scale(isa, share, values, y) } else { add(isa, share, values, y) }
            }
        }
    });
}

/// Adds the gradient of a mix to those of all experts, `dw[e] += shares[e] * gradient`.
pub(super) fn add_scaled(isa: Isa, shares: &[f32], gradient: &[f32], dw: &mut [f32]) {
    assert_eq!(dw.len(), shares.len() * gradient.len(), "gradients of the experts");
    parallel::run_on_chunks(dw, gradient.len(), |expert, dw| add(isa, shares[expert], gradient, dw));
}

/// The gradient of a mix's shares, `<expert, gradient>` for each kernel of `weight`; added to `shares` if `accumulate`.
pub(super) fn dot(isa: Isa, weight: &[f32], gradient: &[f32], accumulate: bool, shares: &mut [f32]) {
    assert_eq!(weight.len(), shares.len() * gradient.len(), "a share for every expert");
    parallel::run_on_chunks(shares, 1, |expert, share| {
        let before = if accumulate { share[0] } else { 0.0 };
        let kernel = &weight[expert * gradient.len()..][..gradient.len()];
        share[0] = before + products(isa, kernel, gradient);
    });
}

multiversion! {
    fn scale(share: f32, x: &[f32], y: &mut [f32]) {
        lanes::update(y, x, |y, x| *y = share * x);
    }
}

multiversion! {
    fn add(share: f32, x: &[f32], y: &mut [f32]) {
        lanes::update(y, x, |y, x| *y = mul_add::<FMA>(share, x, *y));
    }
}

multiversion! {
    /// The sum of products: short runs in `f32`, then in `f64`.
    fn products(a: &[f32], b: &[f32]) -> f32 {
        let mut total = 0.0;
        for (a, b) in a.chunks(RUN).zip(b.chunks(RUN)) {
            let mut sums = [0.0f32; 32];
            let ((groups, tail), (b_groups, b_tail)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
            for (a, b) in groups.iter().zip(b_groups) {
                for lane in 0..32 {
                    sums[lane] = mul_add::<FMA>(a[lane], b[lane], sums[lane]);
                }
            }
            for (lane, (a, b)) in tail.iter().zip(b_tail).enumerate() {
                sums[lane] = mul_add::<FMA>(*a, *b, sums[lane]);
            }
            total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
        }
        total as f32
    }
}
