use proptest::prelude::*;

use super::*;
use crate::reference::{activation::activate, depthwise as reference};
use crate::test_maps::{TestMap, assert_close, to_f64, values};
use crate::test_windows::windows;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Silu, Activation::Relu, Activation::Relu6, Activation::Sigmoid];

/// Rounding errors grow with the number of summands; one value in a few thousand comes near this.
const TOLERANCE: f64 = 2e-6;

/// Channels with and without a rest after whole vectors, of one block and of several; the gaps of two maps; a seed.
fn layouts() -> impl Strategy<Value = (usize, [usize; 2], u64)> {
    let gap = || prop_oneof![Just(0usize), 1usize..9];
    (prop_oneof![1usize..40, Just(16), Just(48)], [gap(), gap()], any::<u64>())
}

fn packed(weight: &[f32], channels: usize, window: &Window) -> Vec<f32> {
    let mut packed = vec![0.0; weight.len()];
    pack(weight, channels, window.kernel, &mut packed);
    packed
}

fn weights(channels: usize, window: &Window, seed: u64) -> Vec<f32> {
    values(channels * window.kernel * window.kernel, 1.0, seed ^ 1)
}

/// What is added to `extra` if `accumulate`.
fn plus(accumulate: bool, extra: &[f64], sum: Vec<f64>) -> Vec<f64> {
    sum.iter().zip(extra).map(|(sum, extra)| if accumulate { sum + extra } else { *sum }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn forward_equals_the_reference(
        window in windows(&[1, 2, 3, 3, 5, 5, 7]),
        (channels, [x_gap, y_gap], seed) in layouts(),
        has_bias in any::<bool>(),
        activation in prop::sample::select(&ACTIVATIONS[..]),
    ) {
        let x = TestMap::random(window.in_positions(), channels, x_gap, 1.0, seed);
        let (weight, bias) = (weights(channels, &window, seed), values(channels, 1.0, seed ^ 2));
        let bias = has_bias.then_some(&bias[..]);
        let sums = reference::forward(&x.to_f64(), &to_f64(&weight), channels, &window).into_iter().enumerate();
        let biased = sums.map(|(i, sum)| sum + bias.map_or(0.0, |bias| f64::from(bias[i % channels])));
        let expected: Vec<_> = biased.map(|sum| activate(activation, sum)).collect();
        for &isa in Isa::available() {
            let mut y = TestMap::random(window.out_positions(), channels, y_gap, 9.0, seed);
            let packed = packed(&weight, channels, &window);
            let run = |precision, y: &mut TestMap| {
                let epilogue = Epilogue { bias, activation, precision };
                forward(isa, x.map(), &packed, &window, &epilogue, &mut y.map_mut());
            };
            run(Precision::F32, &mut y);
            y.assert_close(&expected, TOLERANCE, isa.name());
            let mut in_bf16 = y.clone();
            run(Precision::Bf16, &mut in_bf16);
            in_bf16.assert_rounded(&y, isa.name());
        }
    }

    #[test]
    fn backward_data_equals_the_reference(
        window in windows(&[1, 2, 3, 3, 5, 5, 7]),
        (channels, [x_gap, y_gap], seed) in layouts(),
        accumulate in any::<bool>(),
    ) {
        let dy = TestMap::random(window.out_positions(), channels, y_gap, 1.0, seed);
        let weight = weights(channels, &window, seed);
        let gradient = reference::backward_data(&dy.to_f64(), &to_f64(&weight), channels, &window);
        for &isa in Isa::available() {
            let mut dx = TestMap::random(window.in_positions(), channels, x_gap, 2.0, seed ^ 3);
            let expected = plus(accumulate, &dx.to_f64(), gradient.clone());
            backward_data(isa, dy.map(), &packed(&weight, channels, &window), &window, accumulate, &mut dx.map_mut());
            dx.assert_close(&expected, TOLERANCE, isa.name());
        }
    }

    #[test]
    fn backward_weight_equals_the_reference(
        window in windows(&[1, 2, 3, 3, 5, 5, 7]),
        (channels, [x_gap, y_gap], seed) in layouts(),
    ) {
        let x = TestMap::random(window.in_positions(), channels, x_gap, 1.0, seed);
        let dy = TestMap::random(window.out_positions(), channels, y_gap, 1.0, seed ^ 1);
        let before = weights(channels, &window, seed);
        let gradient = reference::backward_weight(&x.to_f64(), &dy.to_f64(), channels, &window);
        let expected = plus(true, &to_f64(&before), gradient);
        for &isa in Isa::available() {
            let mut dw = before.clone();
            backward_weight(isa, x.map(), dy.map(), &window, &mut dw);
            assert_close(&dw, &expected, 2e-5, isa.name());
        }
    }
}

/// Many rows and several threads: the same bits every time.
#[test]
fn backward_weight_is_deterministic() {
    let window = Window {
        batch: 3,
        in_height: 40,
        in_width: 40,
        out_height: 40,
        out_width: 40,
        kernel: 3,
        stride: 1,
        pad_top: 1,
        pad_left: 1,
    };
    let x = TestMap::random(window.in_positions(), 40, 0, 1.0, 1);
    let dy = TestMap::random(window.out_positions(), 40, 0, 1.0, 2);
    let gradient = || {
        let mut dw = vec![0.0; 40 * 9];
        backward_weight(Isa::best(), x.map(), dy.map(), &window, &mut dw);
        dw
    };
    let first = gradient();
    (0..10).for_each(|_| assert_eq!(gradient(), first));
}
