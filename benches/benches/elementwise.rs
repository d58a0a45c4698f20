//! Norm, activations, detection decoding and optimiser steps: kernels that should run at the speed of memory.
//!
//! Each case first checks its answer against the plain reference. Bytes are those a kernel must read and write.

use std::hint::black_box;

use benches::check::assert_close as check;
use benches::settings::brief;
use benches::values::{to_f64, wave};
use cpu_kernels::reference::{activation as plain_activation, decode as plain_decode, norm::Norm};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, activation, decode, elementwise, norm, optim};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};

/// Positions and channels: EfficientNet-B0 at 224 pixels, batches 1 and 8, expanded maps and a narrow one.
const MAPS: [(&str, usize, usize); 4] = [
    ("96x112x112 b1", 112 * 112, 96),
    ("24x56x56 b8", 8 * 56 * 56, 24),
    ("240x28x28 b8", 8 * 28 * 28, 240),
    ("1152x7x7 b8", 8 * 7 * 7, 1152),
];

/// Smooth values of mixed sign, `[-3, 3]`.
fn values(count: usize, phase: f32) -> Vec<f32> {
    wave(count, phase, 3.0)
}

/// A group that runs `work` once for every map; `passes` is how often a map's bytes are read or written.
fn each_map(
    c: &mut Criterion,
    name: &str,
    passes: usize,
    work: impl Fn(&mut BenchmarkGroup<'_, WallTime>, &str, usize, usize),
) {
    let mut group = c.benchmark_group(name);
    for (map, positions, channels) in MAPS {
        group.throughput(Throughput::Bytes((4 * passes * positions * channels) as u64));
        work(&mut group, map, positions, channels);
    }
    group.finish();
}

fn activations_and_sums(c: &mut Criterion) {
    let isa = Isa::best();
    each_map(c, "elementwise/silu forward", 2, |group, name, positions, channels| {
        let x = values(positions * channels, 0.0);
        let mut y = vec![0.0; x.len()];
        let run = |y: &mut [f32]| {
            activation::forward(
                isa,
                Activation::Silu,
                MapRef::dense(&x, channels),
                &mut MapMut::dense(y, channels),
            );
        };
        run(&mut y);
        let expected: Vec<f64> =
            to_f64(&x).into_iter().map(|x| plain_activation::activate(Activation::Silu, x)).collect();
        check(name, &y, &expected, 1e-6);
        group.bench_function(name, |b| b.iter(|| run(black_box(&mut y))));
    });
    each_map(c, "elementwise/add", 3, |group, name, positions, channels| {
        let (x, z) = (values(positions * channels, 0.0), values(positions * channels, 1.0));
        let mut y = vec![0.0; x.len()];
        let run = |y: &mut [f32]| {
            let (x, z) = (MapRef::dense(&x, channels), MapRef::dense(&z, channels));
            elementwise::add(isa, x, z, &mut MapMut::dense(y, channels));
        };
        run(&mut y);
        let expected: Vec<f64> = x.iter().zip(&z).map(|(x, z)| f64::from(*x) + f64::from(*z)).collect();
        check(name, &y, &expected, 1e-6);
        group.bench_function(name, |b| b.iter(|| run(black_box(&mut y))));
    });
}

/// Norm of `channels` with its own statistics, and the same values in f32: mean, inv_std, gamma, beta.
fn norm_of(x: &[f32], channels: usize, activation: Activation) -> (Norm, [Vec<f32>; 4]) {
    let (mean, var) = cpu_kernels::reference::norm::statistics(&to_f64(x), channels);
    let inv_std: Vec<f32> = var.iter().map(|var| (1.0 / (var + 1e-3).sqrt()) as f32).collect();
    let mean: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
    let parameters = [mean, inv_std, values(channels, 2.0), values(channels, 3.0)];
    let [mean, inv_std, gamma, beta] = parameters.each_ref().map(|values| to_f64(values));
    (Norm { mean, inv_std, gamma, beta, activation }, parameters)
}

fn norm_forward(c: &mut Criterion) {
    let isa = Isa::best();
    each_map(c, "elementwise/norm statistics", 1, |group, name, positions, channels| {
        let x = values(positions * channels, 0.0);
        let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
        let run = |mean: &mut [f32], var: &mut [f32]| {
            norm::statistics(isa, MapRef::dense(&x, channels), mean, var);
        };
        run(&mut mean, &mut var);
        let (expected_mean, expected_var) = cpu_kernels::reference::norm::statistics(&to_f64(&x), channels);
        check(name, &mean, &expected_mean, 1e-6);
        check(name, &var, &expected_var, 1e-5);
        group.bench_function(name, |b| b.iter(|| run(black_box(&mut mean), &mut var)));
    });
    each_map(c, "elementwise/norm + silu forward", 2, |group, name, positions, channels| {
        let x = values(positions * channels, 0.0);
        let (plain, [mean, inv_std, gamma, beta]) = norm_of(&x, channels, Activation::Silu);
        let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
        let shift: Vec<f32> = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        let mut y = vec![0.0; x.len()];
        let run = |y: &mut [f32]| {
            let y = &mut MapMut::dense(y, channels);
            norm::forward(isa, MapRef::dense(&x, channels), &scale, &shift, Activation::Silu, y);
        };
        run(&mut y);
        check(name, &y, &plain.forward(&to_f64(&x)), 1e-5);
        group.bench_function(name, |b| b.iter(|| run(black_box(&mut y))));
    });
}

fn norm_backward(c: &mut Criterion) {
    let isa = Isa::best();
    // Reads x and dy and writes dy, twice.
    each_map(c, "elementwise/norm + silu backward", 6, |group, name, positions, channels| {
        let (x, dy) = (values(positions * channels, 0.0), values(positions * channels, 1.0));
        let (plain, [mean, inv_std, gamma, beta]) = norm_of(&x, channels, Activation::Silu);
        let run = |dy: &mut [f32], d_gamma: &mut [f32], d_beta: &mut [f32]| {
            norm::backward_in_place(
                isa,
                MapRef::dense(&x, channels),
                &mean,
                &inv_std,
                &gamma,
                &beta,
                Activation::Silu,
                true,
                &mut MapMut::dense(dy, channels),
                d_gamma,
                d_beta,
            );
        };
        let (mut dx, mut d_gamma, mut d_beta) = (dy.clone(), vec![0.0; channels], vec![0.0; channels]);
        run(&mut dx, &mut d_gamma, &mut d_beta);
        let (expected, expected_gamma, expected_beta) = plain.backward(&to_f64(&x), &to_f64(&dy), true);
        check(name, &dx, &expected, 1e-5);
        check(name, &d_gamma, &expected_gamma, 1e-3);
        check(name, &d_beta, &expected_beta, 1e-3);
        // A run replaces the gradient by its own, so that each run needs a fresh one.
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || dy.clone(),
                |dy| run(dy, &mut d_gamma, &mut d_beta),
                criterion::BatchSize::LargeInput,
            );
        });
    });
}

