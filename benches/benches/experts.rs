//! Convolutions with kernels of experts beside the ordinary one of the same shape: what an image pays for its own kernel.
//!
//! Each case first checks its answer against the plain reference, with kernels mixed in `f64`. Throughput counts the
//! floating-point operations of the convolution, two a multiply-add, without those of the mixing.

use std::hint::black_box;

use benches::check::assert_close_to_max;
use benches::settings::brief;
use benches::shapes::{ConvShape, window};
use benches::values::{to_f64, wave};
use cpu_kernels::conv::{self, Fused, PackedWeight};
use cpu_kernels::experts::{
    ExpertShape, Experts, TransposedExperts, backward_data, backward_experts, forward,
};
use cpu_kernels::reference::{conv as plain_conv, depthwise as plain_depthwise};
use cpu_kernels::{Isa, MapMut, MapRef, Window, depthwise};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const IMAGES: usize = 4;
const EXPERTS: usize = 4;

/// The three convolutions of a block of the last stages of EfficientNet-B0 at 224 pixels.
const BLOCK: [ConvShape; 3] = [
    ConvShape { inputs: 192, outputs: 1152, kernel: 1, stride: 1, groups: 1, side: 7 },
    ConvShape { inputs: 1152, outputs: 1152, kernel: 5, stride: 1, groups: 1152, side: 7 },
    ConvShape { inputs: 1152, outputs: 192, kernel: 1, stride: 1, groups: 1, side: 7 },
];

/// Largest distance from the reference as a share of the largest value: rounding of single precision in sums of up to
/// 1152 products, times the mixing.
const TOLERANCE: f64 = 1e-5;

struct Layer {
    shape: ExpertShape,
    window: Window,
    x: Vec<f32>,
    dy: Vec<f32>,
    routing: Vec<f32>,
    weight: Vec<f32>,
}

/// What the reference says.
struct Expected {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    d_routing: Vec<f64>,
    /// For each value of `d_routing` the sum of the products' magnitudes.
    magnitudes: Vec<f64>,
}

impl Layer {
    fn new(shape: &ConvShape) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, side, .. } = *shape;
        let window = window(IMAGES, side, kernel, stride);
        let shape =
            ExpertShape { experts: EXPERTS, outputs, inputs, is_depthwise: shape.groups > 1, kernel, stride };
        Layer {
            shape,
            window,
            x: wave(window.in_positions() * inputs, 0.0, 1.0),
            dy: wave(window.out_positions() * outputs, 2.0, 1.0),
            routing: wave(IMAGES * EXPERTS, 3.0, 1.0).iter().map(|value| value.abs()).collect(),
            weight: wave(EXPERTS * shape.kernel_len(), 1.0, 1.0),
        }
    }

    fn maps(&self) -> [MapRef<'_>; 3] {
        let map = |values, channels| MapRef::dense(values, channels);
        [map(&self.x, self.shape.inputs), map(&self.dy, self.shape.outputs), map(&self.routing, EXPERTS)]
    }

    /// One image by the plain convolution with one kernel: its map and the gradients of the map and of the kernel.
    fn plain(&self, x: &[f64], dy: &[f64], kernel: &[f64]) -> [Vec<f64>; 3] {
        let window = &Window { batch: 1, ..self.window };
        let ExpertShape { outputs, inputs, is_depthwise, .. } = self.shape;
        if is_depthwise {
            [
                plain_depthwise::forward(x, kernel, outputs, window),
                plain_depthwise::backward_data(dy, kernel, outputs, window),
                plain_depthwise::backward_weight(x, dy, outputs, window),
            ]
        } else {
            [
                plain_conv::forward(x, kernel, window, [outputs, inputs]),
                plain_conv::backward_data(dy, kernel, window, [outputs, inputs]),
                plain_conv::backward_weight(x, dy, window, [outputs, inputs]),
            ]
        }
    }

    /// All experts, image after image.
    fn expected(&self) -> Expected {
        let len = self.shape.kernel_len();
        let (x, dy) = (to_f64(&self.x), to_f64(&self.dy));
        let (weight, routing) = (to_f64(&self.weight), to_f64(&self.routing));
        let dw = vec![0.0; weight.len()];
        let mut all = Expected { y: vec![], dx: vec![], dw, d_routing: vec![], magnitudes: vec![] };
        let images = x.chunks(x.len() / IMAGES).zip(dy.chunks(dy.len() / IMAGES));
        for ((x, dy), shares) in images.zip(routing.chunks(EXPERTS)) {
            let mut mixed = vec![0.0; len];
            for (kernel, share) in weight.chunks(len).zip(shares) {
                mixed.iter_mut().zip(kernel).for_each(|(sum, w)| *sum += share * w);
            }
            let [y, dx, d_mixed] = self.plain(x, dy, &mixed);
            all.y.extend(y);
            all.dx.extend(dx);
            for (dw, share) in all.dw.chunks_mut(len).zip(shares) {
                dw.iter_mut().zip(&d_mixed).for_each(|(sum, d)| *sum += share * d);
            }
            for kernel in weight.chunks(len) {
                let products = kernel.iter().zip(&d_mixed).map(|(w, d)| w * d);
                all.d_routing.push(products.clone().sum());
                all.magnitudes.push(products.map(f64::abs).sum());
            }
        }
        all
    }

    /// All images with the first expert's kernel.
    fn expected_ordinary(&self) -> Vec<f64> {
        let (x, kernel) = (to_f64(&self.x), to_f64(&self.weight[..self.shape.kernel_len()]));
        let dy = to_f64(&self.dy);
        let images = x.chunks(x.len() / IMAGES).zip(dy.chunks(dy.len() / IMAGES));
        images
            .flat_map(|(x, dy)| {
                let [y, ..] = self.plain(x, dy, &kernel);
                y
            })
            .collect()
    }
}

