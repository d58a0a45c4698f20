//! Our kernels beside the operation that candle has for the same work, all threads, each on maps in its own layout.
//!
//! Both answers are compared before either is timed.
// Only forward passes: the gradients of some of these operations are wrong in candle 0.11.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;

use benches::candle_maps::{map, tensor};
use benches::check::assert_close_to_max;
use benches::settings::brief;
use benches::shapes::{ConvShape, DENSE, DEPTHWISE, window};
use benches::values::{to_f64, wave};
use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};
use candle_nn::{BatchNorm, ModuleT};
use cpu_kernels::conv::{self, Fused, PackedWeight};
use cpu_kernels::depthwise::{self, Epilogue};
use cpu_kernels::{Activation, Isa, MapMut, MapRef, activation, decode, norm, pool, upsample};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Compares, then times, both ways. Ours writes its output to a slice; `rows` gives candle's in the same order.
fn pair(
    c: &mut Criterion,
    operation: &str,
    shape: &str,
    ours: impl Fn(&mut [f32]),
    candle: impl Fn() -> Result<Tensor>,
    rows: impl Fn(&Tensor) -> Vec<f32>,
) {
    let expected = to_f64(&rows(&candle().expect("candle runs")));
    let mut y = vec![0.0; expected.len()];
    ours(&mut y);
    assert_close_to_max(&format!("{operation} {shape}"), &y, &expected, 1e-4);
    let mut group = c.benchmark_group(format!("candle/{operation}"));
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("effyolo", shape), |b| b.iter(|| ours(black_box(&mut y))));
    group.bench_function(BenchmarkId::new("candle", shape), |b| b.iter(|| candle().expect("candle runs")));
    group.finish();
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a float tensor")
}

fn weight_tensor(weight: &[f32], outputs: usize, inputs: usize, kernel: usize) -> Tensor {
    Tensor::from_slice(weight, (outputs, inputs, kernel, kernel), &Device::Cpu).expect("the sizes match")
}

fn conv2d(c: &mut Criterion) {
    let isa = Isa::best();
    // A pointwise one, the image's, and 3x3 at both strides.
    for shape in [DENSE[2], DENSE[9], DENSE[12], DENSE[17]] {
        let ConvShape { inputs, outputs, kernel, stride, side, .. } = shape;
        let window = window(1, side, kernel, stride);
        let x = wave(side * side * inputs, 0.0, 1.0);
        let weight = wave(outputs * inputs * kernel * kernel, 1.0, 1.0);
        let packed = PackedWeight::new(isa, &weight, outputs, inputs, kernel, stride);
        let (x_tensor, weight) =
            (tensor(&x, [1, side, side], inputs), weight_tensor(&weight, outputs, inputs, kernel));
        let ours = |y: &mut [f32]| {
            let (x, y) = (MapRef::dense(&x, inputs), &mut MapMut::dense(y, outputs));
            conv::forward(isa, x, &packed, &window, &Fused::NONE, y);
        };
        let candle = || x_tensor.conv2d(&weight, kernel / 2, stride, 1, 1);
        pair(c, "conv2d", &shape.to_string(), ours, candle, map);
    }
}

fn depthwise_conv2d(c: &mut Criterion) {
    let isa = Isa::best();
    for shape in [DEPTHWISE[2], DEPTHWISE[4]] {
        let ConvShape { inputs: channels, kernel, stride, side, .. } = shape;
        let window = window(1, side, kernel, stride);
        let x = wave(side * side * channels, 0.0, 1.0);
        let weight = wave(channels * kernel * kernel, 1.0, 1.0);
        let mut packed = vec![0.0; weight.len()];
        depthwise::pack(&weight, channels, kernel, &mut packed);
        let (x_tensor, weight) =
            (tensor(&x, [1, side, side], channels), weight_tensor(&weight, channels, 1, kernel));
        let epilogue = Epilogue::NONE;
        let ours = |y: &mut [f32]| {
            let (x, y) = (MapRef::dense(&x, channels), &mut MapMut::dense(y, channels));
            depthwise::forward(isa, x, &packed, &window, &epilogue, y);
        };
        let candle = || x_tensor.conv2d(&weight, kernel / 2, stride, 1, channels);
        pair(c, "depthwise conv2d", &shape.to_string(), ours, candle, map);
    }
}

