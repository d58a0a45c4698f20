//! Properties: in the CPU's instruction, if it has it, and in steps, the convolution equals the plain reference of rounded
//! operands.

use proptest::prelude::*;

use super::forward::near;
use super::*;
use crate::conv::Fused;
use crate::conv::micro::{MicroKernels, WIDE_PAIRS, pair_kernels};
use crate::conv::tests::{BOUND, Case, add, case, in_pool, magnitude};
use crate::test_maps::{TestMap, to_f64, values};
use crate::{Activation, Isa, MapRef, Precision, reference};

/// Every set of micro-kernels that runs here, and one with AVX-512's panels on every CPU.
fn all_kernels() -> Vec<(Isa, &'static MicroKernels)> {
    let own = Isa::available().iter().filter_map(|&isa| Some((isa, pair_kernels(isa)?)));
    own.chain([(Isa::PORTABLE, &WIDE_PAIRS)]).collect()
}

/// The values of a reference that is multiplied in bf16.
pub(in crate::conv) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| reference::bf16::round(*value) as f32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn forward_equals_reference_of_rounded_operands(
        case in case(),
        activation in prop::sample::select(vec![Activation::Identity, Activation::Silu, Activation::Relu6]),
        with_bias in any::<bool>(),
        with_residual in any::<bool>(),
        with_gate in any::<bool>(),
        near_pairs in prop::sample::select(vec![1usize, 300, 1 << 15]),
    ) {
        let Case { window, outputs, inputs, gaps, threads, seed } = case;
        let (x, weight) = (case.x(), case.weight());
        let gate = (with_gate && window.is_pointwise()).then(|| values(window.batch * inputs, 1.0, seed ^ 8));
        let gated: Vec<f32> = x.iter().enumerate().map(|(index, x)| {
            let image = index / (window.in_height * window.in_width * inputs);
            x * gate.as_ref().map_or(1.0, |gate| gate[image * inputs + index % inputs])
        }).collect();
        let bias = values(outputs, 1.0, seed ^ 4);
        let residual = case.y();
        let (gated, rounded_weight) = (rounded(&gated), rounded(&weight));
        let sums = |x: &[f64], weight: &[f64]| reference::conv::forward(x, weight, &window, case.channels());
        let tolerance = BOUND * magnitude(&gated, &rounded_weight, sums);
        let mut expected = sums(&to_f64(&gated), &to_f64(&rounded_weight));
        if with_bias {
            expected.chunks_exact_mut(outputs).for_each(|row| add(row, &bias));
        }
        expected.iter_mut().for_each(|y| *y = reference::activation::activate(activation, *y));
        if with_residual {
            add(&mut expected, &residual);
        }

        let x = TestMap::new(&x, inputs, gaps[0]);
        let residual = TestMap::new(&residual, outputs, gaps[0]);
        let fused = Fused {
            gate: gate.as_ref().map(|gate| MapRef::dense(gate, inputs)),
            bias: with_bias.then_some(&bias[..]),
            activation,
            residual: with_residual.then(|| residual.map()),
            precision: Precision::F32,
        };
        for (isa, kernels) in all_kernels() {
            let packed = Weight::new(kernels, isa, &weight, [outputs, inputs, window.kernel]);
            let mut y = TestMap::new(&vec![f32::NAN; expected.len()], outputs, gaps[1]);
            let run = |fused: &Fused, y: &mut TestMap| {
                in_pool(threads, || near(isa, x.map(), &packed, &window, fused, near_pairs, &mut y.map_mut()));
            };
            run(&fused, &mut y);
            y.assert_close(&expected, tolerance, isa.name());
            let mut in_bf16 = y.clone();
            run(&Fused { precision: Precision::Bf16, ..fused }, &mut in_bf16);
            in_bf16.assert_rounded(&y, isa.name());
        }
    }
}
