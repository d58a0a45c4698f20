//! Whole networks: inference. Checked first, on a small image against candle's operations in double precision, at the size that is timed
//! against the portable kernels.

use benches::check::assert_close_to_max;
use benches::composed::{Composed, values};
use benches::networks::{model, params, spec};
use benches::settings::brief;
use benches::values::{to_f64, uniform};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use net_cpu::{Images, InferModel, Isa, Precision};
use std::sync::Arc;

/// Configuration, image side and batch.
const NETWORKS: [(&str, usize, usize); 4] = [
    ("classify/effnet-b0", 224, 1),
    ("classify/effnet-b0", 224, 8),
    ("detect/effnet-b0-n", 640, 1),
    ("detect/yolov8n", 640, 1),
];

fn images(batch: usize, side: usize) -> Vec<f32> {
    let mut random = uniform(3);
    (0..batch * 3 * side * side).map(|_| random() as f32).collect()
}

fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(10);
    for (name, side, batch) in NETWORKS {
        let model = model(&spec(name));
        let params = params(&model);
        let prediction = model.prediction();
        let compile =
            |isa| InferModel::new(Arc::new(model.graph.clone()), &params, &[prediction], isa, Precision::F32);
        let fast = compile(Isa::best()).expect("compiles");

        let small = images(2, 64);
        let mut plan = fast.plan(2, 64, 64).expect("fits");
        plan.run(Images::Nchw(&small)).expect("runs");
        let expected = Composed::new(&model, &params).infer(&small, [2, 64], &[prediction]);
        let what = format!("{name} against candle");
        assert_close_to_max(&what, &plan.output_nchw(0), &values(&expected[0]), 1e-4);

        let images = images(batch, side);
        let mut plan = fast.plan(batch, side, side).expect("fits");
        plan.run(Images::Nchw(&images)).expect("runs");
        let portable = compile(Isa::PORTABLE).expect("compiles");
        let mut slow = portable.plan(batch, side, side).expect("fits");
        slow.run(Images::Nchw(&images)).expect("runs");
        let what = format!("{name} against portable kernels");
        assert_close_to_max(&what, &plan.output_nchw(0), &to_f64(&slow.output_nchw(0)), 1e-4);

        group.bench_function(BenchmarkId::new(name, format!("{side}, batch {batch}")), |bencher| {
            bencher.iter(|| plan.run(Images::Nchw(&images)).expect("runs"));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = inference }
criterion_main!(benches);
