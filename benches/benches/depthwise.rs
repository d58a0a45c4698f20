//! Depthwise convolution, forward and both gradients, over the layers of EfficientNet-B0 at 224 pixels.
//!
//! Each case first checks its answer against the plain reference. Elements are multiply-adds.

use std::hint::black_box;

use benches::check::assert_close;
use benches::settings::brief;
use benches::shapes::window;
use benches::values::{to_f64, wave};
use cpu_kernels::reference::depthwise as plain;
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Window, depthwise};
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
        let window = window(1, side, kernel, stride);
        let weight = wave(channels * kernel * kernel, 1.0, 1.0);
        let mut packed = vec![0.0; weight.len()];
        depthwise::pack(&weight, channels, kernel, &mut packed);
        Layer {
            name: format!("{channels}x{side}x{side} k{kernel} s{stride}"),
            channels,
            window,
            x: wave(window.in_positions() * channels, 0.0, 1.0),
            dy: wave(window.out_positions() * channels, 2.0, 1.0),
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
        assert_close(&layer.name, &out, &expected, 1e-4);
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
            let epilogue = depthwise::Epilogue { activation, ..depthwise::Epilogue::NONE };
            let mut y = MapMut::dense(y, layer.channels);
            depthwise::forward(isa, layer.x(), &layer.packed, &layer.window, &epilogue, &mut y);
        };
        measure(c, &format!("depthwise/forward, {name}"), run, |layer| {
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
    measure(c, "depthwise/backward data", run, |layer| {
        plain::backward_data(&to_f64(&layer.dy), &to_f64(&layer.weight), layer.channels, &layer.window)
    });
}

fn backward_weight(c: &mut Criterion) {
    let isa = Isa::best();
    let run = |layer: &Layer, dw: &mut [f32]| {
        dw.fill(0.0);
        depthwise::backward_weight(isa, layer.x(), layer.dy(), &layer.window, dw);
    };
    measure(c, "depthwise/backward weight", run, |layer| {
        plain::backward_weight(&to_f64(&layer.x), &to_f64(&layer.dy), layer.channels, &layer.window)
    });
}

criterion_group! { name = benches; config = brief(); targets = forward, backward_data, backward_weight }
criterion_main!(benches);
