//! Properties: every instruction set equals the plain reference, at any size, padding and row stride.

use proptest::prelude::*;

use super::algorithm::Packed;
use super::depthwise_after::{Cut, DepthwiseAfter};
use super::micro::{MicroKernels, WIDE, micro_kernels};
use super::*;
use crate::test_maps::{TestMap, assert_close, to_f64, values};
use crate::test_windows::windows;
use crate::{Activation, Isa, MapRef, Precision, Window, reference};

/// Largest error of an `f32` sum, relative to the largest sum of its products' absolute values.
pub(super) const BOUND: f64 = 1e-6;

/// The same for sums by minimal filtering.
const MINIMAL_BOUND: f64 = 4e-6;

const KERNELS: &[usize] = &[1, 1, 1, 2, 3, 3, 3, 5, 7];

/// The algorithms; the plain one for every case, minimal filtering where it can run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Algorithm {
    Direct,
    Minimal,
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) window: Window,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Values between the rows of the map that is read and of the map that is written.
    pub(super) gaps: [usize; 2],
    pub(super) threads: usize,
    pub(super) seed: u64,
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let channels = || prop_oneof![1..10usize, 10..70usize];
    let gap = || prop_oneof![Just(0usize), 1..5usize];
    let threads = prop::sample::select(vec![1, 2, 3, 5]);
    (windows(KERNELS), [channels(), channels()], [gap(), gap()], threads, any::<u64>()).prop_map(
        |(window, [outputs, inputs], gaps, threads, seed)| Case {
            window,
            outputs,
            inputs,
            gaps,
            threads,
            seed,
        },
    )
}

impl Case {
    pub(super) fn channels(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    pub(super) fn x(&self) -> Vec<f32> {
        values(self.window.in_positions() * self.inputs, 1.0, self.seed)
    }

    pub(super) fn y(&self) -> Vec<f32> {
        values(self.window.out_positions() * self.outputs, 1.0, self.seed ^ 1)
    }

    fn algorithms(&self) -> impl Iterator<Item = Algorithm> + use<> {
        let minimal = self.window.kernel == 3 && self.window.stride == 1;
        [Algorithm::Direct].into_iter().chain(minimal.then_some(Algorithm::Minimal))
    }

    pub(super) fn weight(&self) -> Vec<f32> {
        values(self.outputs * self.inputs * self.window.kernel.pow(2), 1.0, self.seed ^ 2)
    }
}

/// Every set of micro-kernels that runs here, and one with AVX-512's panels on every CPU.
fn all_kernels() -> Vec<(Isa, &'static MicroKernels)> {
    let real = Isa::available().iter().map(|&isa| (isa, micro_kernels(isa)));
    real.chain([(Isa::PORTABLE, &WIDE)]).collect()
}

pub(super) fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Largest of sums of products of absolute values, given a function that makes such sums of its arguments.
pub(super) fn magnitude(a: &[f32], b: &[f32], sums: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> f64 {
    let magnitude = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(x.abs())).collect() };
    sums(&magnitude(a), &magnitude(b)).into_iter().fold(1.0, f64::max)
}

impl Algorithm {
    /// Bound on the error of sums of a magnitude.
    fn tolerance(self, magnitude: f64) -> f64 {
        magnitude
            * match self {
                Algorithm::Direct => BOUND,
                Algorithm::Minimal => MINIMAL_BOUND,
            }
    }
}

pub(super) fn add(sums: &mut [f64], other: &[f32]) {
    sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += f64::from(*other));
}

/// What is fused to a convolution.
#[derive(Debug, Clone, Copy)]
struct Extras {
    gate_given: bool,
    bias_given: bool,
    residual_given: bool,
    activation: Activation,
}

fn extras() -> impl Strategy<Value = Extras> {
    let activations = vec![
        Activation::Identity,
        Activation::Silu,
        Activation::Relu,
        Activation::Relu6,
        Activation::Sigmoid,
    ];
    (any::<[bool; 3]>(), prop::sample::select(activations)).prop_map(
        |([gate_given, bias_given, residual_given], activation)| Extras {
            gate_given,
            bias_given,
            residual_given,
            activation,
        },
    )
}

