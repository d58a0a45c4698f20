//! Squeeze and excitation in EfficientNet-B0, step by step: the mean of a map, two small products, the scaling of the map
//! by the gate; and the projection after it, with the gate as a pass of its own and folded into the product.
//!
//! Each case first checks its answer against the plain reference.

use std::hint::black_box;

use benches::check::assert_close;
use benches::settings::brief;
use benches::shapes::window;
use benches::values::{to_f64, wave};
use cpu_kernels::conv::{self, Fused, PackedWeight};
use cpu_kernels::reference::{activation as plain_activation, conv as plain_conv, pool as plain};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Window, gate, pool};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Channels, squeezed channels, outputs of the projection, side: at 224 pixels, the last at 640.
const BLOCKS: [(usize, usize, usize, usize); 4] =
    [(96, 4, 24, 56), (240, 10, 40, 28), (1152, 48, 192, 7), (96, 4, 24, 160)];

/// A product of every position with a matrix `[outputs, inputs]`, and what follows it.
struct Product {
    packed: PackedWeight,
    weight: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    channels: [usize; 2],
    side: usize,
}

impl Product {
    fn new(outputs: usize, inputs: usize, side: usize, activation: Activation) -> Self {
        let weight = wave(outputs * inputs, 1.0, 0.5);
        let packed = PackedWeight::new(Isa::best(), &weight, outputs, inputs, 1, 1);
        let bias = wave(outputs, 3.0, 0.5);
        Product { packed, weight, bias, activation, channels: [outputs, inputs], side }
    }

    fn window(&self) -> Window {
        window(1, self.side, 1, 1)
    }

    fn run(&self, x: &[f32], gate: Option<&[f32]>, y: &mut [f32]) {
        let [outputs, inputs] = self.channels;
        let fused = Fused {
            gate: gate.map(|gate| MapRef::dense(gate, inputs)),
            bias: Some(&self.bias),
            activation: self.activation,
            ..Fused::NONE
        };
        let (x, y) = (MapRef::dense(x, inputs), &mut MapMut::dense(y, outputs));
        conv::forward(Isa::best(), x, &self.packed, &self.window(), &fused, y);
    }

    fn plain(&self, x: &[f64]) -> Vec<f64> {
        let sums = plain_conv::forward(x, &to_f64(&self.weight), &self.window(), self.channels);
        let biased = sums.iter().enumerate().map(|(i, sum)| sum + f64::from(self.bias[i % self.bias.len()]));
        biased.map(|value| plain_activation::activate(self.activation, value)).collect()
    }
}

fn squeeze_excite(c: &mut Criterion) {
    let isa = Isa::best();
    let mut group = c.benchmark_group("squeeze_excite");
    for (channels, squeezed, outputs, side) in BLOCKS {
        let name = format!("{channels}x{side}x{side}");
        let reduce = Product::new(squeezed, channels, 1, Activation::Silu);
        let expand = Product::new(channels, squeezed, 1, Activation::Sigmoid);
        let project = Product::new(outputs, channels, side, Activation::Identity);
        let x = wave(side * side * channels, 0.0, 1.0);
        let (mut mean, mut small, mut factors) =
            (vec![0.0; channels], vec![0.0; squeezed], vec![0.0; channels]);
        let (mut gated, mut y) = (vec![0.0; x.len()], vec![0.0; side * side * outputs]);

        let squeeze = |mean: &mut [f32]| {
            let mean = &mut MapMut::dense(mean, channels);
            pool::global_avg_pool(isa, MapRef::dense(&x, channels), 1, mean);
        };
        let excite = |mean: &[f32], small: &mut [f32], factors: &mut [f32]| {
            reduce.run(mean, None, small);
            expand.run(small, None, factors);
        };
        let scale = |factors: &[f32], gated: &mut [f32]| {
            let (x, factors) = (MapRef::dense(&x, channels), MapRef::dense(factors, channels));
            gate::forward(isa, x, factors, &mut MapMut::dense(gated, channels));
        };

        squeeze(&mut mean);
        let plain_mean = plain::global_avg_pool(&to_f64(&x), channels, 1);
        assert_close(&format!("mean of {name}"), &mean, &plain_mean, 1e-5);
        excite(&mean, &mut small, &mut factors);
        let plain_factors = expand.plain(&reduce.plain(&plain_mean));
        assert_close(&format!("gate of {name}"), &factors, &plain_factors, 1e-5);
        scale(&factors, &mut gated);
        let plain_gated = plain::gate(&to_f64(&x), &plain_factors, channels, 1);
        assert_close(&format!("gated {name}"), &gated, &plain_gated, 1e-5);
        let plain_y = project.plain(&plain_gated);
        project.run(&gated, None, &mut y);
        assert_close(&format!("projection of {name}"), &y, &plain_y, 1e-4);
        y.fill(0.0);
        project.run(&x, Some(&factors), &mut y);
        assert_close(&format!("projection of {name}, gate folded in"), &y, &plain_y, 1e-4);

        let id = |what: &str| BenchmarkId::new(what, &name);
        group.bench_function(id("mean"), |b| b.iter(|| squeeze(black_box(&mut mean))));
        group.bench_function(id("two products"), |b| {
            b.iter(|| excite(black_box(&mean), &mut small, &mut factors));
        });
        group.bench_function(id("scaling"), |b| b.iter(|| scale(&factors, black_box(&mut gated))));
        group.bench_function(id("projection after scaling"), |b| {
            b.iter(|| {
                scale(&factors, &mut gated);
                project.run(&gated, None, black_box(&mut y));
            });
        });
        group.bench_function(id("projection with the gate folded in"), |b| {
            b.iter(|| project.run(&x, Some(&factors), black_box(&mut y)));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = squeeze_excite }
criterion_main!(benches);
