//! The expansion of an MBConv block with the depthwise convolution after it and the mean for squeeze and excitation: depth
//! first, in rows that stay in the cache, against a kernel after the other over whole maps.
//!
//! Each case first checks its answer against the plain reference. Throughput counts floating-point operations, two a
//! multiply-add: read "Gelem/s" as GFLOP/s.

use std::hint::black_box;

use benches::check::assert_close;
use benches::settings::brief;
use benches::shapes::window;
use benches::values::{to_f64, wave};
use cpu_kernels::conv::depthwise_after::{self, DepthwiseAfter};
use cpu_kernels::conv::{self, Finish, PackedWeight};
use cpu_kernels::reference::{
    activation, conv as plain_conv, depthwise as plain_depthwise, pool as plain_pool,
};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, Precision, depthwise, pool};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Inputs, expanded channels, side, kernel and stride of the depthwise convolution: EfficientNet-B0 at 224 and at 640.
const BLOCKS: [(usize, usize, usize, usize, usize); 5] = [
    (16, 96, 112, 3, 2),
    (24, 144, 56, 3, 1),
    (40, 240, 28, 5, 1),
    (16, 96, 320, 3, 2),
    (24, 144, 160, 5, 2),
];

fn finish(bias: &[f32]) -> Finish {
    Finish { bias: bias.to_vec(), activation: Activation::Silu, precision: Precision::F32 }
}

/// `silu(sum + bias)`.
fn finished(sums: Vec<f64>, bias: &[f32]) -> Vec<f64> {
    let biased = sums.into_iter().enumerate().map(|(i, sum)| sum + f64::from(bias[i % bias.len()]));
    biased.map(|value| activation::activate(Activation::Silu, value)).collect()
}

fn conv_then_depthwise(c: &mut Criterion) {
    let isa = Isa::best();
    let mut group = c.benchmark_group("conv_then_depthwise");
    for (inputs, channels, side, kernel, stride) in BLOCKS {
        let name = format!("{inputs}x{side}x{side} to {channels}, k{kernel} s{stride}");
        let (first, second) = (window(1, side, 1, 1), window(1, side, kernel, stride));
        let x = wave(side * side * inputs, 0.0, 1.0);
        let [conv_weight, depthwise_weight] =
            [wave(channels * inputs, 1.0, 0.5), wave(channels * kernel * kernel, 2.0, 0.5)];
        let [conv_bias, depthwise_bias] = [wave(channels, 3.0, 0.5), wave(channels, 4.0, 0.5)];
        let weight = DepthwiseAfter::new(
            isa,
            Precision::F32,
            &conv_weight,
            [channels, inputs, 1],
            finish(&conv_bias),
            &depthwise_weight,
            kernel,
            finish(&depthwise_bias),
        );
        let mut y = vec![0.0; second.out_positions() * channels];
        let (mut between, mut mean) = (vec![0.0; side * side * channels], vec![0.0; channels]);
        let depth_first = |y: &mut [f32], mean: &mut [f32]| {
            let (y, mean) = (&mut MapMut::dense(y, channels), &mut MapMut::dense(mean, channels));
            let x = MapRef::dense(&x, inputs);
            depthwise_after::forward(isa, x, &weight, [&first, &second], y, Some(mean));
        };
        let packed = PackedWeight::new(isa, &conv_weight, channels, inputs, 1, 1);
        let mut taps = vec![0.0; depthwise_weight.len()];
        depthwise::pack(&depthwise_weight, channels, kernel, &mut taps);
        let finishes = [finish(&conv_bias), finish(&depthwise_bias)];
        let (fused, epilogue) = (finishes[0].fused(None, None), finishes[1].epilogue(0..channels));
        let mut whole = |y: &mut [f32], mean: &mut [f32]| {
            let (y, mean) = (&mut MapMut::dense(y, channels), &mut MapMut::dense(mean, channels));
            let between = &mut MapMut::dense(&mut between, channels);
            conv::forward(isa, MapRef::dense(&x, inputs), &packed, &first, &fused, between);
            depthwise::forward(isa, between.as_ref(), &taps, &second, &epilogue, y);
            pool::global_avg_pool(isa, y.as_ref(), 1, mean);
        };

        let expanded = plain_conv::forward(&to_f64(&x), &to_f64(&conv_weight), &first, [channels, inputs]);
        let expanded = finished(expanded, &conv_bias);
        let expected = plain_depthwise::forward(&expanded, &to_f64(&depthwise_weight), channels, &second);
        let expected = finished(expected, &depthwise_bias);
        let expected_mean = plain_pool::global_avg_pool(&expected, channels, 1);
        let check = |way: &str, y: &mut Vec<f32>, mean: &mut Vec<f32>| {
            assert_close(&format!("{name}, {way}"), y, &expected, 1e-5);
            assert_close(&format!("{name}, {way}, mean"), mean, &expected_mean, 1e-5);
            y.fill(0.0);
            mean.fill(0.0);
        };
        depth_first(&mut y, &mut mean);
        check("depth first", &mut y, &mut mean);
        whole(&mut y, &mut mean);
        check("whole", &mut y, &mut mean);

        let macs = side * side * inputs * channels + second.out_positions() * channels * kernel * kernel;
        group.throughput(Throughput::Elements(2 * macs as u64));
        group.bench_function(BenchmarkId::new("depth first", &name), |b| {
            b.iter(|| depth_first(black_box(&mut y), &mut mean));
        });
        group.bench_function(BenchmarkId::new("whole", &name), |b| {
            b.iter(|| whole(black_box(&mut y), &mut mean));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = conv_then_depthwise }
criterion_main!(benches);
