//! Once its threads have their buffers, an inference run allocates nothing, on any thread, but for a job to call in each
//! further thread.

use effyolo_config::ModelSpec;
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::path::Path;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Networks that have every kind of step between them: gates, depthwise convolutions, concat, split, max-pool, upsampling.
const CONFIGS: [&str; 3] = ["detect/effnet-b0-n", "detect/yolov8n", "classify/effnet-b0"];

const SIDE: usize = 96;

/// Allocations of the run that has fewest of some. Which thread takes which part is chance: buffers may grow for a while.
fn fewest_allocations(config: &str, threads: usize) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{config}.yaml"));
    let model = ModelSpec::load(&path).unwrap().build(None).unwrap();
    let output = model.prediction();
    let graph = Arc::new(model.graph);
    let params = Params::init(&graph, |_| || 0.5);
    let model = InferModel::new(graph, &params, &[output], Isa::best(), Precision::F32).unwrap();
    let mut plan = model.plan(1, SIDE, SIDE).unwrap();
    let images = vec![0.5; 3 * SIDE * SIDE];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut run = || {
        let region = Region::new(ALLOCATOR);
        plan.run(Images::Nchw(&images)).unwrap();
        let change = region.change();
        change.allocations + change.reallocations
    };
    pool.install(|| (0..50).map(|_| run()).min()).unwrap()
}

#[test]
fn a_run_allocates_nothing() {
    for config in CONFIGS {
        assert_eq!(fewest_allocations(config, 1), 0, "{config} on one thread");
        let calls = fewest_allocations(config, 3);
        assert!(calls <= 2, "{config}: {calls} allocations, but only two threads to call in");
    }
}
