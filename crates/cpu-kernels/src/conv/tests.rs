//! Properties: every instruction set equals the plain reference, at any size, padding and row stride.

use proptest::prelude::*;

use super::micro::{MicroKernels, WIDE, micro_kernels};
use super::*;
use crate::{Activation, Isa, MapMut, MapRef, Window, reference};

/// Largest error of an `f32` sum, relative to the sum of its products' absolute values.
const BOUND: f64 = 1e-5;

/// A value that stands between the rows of strided maps; no kernel may read it as part of a row, or change it.
const GAP: f32 = 1e30;

#[derive(Debug, Clone)]
struct Case {
    window: Window,
    outputs: usize,
    inputs: usize,
    /// Values between the rows of `x` and of `y`.
    gaps: [usize; 2],
    threads: usize,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let window = (
        1..3usize,
        [1..14usize, 1..14usize],
        prop::sample::select(vec![1, 1, 2, 3, 3, 5, 7]),
        1..4usize,
        prop::array::uniform4(0..7usize),
    );
    let window =
        window.prop_filter_map("kernel larger than the padded map", |(batch, size, kernel, stride, pads)| {
            let [top, left, bottom, right] = pads.map(|pad| pad % kernel);
            let out = |len: usize, before: usize, after: usize| {
                Some((len + before + after).checked_sub(kernel)? / stride + 1)
            };
            Some(Window {
                batch,
                in_height: size[0],
                in_width: size[1],
                out_height: out(size[0], top, bottom)?,
                out_width: out(size[1], left, right)?,
                kernel,
                stride,
                pad_top: top,
                pad_left: left,
            })
        });
    let channels = || prop_oneof![1..10usize, 10..70usize];
    let gap = || prop_oneof![Just(0usize), 1..5usize];
    (window, channels(), channels(), [gap(), gap()], prop::sample::select(vec![1, 2, 3, 5]), any::<u64>())
        .prop_map(|(window, outputs, inputs, gaps, threads, seed)| Case {
            window,
            outputs,
            inputs,
            gaps,
            threads,
            seed,
        })
}

/// Values in -1..1 that depend on the seed alone.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn magnitudes(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v.abs())).collect()
}

/// A map in memory, with gaps between its rows.
struct Strided {
    data: Vec<f32>,
    channels: usize,
    stride: usize,
}

impl Strided {
    fn new(dense: &[f32], channels: usize, gap: usize) -> Self {
        let row = |row: &[f32]| [row, &vec![GAP; gap]].concat();
        Strided {
            data: dense.chunks_exact(channels).flat_map(row).collect(),
            channels,
            stride: channels + gap,
        }
    }

    fn read(&self) -> MapRef<'_> {
        MapRef::new(&self.data, self.data.len() / self.stride, self.channels, self.stride)
    }

    fn write(&mut self) -> MapMut<'_> {
        let positions = self.data.len() / self.stride;
        MapMut::new(&mut self.data, positions, self.channels, self.stride)
    }

    fn gaps_are_whole(&self) -> bool {
        self.data.chunks_exact(self.stride).all(|row| row[self.channels..].iter().all(|&v| v == GAP))
    }
}

