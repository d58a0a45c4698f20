//! Nearest upsampling in the neck of YOLOv8n at 640 pixels, forward and backward.
//!
//! Each case first checks its answer against the plain reference. Bytes are those that are read and written.

use std::hint::black_box;

use benches::check::assert_close;
use benches::settings::brief;
use benches::values::{to_f64, wave};
use cpu_kernels::reference::pool as plain;
use cpu_kernels::{Isa, MapMut, MapRef, upsample};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Channels and side of the small map.
const MAPS: [(usize, usize); 2] = [(256, 20), (128, 40)];

fn doubled(c: &mut Criterion) {
    let isa = Isa::best();
    let mut group = c.benchmark_group("upsample/by 2");
    for (channels, side) in MAPS {
        let name = format!("{channels}x{side}x{side}");
        let x = wave(side * side * channels, 0.0, 1.0);
        let dy = wave(4 * x.len(), 1.0, 1.0);
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let forward = |y: &mut [f32]| {
            let (x, y) = (MapRef::dense(&x, channels), &mut MapMut::dense(y, channels));
            upsample::forward(isa, x, 1, side, side, 2, y);
        };
        forward(&mut y);
        assert_close(&name, &y, &plain::upsample(&to_f64(&x), channels, side, side, 2), 0.0);
        let backward = |dx: &mut [f32]| {
            let (dy, dx) = (MapRef::dense(&dy, channels), &mut MapMut::dense(dx, channels));
            upsample::backward(isa, dy, 1, side, side, 2, false, dx);
        };
        backward(&mut dx);
        assert_close(&name, &dx, &plain::upsample_backward(&to_f64(&dy), channels, side, side, 2), 1e-6);
        group.throughput(Throughput::Bytes(4 * (x.len() + y.len()) as u64));
        group.bench_function(format!("forward/{name}"), |b| b.iter(|| forward(black_box(&mut y))));
        group.bench_function(format!("backward/{name}"), |b| b.iter(|| backward(black_box(&mut dx))));
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = doubled }
criterion_main!(benches);
