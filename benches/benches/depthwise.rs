//! Depthwise convolution, forward and both gradients, over the layers of EfficientNet-B0 at 224 pixels; and the pooling of
//! SPPF.
//!
//! Each case first checks its answer against the plain reference. Elements are multiply-adds (of max-pooling:
//! comparisons of the plain form).

use std::hint::black_box;

use cpu_kernels::reference::{depthwise as plain, pool as plain_pool};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Window, depthwise, pool};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Channels, side of the input, kernel, stride.
const LAYERS: [(usize, usize, usize, usize); 9] = [
    (32, 112, 3, 1),
    (96, 112, 3, 2),
    (144, 56, 3, 1),
    (144, 56, 5, 2),
    (240, 28, 5, 1),
    (240, 28, 3, 2),
    (480, 14, 3, 1),
    (672, 14, 5, 1),
    (1152, 7, 5, 1),
];

/// A layer's geometry at batch 1, padded symmetrically.
fn window(side: usize, kernel: usize, stride: usize) -> Window {
    let out = side.div_ceil(stride);
    Window {
        batch: 1,
        in_height: side,
        in_width: side,
        out_height: out,
        out_width: out,
        kernel,
        stride,
        pad_top: kernel / 2,
        pad_left: kernel / 2,
    }
}

/// Smooth values of mixed sign, `[-1, 1]`.
fn values(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
}

fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Panics unless `actual` equals `expected` within `tolerance * (1 + |expected|)`.
fn check(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let close = (f64::from(a) - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(close, "{name}: value {i} is {a}, expected {e}");
    }
}

/// One layer with its data.
struct Layer {
    name: String,
    channels: usize,
    window: Window,
    x: Vec<f32>,
    dy: Vec<f32>,
    weight: Vec<f32>,
    packed: Vec<f32>,
}

impl Layer {
    fn new((channels, side, kernel, stride): (usize, usize, usize, usize)) -> Self {
        let window = window(side, kernel, stride);
        let weight = values(channels * kernel * kernel, 1.0);
        let mut packed = vec![0.0; weight.len()];
        depthwise::pack(&weight, channels, kernel, &mut packed);
        Layer {
            name: format!("{channels}x{side}x{side} k{kernel} s{stride}"),
            channels,
            window,
            x: values(window.in_positions() * channels, 0.0),
            dy: values(window.out_positions() * channels, 2.0),
            weight,
            packed,
        }
    }

    fn x(&self) -> MapRef<'_> {
        MapRef::dense(&self.x, self.channels)
    }

    fn dy(&self) -> MapRef<'_> {
        MapRef::dense(&self.dy, self.channels)
    }
}

/// Checks and measures `run`, which writes into a slice of the length of the expected values.
fn measure(
    c: &mut Criterion,
    group: &str,
    run: impl Fn(&Layer, &mut [f32]),
    expected: impl Fn(&Layer) -> Vec<f64>,
) {
    let mut group = c.benchmark_group(group);
    for layer in LAYERS.map(Layer::new) {
        let expected = expected(&layer);
        let mut out = vec![0.0; expected.len()];
        run(&layer, &mut out);
        check(&layer.name, &out, &expected, 1e-4);
        let multiply_adds = layer.window.out_positions() * layer.weight.len();
        group.throughput(Throughput::Elements(multiply_adds as u64));
        group.bench_function(&layer.name, |b| b.iter(|| run(&layer, black_box(&mut out))));
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let isa = Isa::best();
    for (name, activation) in [("identity", Activation::Identity), ("silu", Activation::Silu)] {
        let run = |layer: &Layer, y: &mut [f32]| {
            let epilogue = depthwise::Epilogue { bias: None, activation };
            let mut y = MapMut::dense(y, layer.channels);
            depthwise::forward(isa, layer.x(), &layer.packed, &layer.window, &epilogue, &mut y);
        };
        measure(c, &format!("depthwise forward, {name}"), run, |layer| {
            let sums =
                plain::forward(&to_f64(&layer.x), &to_f64(&layer.weight), layer.channels, &layer.window);
            sums.into_iter()
                .map(|sum| cpu_kernels::reference::activation::activate(activation, sum))
                .collect()
        });
    }
}

fn backward_data(c: &mut Criterion) {
    let isa = Isa::best();
    let run = |layer: &Layer, dx: &mut [f32]| {
        let mut dx = MapMut::dense(dx, layer.channels);
        depthwise::backward_data(isa, layer.dy(), &layer.packed, &layer.window, false, &mut dx);
    };
    measure(c, "depthwise backward data", run, |layer| {
        plain::backward_data(&to_f64(&layer.dy), &to_f64(&layer.weight), layer.channels, &layer.window)
    });
}

fn backward_weight(c: &mut Criterion) {
    let isa = Isa::best();
    let run = |layer: &Layer, dw: &mut [f32]| {
        dw.fill(0.0);
        depthwise::backward_weight(isa, layer.x(), layer.dy(), &layer.window, dw);
    };
    measure(c, "depthwise backward weight", run, |layer| {
        plain::backward_weight(&to_f64(&layer.x), &to_f64(&layer.dy), layer.channels, &layer.window)
    });
}

/// The 5x5 pooling of SPPF at 640 pixels.
fn max_pool(c: &mut Criterion) {
    let (isa, channels, window) = (Isa::best(), 256, window(20, 5, 1));
    let x = values(window.in_positions() * channels, 0.0);
    let expected: Vec<_> =
        plain_pool::max_pool(&to_f64(&x), channels, &window).iter().map(|best| best.0).collect();
    let dy = values(expected.len(), 2.0);
    let (mut y, mut dx) = (vec![0.0; expected.len()], vec![0.0; x.len()]);

    let mut group = c.benchmark_group("max pool");
    group.throughput(Throughput::Elements((window.out_positions() * channels * 25) as u64));
    let forward = |y: &mut [f32]| {
        pool::max_pool(isa, MapRef::dense(&x, channels), &window, &mut MapMut::dense(y, channels));
    };
    forward(&mut y);
    check("max pool", &y, &expected, 0.0);
    let mut scratch = y.clone();
    group.bench_function("forward", |b| b.iter(|| forward(black_box(&mut scratch))));

    let map = |data| MapRef::dense(data, channels);
    let backward = |dx: &mut [f32]| {
        let mut dx = MapMut::dense(dx, channels);
        pool::max_pool_backward(isa, map(&x), map(&y), map(&dy), &window, false, &mut dx);
    };
    backward(&mut dx);
    let gradient = plain_pool::max_pool_backward(&to_f64(&x), &to_f64(&dy), channels, &window);
    check("max pool backward", &dx, &gradient, 1e-5);
    group.bench_function("backward", |b| b.iter(|| backward(black_box(&mut dx))));
    group.finish();
}

criterion_group!(benches, forward, backward_data, backward_weight, max_pool);
criterion_main!(benches);