/// Every set of micro-kernels that runs here, and one with AVX-512's panels on every CPU.
fn all_kernels() -> Vec<(Isa, &'static MicroKernels)> {
    let real = Isa::available().iter().map(|&isa| (isa, micro_kernels(isa)));
    real.chain([(Isa::PORTABLE, &WIDE)]).collect()
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn check(what: &str, got: &[f32], expected: &[f64], magnitudes: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(got) - expected).abs();
        prop_assert!(
            error <= BOUND * magnitudes[index] + 1e-30,
            "{what}[{index}]: {got}, expected {expected}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn forward_equals_reference(
        case in case(),
        activation in prop::sample::select(vec![
            Activation::Identity, Activation::Silu, Activation::Relu, Activation::Relu6, Activation::Sigmoid,
        ]),
        with_bias in any::<bool>(),
        with_residual in any::<bool>(),
    ) {
        let Case { window, outputs, inputs, gaps, threads, seed } = case;
        let channels = [outputs, inputs];
        let x = values(seed, window.in_positions() * inputs);
        let weight = values(seed ^ 2, outputs * inputs * window.kernel * window.kernel);
        let bias = values(seed ^ 4, if with_bias { outputs } else { 0 });
        let residual = values(seed ^ 8, window.out_positions() * outputs);

        let mut expected = reference::conv::forward(&wide(&x), &wide(&weight), &window, channels);
        let mut size = reference::conv::forward(&magnitudes(&x), &magnitudes(&weight), &window, channels);
        for (index, y) in expected.iter_mut().enumerate() {
            let bias = if with_bias { f64::from(bias[index % outputs]) } else { 0.0 };
            let residual = if with_residual { f64::from(residual[index]) } else { 0.0 };
            *y = reference::activation::activate(activation, *y + bias) + residual;
            size[index] += bias.abs() + residual.abs();
        }

        let x = Strided::new(&x, inputs, gaps[0]);
        let residual = Strided::new(&residual, outputs, gaps[0]);
        let epilogue = Epilogue {
            bias: with_bias.then_some(&bias[..]),
            activation,
            residual: with_residual.then(|| residual.read()),
        };
        for (isa, kernels) in all_kernels() {
            let packed = PackedWeight::with(kernels, isa, &weight, outputs, inputs, window.kernel);
            let mut y = Strided::new(&vec![f32::NAN; expected.len()], outputs, gaps[1]);
            in_pool(threads, || forward(isa, x.read(), &packed, &window, &epilogue, &mut y.write()));
            check(isa.name(), &y.read().to_vec(), &expected, &size)?;
            prop_assert!(y.gaps_are_whole());
        }
    }

    #[test]
    fn backward_data_equals_reference(case in case(), accumulate in any::<bool>()) {
        let Case { window, outputs, inputs, gaps, threads, seed } = case;
        let channels = [outputs, inputs];
        let dy = values(seed, window.out_positions() * outputs);
        let weight = values(seed ^ 2, outputs * inputs * window.kernel * window.kernel);
        let before = values(seed ^ 4, window.in_positions() * inputs);

        let mut expected = reference::conv::backward_data(&wide(&dy), &wide(&weight), &window, channels);
        let mut size = reference::conv::backward_data(&magnitudes(&dy), &magnitudes(&weight), &window, channels);
        if accumulate {
            for (index, &before) in before.iter().enumerate() {
                expected[index] += f64::from(before);
                size[index] += f64::from(before.abs());
            }
        }

        let dy = Strided::new(&dy, outputs, gaps[0]);
        for (isa, kernels) in all_kernels() {
            let pads = [window.pad_top, window.pad_left];
            let packed =
                PackedTransposed::with(kernels, isa, &weight, outputs, inputs, window.kernel, window.stride, pads);
            let mut dx = Strided::new(&before, inputs, gaps[1]);
            in_pool(threads, || backward_data(isa, dy.read(), &packed, &window, accumulate, &mut dx.write()));
            check(isa.name(), &dx.read().to_vec(), &expected, &size)?;
            prop_assert!(dx.gaps_are_whole());
        }
    }

    #[test]
    fn backward_weight_equals_reference(case in case()) {
        let Case { window, outputs, inputs, gaps, threads, seed } = case;
        let channels = [outputs, inputs];
        let x = values(seed, window.in_positions() * inputs);
        let dy = values(seed ^ 2, window.out_positions() * outputs);
        let before = values(seed ^ 4, outputs * inputs * window.kernel * window.kernel);

        let mut expected = reference::conv::backward_weight(&wide(&x), &wide(&dy), &window, channels);
        let mut size = reference::conv::backward_weight(&magnitudes(&x), &magnitudes(&dy), &window, channels);
        for (index, &before) in before.iter().enumerate() {
            expected[index] += f64::from(before);
            size[index] += f64::from(before.abs());
        }

        let (x, dy) = (Strided::new(&x, inputs, gaps[0]), Strided::new(&dy, outputs, gaps[1]));
        for (isa, kernels) in all_kernels() {
            let mut dw = before.clone();
            in_pool(threads, || {
                backward_weight::backward_weight_with(kernels, x.read(), dy.read(), &window, &mut dw);
            });
            check(isa.name(), &dw, &expected, &size)?;
        }
    }

    #[test]
    fn repacked_equals_packed(case in case()) {
        let Case { window, outputs, inputs, seed, .. } = case;
        let Window { kernel, stride, pad_top, pad_left, .. } = window;
        let weight = values(seed, outputs * inputs * kernel * kernel);
        let other = values(seed ^ 2, weight.len());
        for &isa in Isa::available() {
            let mut packed = PackedWeight::new(isa, &other, outputs, inputs, kernel);
            packed.repack(&weight);
            prop_assert!(packed.data == PackedWeight::new(isa, &weight, outputs, inputs, kernel).data);
            let transposed =
                |weight: &[f32]| PackedTransposed::new(isa, weight, outputs, inputs, kernel, stride, pad_top, pad_left);
            let mut packed = transposed(&other);
            packed.repack(&weight);
            prop_assert!(packed.data == transposed(&weight).data);
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
    let (x, dy) = (values(1, window.in_positions() * 24), values(2, window.out_positions() * 40));
    let gradient = || {
        let mut dw = vec![0.0; 40 * 24 * 9];
        let (x, dy) = (MapRef::dense(&x, 24), MapRef::dense(&dy, 40));
        in_pool(3, || backward_weight(Isa::best(), x, dy, &window, &mut dw));
        dw
    };
    let first = gradient();
    (0..5).for_each(|_| assert!(first == gradient()));
}