fn matmul(c: &mut Criterion) {
    let (isa, rows, inner, columns) = (Isa::best(), 784, 240, 40);
    let (x, weight) = (wave(rows * inner, 0.0, 1.0), wave(columns * inner, 1.0, 1.0));
    let packed = PackedWeight::new(isa, &weight, columns, inner, 1, 1);
    let matrix = |values: &[f32], rows: usize, columns: usize| {
        Tensor::from_slice(values, (rows, columns), &Device::Cpu).expect("the sizes match")
    };
    let x_tensor = matrix(&x, rows, inner);
    let weight = matrix(&weight, columns, inner).t().and_then(|weight| weight.contiguous());
    let weight = weight.expect("candle runs");
    let ours = |y: &mut [f32]| {
        let (x, y) = (MapRef::dense(&x, inner), &mut MapMut::dense(y, columns));
        conv::forward(isa, x, &packed, &window(1, 28, 1, 1), &Fused::NONE, y);
    };
    pair(c, "matmul", "784x240 by 240x40", ours, || x_tensor.matmul(&weight), flat);
}

/// SPPF's window, whose padding candle leaves to the caller: zeros, which do no harm where all values are positive.
fn max_pool2d(c: &mut Criterion) {
    let (isa, channels, side) = (Isa::best(), 128, 20);
    let x: Vec<f32> = wave(side * side * channels, 0.0, 1.0).into_iter().map(|x| x + 2.0).collect();
    let x_tensor = tensor(&x, [1, side, side], channels);
    let ours = |y: &mut [f32]| {
        let (x, y) = (MapRef::dense(&x, channels), &mut MapMut::dense(y, channels));
        pool::max_pool(isa, x, &window(1, side, 5, 1), y);
    };
    let candle = || {
        let padded = x_tensor.pad_with_zeros(2, 2, 2)?.pad_with_zeros(3, 2, 2)?;
        padded.max_pool2d_with_stride(5, 1)
    };
    pair(c, "max_pool2d", "128x20x20 k5", ours, candle, map);
}

fn upsample_nearest2d(c: &mut Criterion) {
    let (isa, channels, side) = (Isa::best(), 256, 20);
    let x = wave(side * side * channels, 0.0, 1.0);
    let x_tensor = tensor(&x, [1, side, side], channels);
    let ours = |y: &mut [f32]| {
        let (x, y) = (MapRef::dense(&x, channels), &mut MapMut::dense(y, channels));
        upsample::forward(isa, x, 1, side, side, 2, y);
    };
    let candle = || x_tensor.upsample_nearest2d(2 * side, 2 * side);
    pair(c, "upsample_nearest2d", "256x20x20", ours, candle, map);
}

fn activations(c: &mut Criterion) {
    let (isa, channels, side) = (Isa::best(), 96, 112);
    let x = wave(side * side * channels, 0.0, 3.0);
    let x_tensor = tensor(&x, [1, side, side], channels);
    let ours = |kind: Activation| {
        let x = &x;
        move |y: &mut [f32]| {
            let (x, y) = (MapRef::dense(x, channels), &mut MapMut::dense(y, channels));
            activation::forward(isa, kind, x, y);
        }
    };
    pair(c, "silu", "96x112x112", ours(Activation::Silu), || x_tensor.silu(), map);
    pair(c, "sigmoid", "96x112x112", ours(Activation::Sigmoid), || sigmoid(&x_tensor), map);
}