fn decoding(c: &mut Criterion) {
    let isa = Isa::best();
    let (side, stride, classes, reg_max) = (80, 8, 80, 16);
    let boxes = values(side * side * 4 * reg_max, 0.0);
    let logits = values(side * side * classes, 1.0);
    let bins: Vec<f32> = (0..reg_max).map(|bin| bin as f32).collect();
    let mut y = vec![0.0; side * side * (4 + classes)];
    let run = |y: &mut [f32]| {
        let (boxes, logits) = (MapRef::dense(&boxes, 4 * reg_max), MapRef::dense(&logits, classes));
        let y = &mut MapMut::dense(y, 4 + classes);
        decode::decode_level(isa, boxes, logits, 1, side, side, stride, &bins, 0, side * side, y);
    };
    run(&mut y);
    let expected: Vec<f64> = (0..side * side)
        .flat_map(|cell| {
            let row = to_f64(&boxes[cell * 4 * reg_max..][..4 * reg_max]);
            let xywh =
                plain_decode::decode_box(&row, &to_f64(&bins), cell % side, cell / side, stride as f64);
            let scores =
                to_f64(&logits[cell * classes..][..classes]).into_iter().map(plain_activation::sigmoid);
            xywh.into_iter().chain(scores).collect::<Vec<_>>()
        })
        .collect();
    check("decode", &y, &expected, 5e-5);
    let mut group = c.benchmark_group("elementwise/decode");
    group.throughput(Throughput::Bytes(4 * (boxes.len() + logits.len() + y.len()) as u64));
    group.bench_function("80x80 cells, 16 bins, 80 classes", |b| b.iter(|| run(black_box(&mut y))));
    group.finish();
}

