//! Max-pooling of SPPF at 640 pixels: one of its three steps of 5x5, and all three.
//!
//! Each case first checks its answer against the plain reference. Elements are comparisons of the plain form.

use std::hint::black_box;

use benches::check::assert_close;
use benches::settings::brief;
use benches::shapes::window;
use benches::values::{to_f64, wave};
use cpu_kernels::reference::pool as plain;
use cpu_kernels::{Isa, MapMut, MapRef, Window, pool};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CHANNELS: usize = 128;
const SIDE: usize = 20;

fn maxima(x: &[f32], window: &Window) -> Vec<f64> {
    plain::max_pool(&to_f64(x), CHANNELS, window).iter().map(|best| best.0).collect()
}

fn max_pool(c: &mut Criterion) {
    let (isa, window) = (Isa::best(), window(1, SIDE, 5, 1));
    let x = wave(SIDE * SIDE * CHANNELS, 0.0, 1.0);
    let dy = wave(x.len(), 2.0, 1.0);
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let map = |data| MapRef::dense(data, CHANNELS);
    let forward = |y: &mut [f32]| pool::max_pool(isa, map(&x), &window, &mut MapMut::dense(y, CHANNELS));
    forward(&mut y);
    assert_close("max pool", &y, &maxima(&x, &window), 0.0);
    let backward = |dx: &mut [f32]| {
        let dx = &mut MapMut::dense(dx, CHANNELS);
        pool::max_pool_backward(isa, map(&x), map(&y), map(&dy), &window, false, dx);
    };
    backward(&mut dx);
    let gradient = plain::max_pool_backward(&to_f64(&x), &to_f64(&dy), CHANNELS, &window);
    assert_close("max pool backward", &dx, &gradient, 1e-5);

    let mut group = c.benchmark_group("pool/max, 128x20x20 k5");
    group.throughput(Throughput::Elements((x.len() * 25) as u64));
    let mut scratch = y.clone();
    group.bench_function("forward", |b| b.iter(|| forward(black_box(&mut scratch))));
    group.bench_function("backward", |b| b.iter(|| backward(black_box(&mut dx))));
    group.finish();
}

/// Three steps of 5x5, each on the result of the one before: windows of 5, 9 and 13.
fn sppf(c: &mut Criterion) {
    let isa = Isa::best();
    let x = wave(SIDE * SIDE * CHANNELS, 0.0, 1.0);
    let mut steps = [0; 3].map(|_| vec![0.0; x.len()]);
    let run = |steps: &mut [Vec<f32>; 3]| {
        let mut from = &x;
        for to in steps {
            pool::max_pool(
                isa,
                MapRef::dense(from, CHANNELS),
                &window(1, SIDE, 5, 1),
                &mut MapMut::dense(to, CHANNELS),
            );
            from = to;
        }
    };
    run(&mut steps);
    for (kernel, y) in [5, 9, 13].into_iter().zip(&steps) {
        assert_close(&format!("window of {kernel}"), y, &maxima(&x, &window(1, SIDE, kernel, 1)), 0.0);
    }
    let mut group = c.benchmark_group("pool/sppf");
    group.throughput(Throughput::Elements((x.len() * 3 * 25) as u64));
    group.bench_function("128x20x20", |b| b.iter(|| run(black_box(&mut steps))));
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = max_pool, sppf }
criterion_main!(benches);