/// Batch norm in training: statistics of the batch, then the map.
fn batch_norm(c: &mut Criterion) {
    let (isa, channels, side, epsilon) = (Isa::best(), 96, 112, 1e-3);
    let x = wave(side * side * channels, 0.0, 1.0);
    let x_tensor = tensor(&x, [1, side, side], channels);
    let (gamma, beta) = (wave(channels, 1.0, 1.0), wave(channels, 2.0, 1.0));
    let vector =
        |values: &[f32]| Tensor::from_slice(values, channels, &Device::Cpu).expect("the sizes match");
    let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
    let layer = BatchNorm::new(
        channels,
        vector(&zeros),
        vector(&ones),
        vector(&gamma),
        vector(&beta),
        f64::from(epsilon),
    );
    let layer = layer.expect("the sizes match");
    let ours = |y: &mut [f32]| {
        let (mut mean, mut var) = (vec![0.0; channels], vec![0.0; channels]);
        norm::statistics(isa, MapRef::dense(&x, channels), &mut mean, &mut var);
        let scale: Vec<f32> =
            gamma.iter().zip(&var).map(|(gamma, var)| gamma / (var + epsilon).sqrt()).collect();
        let shift: Vec<f32> = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        let (x, y) = (MapRef::dense(&x, channels), &mut MapMut::dense(y, channels));
        norm::forward(isa, x, &scale, &shift, Activation::Identity, y);
    };
    pair(c, "batch_norm", "96x112x112", ours, || layer.forward_t(&x_tensor, true), map);
}

/// The finest level at 640 pixels: softmax over bins, expectation, boxes, and the sigmoid of the classes.
fn decoding(c: &mut Criterion) {
    let (isa, side, stride, classes, bins) = (Isa::best(), 80, 8, 80, 16);
    let cells = side * side;
    let (boxes, logits) = (wave(cells * 4 * bins, 0.0, 3.0), wave(cells * classes, 1.0, 3.0));
    let bin: Vec<f32> = (0..bins).map(|bin| bin as f32).collect();
    let constant = |values: &[f32], shape: &[usize]| {
        Tensor::from_slice(values, shape, &Device::Cpu).expect("the sizes match")
    };
    let (box_tensor, class_tensor) =
        (constant(&boxes, &[cells, 4, bins]), constant(&logits, &[cells, classes]));
    let bin_tensor = constant(&bin, &[1, 1, bins]);
    let centres: Vec<f32> =
        (0..cells).flat_map(|cell| [cell % side, cell / side]).map(|at| at as f32 + 0.5).collect();
    let centres = constant(&centres, &[cells, 2]);
    let ours = |y: &mut [f32]| {
        let (boxes, logits) = (MapRef::dense(&boxes, 4 * bins), MapRef::dense(&logits, classes));
        let y = &mut MapMut::dense(y, 4 + classes);
        decode::decode_level(isa, boxes, logits, 1, side, side, stride, &bin, 0, cells, y);
    };
    let candle = || {
        let distances = softmax_last_dim(&box_tensor)?.broadcast_mul(&bin_tensor)?.sum(D::Minus1)?;
        let low = (&centres - distances.narrow(1, 0, 2)?)?;
        let high = (&centres + distances.narrow(1, 2, 2)?)?;
        let (middle, size) = (((&low + &high)? * 0.5)?, (&high - &low)?);
        let boxes = (Tensor::cat(&[middle, size], 1)? * stride as f64)?;
        Tensor::cat(&[boxes, sigmoid(&class_tensor)?], 1)
    };
    pair(c, "softmax and decoding", "80x80 cells, 16 bins, 80 classes", ours, candle, flat);
}

criterion_group! {
    name = benches;
    config = brief();
    targets =
        conv2d,
        depthwise_conv2d,
        matmul,
        max_pool2d,
        upsample_nearest2d,
        activations,
        batch_norm,
        decoding
}
criterion_main!(benches);