/// A pointwise convolution that is summed up in several steps, in blocks that end at images if the gate is in the weights.
fn deep_pointwise() -> impl Strategy<Value = Case> {
    let sizes = (1..4usize, 1..15usize, 1..15usize);
    (case(), sizes, 500..1200usize).prop_map(|(case, (batch, height, width), inputs)| {
        let window = Window {
            batch,
            in_height: height,
            in_width: width,
            out_height: height,
            out_width: width,
            kernel: 1,
            stride: 1,
            pad_top: 0,
            pad_left: 0,
        };
        Case { window, inputs, ..case }
    })
}

fn check_forward(case: &Case, extras: Extras) {
    let &Case { window, outputs, inputs, gaps, threads, seed } = case;
    let Extras { gate_given, bias_given, residual_given, activation } = extras;
    let (x, weight) = (case.x(), case.weight());
    let gate = (gate_given && window.is_pointwise()).then(|| values(window.batch * inputs, 1.0, seed ^ 8));
    let gated: Vec<f32> = x
        .iter()
        .enumerate()
        .map(|(index, x)| {
            let image = index / (window.in_height * window.in_width * inputs);
            x * gate.as_ref().map_or(1.0, |gate| gate[image * inputs + index % inputs])
        })
        .collect();
    let bias = values(outputs, 1.0, seed ^ 4);
    let residual = case.y();
    let sums = |x: &[f64], weight: &[f64]| reference::conv::forward(x, weight, &window, case.channels());
    let magnitude = magnitude(&gated, &weight, sums);
    let mut expected = sums(&to_f64(&gated), &to_f64(&weight));
    if bias_given {
        expected.chunks_exact_mut(outputs).for_each(|row| add(row, &bias));
    }
    expected.iter_mut().for_each(|y| *y = reference::activation::activate(activation, *y));
    if residual_given {
        add(&mut expected, &residual);
    }

    let x = TestMap::new(&x, inputs, gaps[0]);
    let residual = TestMap::new(&residual, outputs, gaps[0]);
    let fused = Fused {
        gate: gate.as_ref().map(|gate| MapRef::dense(gate, inputs)),
        bias: bias_given.then_some(&bias[..]),
        activation,
        residual: residual_given.then(|| residual.map()),
        precision: Precision::F32,
    };
    for (isa, kernels) in all_kernels() {
        for algorithm in case.algorithms() {
            let packed = match algorithm {
                Algorithm::Direct => {
                    Packed::Direct(direct::Weight::new(kernels, isa, &weight, outputs, inputs, window.kernel))
                }
                Algorithm::Minimal => {
                    Packed::Winograd(winograd::Weight::new(kernels, isa, &weight, [outputs, inputs], false))
                }
            };
            let packed = PackedWeight(packed);
            let mut y = TestMap::new(&vec![f32::NAN; expected.len()], outputs, gaps[1]);
            let run = |fused: &Fused, y: &mut TestMap| {
                in_pool(threads, || forward(isa, x.map(), &packed, &window, fused, &mut y.map_mut()));
            };
            run(&fused, &mut y);
            let context = format!("{algorithm:?} on {}", isa.name());
            y.assert_close(&expected, algorithm.tolerance(magnitude), &context);
            let mut in_bf16 = y.clone();
            run(&Fused { precision: Precision::Bf16, ..fused }, &mut in_bf16);
            in_bf16.assert_rounded(&y, &context);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn deep_pointwise_equals_reference(case in deep_pointwise(), extras in extras()) {
        check_forward(&case, extras);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn forward_equals_reference(case in case(), extras in extras()) {
        check_forward(&case, extras);
    }

    #[test]
    fn backward_data_equals_reference(case in case(), accumulate in any::<bool>()) {
        let Case { window, outputs, inputs, gaps, threads, .. } = case;
        let (dy, weight, before) = (case.y(), case.weight(), case.x());
        let sums = |dy: &[f64], weight: &[f64]| reference::conv::backward_data(dy, weight, &window, case.channels());
        let magnitude = magnitude(&dy, &weight, sums);
        let mut expected = sums(&to_f64(&dy), &to_f64(&weight));
        if accumulate {
            add(&mut expected, &before);
        }

        let dy = TestMap::new(&dy, outputs, gaps[0]);
        let Window { kernel, stride, pad_top, pad_left, .. } = window;
        for (isa, kernels) in all_kernels() {
            let pads = [pad_top, pad_left];
            for algorithm in case.algorithms() {
                let packed = match algorithm {
                    Algorithm::Direct => Packed::Direct(direct::Transposed::new(
                        kernels, isa, &weight, outputs, inputs, kernel, stride, pads,
                    )),
                    Algorithm::Minimal => {
                        Packed::Winograd(winograd::Weight::new(kernels, isa, &weight, [outputs, inputs], true))
                    }
                };
                let packed = PackedTransposed(packed);
                let mut dx = TestMap::new(&before, inputs, gaps[1]);
                in_pool(threads, || backward_data(isa, dy.map(), &packed, &window, accumulate, &mut dx.map_mut()));
                let context = format!("{algorithm:?} on {}", isa.name());
                dx.assert_close(&expected, algorithm.tolerance(magnitude), &context);
            }
        }
    }

    #[test]
    fn backward_weight_equals_reference(case in case()) {
        let Case { window, outputs, inputs, gaps, threads, .. } = case;
        let (x, dy, before) = (case.x(), case.y(), case.weight());
        let sums = |x: &[f64], dy: &[f64]| reference::conv::backward_weight(x, dy, &window, case.channels());
        let magnitude = magnitude(&x, &dy, sums);
        let mut expected = sums(&to_f64(&x), &to_f64(&dy));
        add(&mut expected, &before);

        let (x, dy) = (TestMap::new(&x, inputs, gaps[0]), TestMap::new(&dy, outputs, gaps[1]));
        for (isa, kernels) in all_kernels() {
            for algorithm in case.algorithms() {
                let mut dw = before.clone();
                let (x, dy) = (x.map(), dy.map());
                in_pool(threads, || match algorithm {
                    Algorithm::Direct => direct::backward_weight(kernels, x, dy, &window, &mut dw),
                    Algorithm::Minimal => winograd::backward_weight(kernels, isa, x, dy, &window, &mut dw),
                });
                let context = format!("{algorithm:?} on {}", isa.name());
                assert_close(&dw, &expected, algorithm.tolerance(magnitude), &context);
            }
        }
    }

    #[test]
    fn depthwise_after_equals_reference(
        case in case(),
        next in (prop::sample::select(vec![2usize, 3, 5]), 1usize..3, 0usize..3, 0usize..3),
        activation in prop::sample::select(vec![Activation::Identity, Activation::Silu]),
        (rows, bands, panels) in (1usize..9, 1usize..9, 1usize..4),
        precision in prop::sample::select(vec![Precision::F32, Precision::Bf16]),
    ) {
        let Case { window: first, outputs: channels, inputs, gaps, threads, seed } = case;
        let (kernel, stride, pad_top, pad_left) = next;
        let size = |len: usize, pad: usize| (len + 2 * pad).saturating_sub(kernel) / stride + 1;
        let second = Window {
            batch: first.batch,
            in_height: first.out_height,
            in_width: first.out_width,
            out_height: size(first.out_height, pad_top),
            out_width: size(first.out_width, pad_left),
            kernel,
            stride,
            pad_top,
            pad_left,
        };
        // A convolution before has rounded the input.
        let multiplied = |values: Vec<f32>| match precision {
            Precision::F32 => values,
            Precision::Bf16 => bf16::tests::rounded(&values),
        };
        let (x, weight) = (multiplied(case.x()), case.weight());
        let depthwise = values(channels * kernel * kernel, 1.0, seed ^ 4);
        let bias = values(channels, 1.0, seed ^ 8);
        let finish = |precision| Finish { bias: bias.clone(), activation, precision };
        let act = |mut y: Vec<f64>| {
            y.chunks_exact_mut(channels).for_each(|row| add(row, &bias));
            y.iter_mut().for_each(|y| *y = reference::activation::activate(activation, *y));
            y
        };
        let conv_weight = to_f64(&multiplied(weight.clone()));
        let between = act(reference::conv::forward(&to_f64(&x), &conv_weight, &first, case.channels()));
        let expected = act(reference::depthwise::forward(&between, &to_f64(&depthwise), channels, &second));
        let area = second.out_height * second.out_width;
        let mean = |image: &[f64]| -> Vec<f64> {
            (0..channels).map(|c| image.chunks_exact(channels).map(|row| row[c]).sum::<f64>() / area as f64).collect()
        };
        let means: Vec<f64> = expected.chunks_exact(area * channels).flat_map(mean).collect();
        let size = |values: &[f64]| values.iter().fold(1.0, |max, value: &f64| value.abs().max(max));
        let tolerance = 1e-5 * size(&between).max(size(&expected)) * first.kernel as f64;

        let x = TestMap::new(&x, inputs, gaps[0]);
        for &isa in Isa::available() {
            let sizes = [channels, inputs, first.kernel];
            let packed = |result| {
                let finish = [Precision::F32, result].map(finish);
                let [conv, next] = finish;
                DepthwiseAfter::new(isa, precision, &weight, sizes, conv, &depthwise, kernel, next)
            };
            let [packed, rounding] = [Precision::F32, Precision::Bf16].map(packed);
            let empty = |len: usize, gap| TestMap::new(&vec![f32::NAN; len], channels, gap);
            let cuts = [None, Some(Cut { rows, band: rows * bands, panels })];
            for cut in cuts {
                let (mut y, mut pooled) = (empty(expected.len(), gaps[1]), empty(means.len(), gaps[0]));
                let mut in_bf16 = y.clone();
                let run = |packed, y: &mut TestMap, pooled: Option<&mut TestMap>| {
                    let (windows, mut pooled) = ([&first, &second], pooled.map(TestMap::map_mut));
                    let (x, mut y, pooled) = (x.map(), y.map_mut(), pooled.as_mut());
                    in_pool(threads, || match cut {
                        None => depthwise_after::forward(isa, x, packed, windows, &mut y, pooled),
                        Some(cut) => depthwise_after::in_cut(isa, x, packed, windows, cut, &mut y, pooled),
                    });
                };
                run(&packed, &mut y, Some(&mut pooled));
                let context = format!("{}, {cut:?} on {}", precision.name(), isa.name());
                y.assert_close(&expected, tolerance, &context);
                pooled.assert_close(&means, tolerance, &context);
                run(&rounding, &mut in_bf16, None);
                in_bf16.assert_rounded(&y, &context);
            }
        }
    }

    #[test]
    fn repacked_equals_packed(case in case()) {
        let Case { window, outputs, inputs, .. } = case;
        let Window { kernel, stride, pad_top, pad_left, .. } = window;
        let weight = case.weight();
        let other = values(weight.len(), 1.0, !case.seed);
        for &isa in Isa::available() {
            let forward = |weight: &[f32]| PackedWeight::new(isa, weight, outputs, inputs, kernel, stride);
            let mut packed = forward(&other);
            packed.repack(&weight);
            prop_assert!(packed.values() == forward(&weight).values());
            let transposed =
                |weight: &[f32]| PackedTransposed::new(isa, weight, outputs, inputs, kernel, stride, pad_top, pad_left);
            let mut packed = transposed(&other);
            packed.repack(&weight);
            prop_assert!(packed.values() == transposed(&weight).values());
        }
    }
}

#[test]
fn same_threads_same_bits() {
    let window = Window {
        batch: 2,
        in_height: 37,
        in_width: 41,
        out_height: 37,
        out_width: 41,
        kernel: 3,
        stride: 1,
        pad_top: 1,
        pad_left: 1,
    };
    // Few channels for the plain sum, more for minimal filtering.
    for [outputs, inputs] in [[12, 8], [40, 24]] {
        let x = values(window.in_positions() * inputs, 1.0, 1);
        let dy = values(window.out_positions() * outputs, 1.0, 2);
        let gradient = || {
            let mut dw = vec![0.0; outputs * inputs * 9];
            let (x, dy) = (MapRef::dense(&x, inputs), MapRef::dense(&dy, outputs));
            in_pool(3, || backward_weight(Isa::best(), x, dy, &window, &mut dw));
            dw
        };
        let first = gradient();
        (0..5).for_each(|_| assert!(first == gradient()));
    }
}
