//! Dense convolution, forward and both gradients, on one thread and on all.
//!
//! Each case first checks its answer against the plain reference. Throughput counts floating-point operations, two a
//! multiply-add: read "Gelem/s" as GFLOP/s.

use std::collections::BTreeSet;
use std::hint::black_box;

use benches::settings::brief;
use benches::shapes::{ConvShape, DENSE};
use benches::values::{to_f64, wave};
use cpu_kernels::conv::{Fused, PackedTransposed, PackedWeight, backward_data, backward_weight, forward};
use cpu_kernels::reference::{activation as plain_activation, conv as plain};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Window};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A convolution with operands for every direction.
struct Case {
    shape: ConvShape,
    window: Window,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    packed: PackedWeight,
    transposed: PackedTransposed,
}

impl Case {
    fn new(isa: Isa, shape: ConvShape) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, side, .. } = shape;
        let (pad, out_side) = (kernel / 2, shape.out_side());
        let window = Window {
            batch: 1,
            in_height: side,
            in_width: side,
            out_height: out_side,
            out_width: out_side,
            kernel,
            stride,
            pad_top: pad,
            pad_left: pad,
        };
        let weight = wave(outputs * inputs * kernel * kernel, 1.0, 1.0);
        Case {
            shape,
            window,
            x: wave(window.in_positions() * inputs, 0.0, 1.0),
            dy: wave(window.out_positions() * outputs, 2.0, 1.0),
            packed: PackedWeight::new(isa, &weight, outputs, inputs, kernel, stride),
            transposed: PackedTransposed::new(isa, &weight, outputs, inputs, kernel, stride, pad, pad),
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

/// Panics unless sums of products of values up to 1 are right; their number is at most `terms`.
fn check(case: &Case, actual: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(actual.len(), expected.len(), "{}: length", case.shape);
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - e).abs();
        assert!(error <= 1e-6 * (1 + terms) as f64, "{}: value {i} is {a}, expected {e}", case.shape);
    }
}

/// Times `run`, which writes or adds to its output, for every shape on one thread and on all. `terms` is how many
/// products a value of the output sums.
fn each_shape(
    c: &mut Criterion,
    name: &str,
    terms: impl Fn(&Case) -> usize,
    expected: impl Fn(&Case) -> Vec<f64>,
    run: impl Fn(&Case, &mut [f32]) + Sync,
) {
    let cases = DENSE.map(|shape| Case::new(Isa::best(), shape));
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in BTreeSet::from([1, all]) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let mut group = c.benchmark_group(format!("conv/{name}, threads {threads}"));
        for case in &cases {
            group.throughput(Throughput::Elements(2 * case.shape.macs() as u64));
            let mut checked = None;
            group.bench_function(case.shape.to_string(), |bencher| {
                let output = checked.get_or_insert_with(|| {
                    let expected = expected(case);
                    let mut output = vec![0.0; expected.len()];
                    pool.install(|| run(case, &mut output));
                    check(case, &output, &expected, terms(case));
                    output
                });
                bencher.iter(|| pool.install(|| run(case, black_box(output))));
            });
        }
        group.finish();
    }
}

fn forwards(c: &mut Criterion) {
    each_shape(
        c,
        "forward, silu",
        |case| case.shape.inputs * case.shape.kernel.pow(2),
        |case| {
            let y = plain::forward(&to_f64(&case.x), &to_f64(&case.weight), &case.window, case.channels());
            y.into_iter().map(|y| plain_activation::activate(Activation::Silu, y)).collect()
        },
        |case, y| {
            let epilogue = Fused { activation: Activation::Silu, ..Fused::NONE };
            let mut y = MapMut::dense(y, case.shape.outputs);
            forward(Isa::best(), case.x(), &case.packed, &case.window, &epilogue, &mut y);
        },
    );
}

fn backwards(c: &mut Criterion) {
    each_shape(
        c,
        "backward data",
        |case| case.shape.outputs * case.shape.kernel.pow(2),
        |case| plain::backward_data(&to_f64(&case.dy), &to_f64(&case.weight), &case.window, case.channels()),
        |case, dx| {
            let mut dx = MapMut::dense(dx, case.shape.inputs);
            backward_data(Isa::best(), case.dy(), &case.transposed, &case.window, false, &mut dx);
        },
    );
    each_shape(
        c,
        "backward weight",
        |case| case.window.out_positions(),
        |case| plain::backward_weight(&to_f64(&case.x), &to_f64(&case.dy), &case.window, case.channels()),
        |case, dw| backward_weight(Isa::best(), case.x(), case.dy(), &case.window, dw),
    );
}

criterion_group! { name = benches; config = brief(); targets = forwards, backwards }
criterion_main!(benches);
