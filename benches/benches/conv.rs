//! Dense convolution, forward in f32 and bf16 and both gradients, on one thread and on all.
//!
//! Each case first checks its answer against the plain reference. Throughput counts floating-point operations, two a
//! multiply-add: read "Gelem/s" as GFLOP/s.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::hint::black_box;

use benches::settings::brief;
use benches::shapes::{ConvShape, DENSE, window};
use benches::values::{to_f64, wave};
use cpu_kernels::conv::{
    Fused, InferenceWeight, PackedTransposed, PackedWeight, backward_data, backward_weight, forward,
};
use cpu_kernels::reference::{activation as plain_activation, bf16 as plain_bf16, conv as plain};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Precision, Window};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPool;

/// A convolution with operands for every direction.
struct Case {
    shape: ConvShape,
    window: Window,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    packed: PackedWeight,
    transposed: PackedTransposed,
    bf16: InferenceWeight,
    /// `x` and `weight` as bf16 has them.
    rounded: [Vec<f32>; 2],
}

impl Case {
    fn new(isa: Isa, shape: ConvShape) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, side, .. } = shape;
        let window = window(1, side, kernel, stride);
        let weight = wave(outputs * inputs * kernel * kernel, 1.0, 1.0);
        let x = wave(window.in_positions() * inputs, 0.0, 1.0);
        let rounded = |values: &[f32]| values.iter().map(|value| plain_bf16::round(*value) as f32).collect();
        Case {
            shape,
            window,
            bf16: InferenceWeight::new(isa, Precision::Bf16, &weight, [outputs, inputs, kernel], stride),
            rounded: [rounded(&x), rounded(&weight)],
            x,
            dy: wave(window.out_positions() * outputs, 2.0, 1.0),
            packed: PackedWeight::new(isa, &weight, outputs, inputs, kernel, stride),
            transposed: PackedTransposed::new(
                isa,
                &weight,
                outputs,
                inputs,
                kernel,
                stride,
                window.pad_top,
                window.pad_left,
            ),
            weight,
        }
    }

    fn channels(&self) -> [usize; 2] {
        [self.shape.outputs, self.shape.inputs]
    }

    fn x(&self) -> MapRef<'_> {
        MapRef::dense(&self.x, self.shape.inputs)
    }

    fn dy(&self) -> MapRef<'_> {
        MapRef::dense(&self.dy, self.shape.outputs)
    }
}

/// Largest error of sums in single precision, as a share of the largest sum of the products' magnitudes: what the transforms
/// of minimal filtering may lose, and more than rounding takes from plain sums of some thousand products.
const ERROR: f64 = 4e-6;
/// Silu is nowhere steeper.
const STEEPEST: f64 = 1.1;

/// Sums of products of two operands, `plain::forward` and its gradients.
type Sums = fn(&[f64], &[f64], &Window, [usize; 2]) -> Vec<f64>;

/// One of the three passes.
struct Pass {
    name: &'static str,
    operands: fn(&Case) -> [&[f32]; 2],
    sums: Sums,
    activation: Activation,
    /// Writes or adds to its output.
    run: fn(&Case, &mut [f32]),
}

/// What the reference says, and how far from it an answer may be.
struct Expected {
    values: Vec<f64>,
    tolerance: f64,
}

impl Pass {
    fn expected(&self, case: &Case) -> Expected {
        let sums = |[a, b]: [Vec<f64>; 2]| (self.sums)(&a, &b, &case.window, case.channels());
        let operands = (self.operands)(case).map(to_f64);
        let magnitudes = operands.clone().map(|values| values.into_iter().map(f64::abs).collect());
        let values = sums(operands).into_iter().map(|sum| plain_activation::activate(self.activation, sum));
        let largest = sums(magnitudes).into_iter().fold(0.0, f64::max);
        Expected { values: values.collect(), tolerance: STEEPEST * ERROR * largest }
    }

    /// The output of a first run on zeros.
    fn checked(&self, case: &Case, expected: &Expected, pool: &ThreadPool) -> Vec<f32> {
        let mut output = vec![0.0; expected.values.len()];
        pool.install(|| (self.run)(case, &mut output));
        for (i, (&a, &e)) in output.iter().zip(&expected.values).enumerate() {
            let is_close = (f64::from(a) - e).abs() <= expected.tolerance;
            assert!(is_close, "{}, {}: value {i} is {a}, expected {e}", self.name, case.shape);
        }
        output
    }

    /// Times every shape on one thread and on all. Cases that are filtered out are not checked either.
    fn measure(&self, c: &mut Criterion) {
        let cases = DENSE.map(|shape| (Case::new(Isa::best(), shape), OnceCell::new()));
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in BTreeSet::from([1, all]) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let mut group = c.benchmark_group(format!("conv/{}, threads {threads}", self.name));
            for (case, expected) in &cases {
                group.throughput(Throughput::Elements(2 * case.shape.macs() as u64));
                let mut output = None;
                group.bench_function(case.shape.to_string(), |bencher| {
                    let expected = expected.get_or_init(|| self.expected(case));
                    let output = output.get_or_insert_with(|| self.checked(case, expected, &pool));
                    bencher.iter(|| pool.install(|| (self.run)(case, black_box(output))));
                });
            }
            group.finish();
        }
    }
}

fn forwards(c: &mut Criterion) {
    let pass = Pass {
        name: "forward, silu",
        operands: |case| [&case.x, &case.weight],
        sums: plain::forward,
        activation: Activation::Silu,
        run: |case, y| {
            let epilogue = Fused { activation: Activation::Silu, ..Fused::NONE };
            let mut y = MapMut::dense(y, case.shape.outputs);
            forward(Isa::best(), case.x(), &case.packed, &case.window, &epilogue, &mut y);
        },
    };
    pass.measure(c);
    let in_bf16 = Pass {
        name: "forward in bf16, silu",
        operands: |case| [&case.rounded[0], &case.rounded[1]],
        run: |case, y| {
            let epilogue = Fused { activation: Activation::Silu, ..Fused::NONE };
            let mut y = MapMut::dense(y, case.shape.outputs);
            let x = MapRef::dense(&case.rounded[0], case.shape.inputs);
            case.bf16.forward(Isa::best(), x, &case.window, &epilogue, &mut y);
        },
        ..pass
    };
    in_bf16.measure(c);
}

fn backwards(c: &mut Criterion) {
    let by_data = Pass {
        name: "backward data",
        operands: |case| [&case.dy, &case.weight],
        sums: plain::backward_data,
        activation: Activation::Identity,
        run: |case, dx| {
            let mut dx = MapMut::dense(dx, case.shape.inputs);
            backward_data(Isa::best(), case.dy(), &case.transposed, &case.window, false, &mut dx);
        },
    };
    by_data.measure(c);
    let by_weight = Pass {
        name: "backward weight",
        operands: |case| [&case.x, &case.dy],
        sums: plain::backward_weight,
        activation: Activation::Identity,
        run: |case, dw| backward_weight(Isa::best(), case.x(), case.dy(), &case.window, dw),
    };
    by_weight.measure(c);
}

criterion_group! { name = benches; config = brief(); targets = forwards, backwards }
criterion_main!(benches);
