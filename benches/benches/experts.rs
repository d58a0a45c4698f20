//! Convolutions with kernels of experts beside the ordinary one of the same shape: what an image pays for its own kernel.
//!
//! The forward pass is first checked against the plain reference with kernels mixed in `f64`. Throughput counts the
//! floating-point operations of the convolution, two a multiply-add, without those of the mixing.

use std::hint::black_box;

use benches::shapes::ConvShape;
use cpu_kernels::conv::{self, Fused, PackedWeight};
use cpu_kernels::experts::{
    ExpertShape, Experts, TransposedExperts, backward_data, backward_experts, forward,
};
use cpu_kernels::{Isa, MapMut, MapRef, Window, depthwise, reference};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const IMAGES: usize = 4;
const EXPERTS: usize = 4;

/// The three convolutions of a block of the last stages of EfficientNet-B0 at 224 pixels.
const BLOCK: [ConvShape; 3] = [
    ConvShape { inputs: 192, outputs: 1152, kernel: 1, stride: 1, groups: 1, side: 7 },
    ConvShape { inputs: 1152, outputs: 1152, kernel: 5, stride: 1, groups: 1152, side: 7 },
    ConvShape { inputs: 1152, outputs: 192, kernel: 1, stride: 1, groups: 1, side: 7 },
];

struct Layer {
    shape: ExpertShape,
    window: Window,
    x: Vec<f32>,
    dy: Vec<f32>,
    routing: Vec<f32>,
    weight: Vec<f32>,
}

impl Layer {
    fn new(shape: &ConvShape) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, side, .. } = *shape;
        let (pad, out_side) = (kernel / 2, shape.out_side());
        let window = Window {
            batch: IMAGES,
            in_height: side,
            in_width: side,
            out_height: out_side,
            out_width: out_side,
            kernel,
            stride,
            pad_top: pad,
            pad_left: pad,
        };
        let shape =
            ExpertShape { experts: EXPERTS, outputs, inputs, is_depthwise: shape.groups > 1, kernel, stride };
        Layer {
            shape,
            window,
            x: values(window.in_positions() * inputs, 0.0),
            dy: values(window.out_positions() * outputs, 2.0),
            routing: values(IMAGES * EXPERTS, 3.0).iter().map(|value| value.abs()).collect(),
            weight: values(EXPERTS * shape.kernel_len(), 1.0),
        }
    }

    fn maps(&self) -> [MapRef<'_>; 3] {
        let map = |values, channels| MapRef::dense(values, channels);
        [map(&self.x, self.shape.inputs), map(&self.dy, self.shape.outputs), map(&self.routing, EXPERTS)]
    }

    /// The forward pass, image after image.
    fn expected(&self) -> Vec<f64> {
        let window = Window { batch: 1, ..self.window };
        let images = to_f64(&self.x);
        let image = |(x, shares): (&[f64], &[f32])| {
            let mut mixed = vec![0.0; self.shape.kernel_len()];
            for (kernel, share) in self.weight.chunks(mixed.len()).zip(shares) {
                mixed.iter_mut().zip(kernel).for_each(|(sum, w)| *sum += f64::from(*share) * f64::from(*w));
            }
            if self.shape.is_depthwise {
                reference::depthwise::forward(x, &mixed, self.shape.outputs, &window)
            } else {
                reference::conv::forward(x, &mixed, &window, [self.shape.outputs, self.shape.inputs])
            }
        };
        images.chunks(images.len() / IMAGES).zip(self.routing.chunks(EXPERTS)).flat_map(image).collect()
    }
}

/// Values of mixed sign, `[-1, 1]`.
fn values(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
}

fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

fn check(name: &str, actual: &[f32], expected: &[f64]) {
    let largest = expected.iter().fold(1.0, |max: f64, value| max.max(value.abs()));
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        assert!((f64::from(a) - e).abs() <= 1e-5 * largest, "{name}: value {i} is {a}, expected {e}");
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
        let mut y = layer.dy.clone();
        forward(isa, x, routing, &packed, &window, &Fused::NONE, &mut MapMut::dense(&mut y, shape.outputs));
        check("forward", &y, &layer.expected());

        let mut group = c.benchmark_group(format!("experts {conv_shape}"));
        group.sample_size(20);
        group.throughput(Throughput::Elements((2 * IMAGES * conv_shape.macs()) as u64));
        let one = &layer.weight[..shape.kernel_len()];
        let mut ordinary = vec![0.0; one.len()];
        let dense = (!shape.is_depthwise)
            .then(|| PackedWeight::new(isa, one, shape.outputs, shape.inputs, shape.kernel, shape.stride));
        if shape.is_depthwise {
            depthwise::pack(one, shape.outputs, shape.kernel, &mut ordinary);
        }
        let plain = depthwise::Epilogue { bias: None, activation: Fused::NONE.activation };
        group.bench_function("ordinary", |b| {
            b.iter(|| {
                let mut y = MapMut::dense(black_box(&mut y), shape.outputs);
                match &dense {
                    Some(dense) => conv::forward(isa, x, dense, &window, &Fused::NONE, &mut y),
                    None => depthwise::forward(isa, x, &ordinary, &window, &plain, &mut y),
                }
            });
        });
        group.bench_function("forward", |b| {
            b.iter(|| {
                let mut y = MapMut::dense(black_box(&mut y), shape.outputs);
                forward(isa, x, routing, &packed, &window, &Fused::NONE, &mut y);
            });
        });
        let mut dx = layer.x.clone();
        group.bench_function("backward data", |b| {
            b.iter(|| {
                let mut dx = MapMut::dense(black_box(&mut dx), shape.inputs);
                backward_data(isa, dy, routing, &transposed, &window, false, &mut dx);
            });
        });
        let (mut dw, mut d_routing) = (vec![0.0; layer.weight.len()], layer.routing.clone());
        group.bench_function("backward experts", |b| {
            b.iter(|| {
                let mut d_routing = MapMut::dense(black_box(&mut d_routing), EXPERTS);
                let weight = &layer.weight;
                let to_routing = Some((&mut d_routing, false));
                backward_experts(isa, x, dy, routing, weight, &shape, &window, Some(&mut dw), to_routing);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, experts);
criterion_main!(benches);