/// Positive and negative products nearly cancel, so that what may be wrong is measured by their magnitudes: about one
/// rounding each.
fn check_routing(actual: &[f32], expected: &Expected) {
    assert_eq!(actual.len(), expected.d_routing.len(), "gradient of routing: length");
    for (i, (&a, &e)) in actual.iter().zip(&expected.d_routing).enumerate() {
        let tolerance = 0.5 * f64::from(f32::EPSILON) * expected.magnitudes[i];
        assert!((f64::from(a) - e).abs() <= tolerance, "gradient of routing: value {i} is {a}, expected {e}");
        assert!(
            tolerance < 0.05 * e.abs().max(1.0),
            "gradient of routing: {tolerance} around {e} checks little"
        );
    }
}

fn experts(c: &mut Criterion) {
    let isa = Isa::best();
    for conv_shape in BLOCK {
        let layer = Layer::new(&conv_shape);
        let (shape, window) = (layer.shape, layer.window);
        let [x, dy, routing] = layer.maps();
        let packed = Experts::new(isa, &layer.weight, &shape);
        let transposed =
            TransposedExperts::new(isa, &layer.weight, &shape, [window.pad_top, window.pad_left]);
        let one = &layer.weight[..shape.kernel_len()];
        let mut ordinary = vec![0.0; one.len()];
        let dense = (!shape.is_depthwise)
            .then(|| PackedWeight::new(isa, one, shape.outputs, shape.inputs, shape.kernel, shape.stride));
        if shape.is_depthwise {
            depthwise::pack(one, shape.outputs, shape.kernel, &mut ordinary);
        }
        let plain = depthwise::Epilogue::NONE;

        let by_one = |y: &mut [f32]| {
            let mut y = MapMut::dense(y, shape.outputs);
            match &dense {
                Some(dense) => conv::forward(isa, x, dense, &window, &Fused::NONE, &mut y),
                None => depthwise::forward(isa, x, &ordinary, &window, &plain, &mut y),
            }
        };
        let by_experts = |y: &mut [f32]| {
            forward(isa, x, routing, &packed, &window, &Fused::NONE, &mut MapMut::dense(y, shape.outputs));
        };
        let to_data = |dx: &mut [f32]| {
            let mut dx = MapMut::dense(dx, shape.inputs);
            backward_data(isa, dy, routing, &transposed, &window, false, &mut dx);
        };
        let to_experts = |dw: &mut [f32], d_routing: &mut [f32]| {
            let mut d_routing = MapMut::dense(d_routing, EXPERTS);
            let (weight, to_routing) = (&layer.weight, Some((&mut d_routing, false)));
            backward_experts(isa, x, dy, routing, weight, &shape, &window, Some(dw), to_routing);
        };

        let (mut y, mut dx) = (vec![0.0; layer.dy.len()], vec![0.0; layer.x.len()]);
        let (mut dw, mut d_routing) = (vec![0.0; layer.weight.len()], vec![0.0; layer.routing.len()]);
        let check = |what: &str, actual: &[f32], expected: &[f64]| {
            assert_close_to_max(&format!("{what}, {conv_shape}"), actual, expected, TOLERANCE);
        };
        by_one(&mut y);
        check("ordinary", &y, &layer.expected_ordinary());
        let expected = layer.expected();
        by_experts(&mut y);
        check("forward", &y, &expected.y);
        to_data(&mut dx);
        check("backward data", &dx, &expected.dx);
        to_experts(&mut dw, &mut d_routing);
        check("gradient of experts", &dw, &expected.dw);
        check_routing(&d_routing, &expected);

        let mut group = c.benchmark_group(format!("experts {conv_shape}"));
        group.throughput(Throughput::Elements((2 * IMAGES * conv_shape.macs()) as u64));
        group.bench_function("ordinary", |b| b.iter(|| by_one(black_box(&mut y))));
        group.bench_function("forward", |b| b.iter(|| by_experts(black_box(&mut y))));
        group.bench_function("backward data", |b| b.iter(|| to_data(black_box(&mut dx))));
        group.bench_function("backward experts", |b| {
            b.iter(|| to_experts(black_box(&mut dw), &mut d_routing));
        });
        group.finish();
    }
}

criterion_group! { name = benches; config = brief(); targets = experts }
criterion_main!(benches);