/// Two steps of SGD with Nesterov's momentum on one parameter, from an empty buffer.
fn sgd_twice(rate: f64, momentum: f64, decay: f64, grad: f64, mut param: f64) -> f64 {
    let mut buffer = 0.0;
    for _ in 0..2 {
        let grad = grad + decay * param;
        buffer = momentum * buffer + grad;
        param -= rate * (grad + momentum * buffer);
    }
    param
}

/// Two steps of AdamW (arXiv 1711.05101, algorithm 2) on one parameter, from empty moments.
fn adamw_twice(rate: f64, [beta1, beta2]: [f64; 2], eps: f64, decay: f64, grad: f64, mut param: f64) -> f64 {
    let (mut m, mut v) = (0.0, 0.0);
    for step in 1..=2 {
        m = beta1 * m + (1.0 - beta1) * grad;
        v = beta2 * v + (1.0 - beta2) * grad * grad;
        let (m, v) = (m / (1.0 - beta1.powi(step)), v / (1.0 - beta2.powi(step)));
        param -= rate * (m / (v.sqrt() + eps) + decay * param);
    }
    param
}

fn optimisers(c: &mut Criterion) {
    let isa = Isa::best();
    let count = 5_000_000;
    let grad = values(count, 0.0);
    let start = values(count, 1.0);
    let twice = |plain: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        grad.iter().zip(&start).map(|(g, p)| plain(f64::from(*g), f64::from(*p))).collect()
    };
    let mut group = c.benchmark_group("elementwise/optimiser, 5M parameters");

    let (rate, momentum, decay) = (1e-2, 0.9, 5e-4);
    let (mut param, mut buffer) = (start.clone(), vec![0.0; count]);
    let mut step = |is_first, param: &mut [f32]| {
        optim::sgd_nesterov(isa, rate, momentum, decay, is_first, &grad, &mut buffer, param);
    };
    step(true, &mut param);
    step(false, &mut param);
    check("sgd", &param, &twice(&|g, p| sgd_twice(rate, momentum, decay, g, p)), 1e-6);
    group.throughput(Throughput::Bytes(4 * 5 * count as u64));
    group.bench_function("sgd nesterov", |b| b.iter(|| step(false, black_box(&mut param))));

    let (rate, betas, eps, decay) = (1e-3, [0.9, 0.999], 1e-8, 0.05);
    let (mut param, mut m, mut v) = (start.clone(), vec![0.0; count], vec![0.0; count]);
    let mut step = |number, param: &mut [f32]| {
        let [beta1, beta2] = betas;
        optim::adamw(isa, rate, beta1, beta2, eps, decay, number, &grad, &mut m, &mut v, param);
    };
    step(1, &mut param);
    step(2, &mut param);
    check("adamw", &param, &twice(&|g, p| adamw_twice(rate, betas, eps, decay, g, p)), 1e-6);
    group.throughput(Throughput::Bytes(4 * 7 * count as u64));
    group.bench_function("adamw", |b| b.iter(|| step(2, black_box(&mut param))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = brief();
    targets = activations_and_sums, norm_forward, norm_backward, decoding, optimisers
}
criterion_main!(benches);
