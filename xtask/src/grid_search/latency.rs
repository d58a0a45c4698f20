//! A stopwatch as a cost model.

use super::store::Store;
use crate::network_graph::network_graph;
use anyhow::Result;
use effnet_scaling::{CostModel, Network, SourceError};
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use net_graph::NodeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Runs that count; the least of them is the latency, since whatever disturbs a run makes it longer.
const RUNS: usize = 5;

/// What was measured, and the store that keeps it beyond this run.
#[derive(Default)]
pub(super) struct Latencies<'a> {
    known: HashMap<String, f64>,
    store: Option<&'a Store>,
}

impl<'a> Latencies<'a> {
    /// Those of the store, which gets the new ones.
    pub(super) fn kept_in(store: &'a Store) -> Result<Self> {
        Ok(Latencies { known: store.latencies()?, store: Some(store) })
    }
}

/// Milliseconds for one image on this CPU with all threads: the network folded and packed, random weights.
pub(super) struct Timed<'a, 'b> {
    pub(super) classes: usize,
    pub(super) latencies: &'a mut Latencies<'b>,
}

impl CostModel<Network> for Timed<'_, '_> {
    fn cost(&mut self, network: &Network, resolution: usize) -> Result<f64, SourceError> {
        let key = serde_json::to_string(&(network, resolution, self.classes))?;
        if let Some(&known) = self.latencies.known.get(&key) {
            return Ok(known);
        }
        let milliseconds = milliseconds(network, resolution, self.classes)?;
        if let Some(store) = self.latencies.store {
            store.keep_latency(&key, milliseconds)?;
        }
        self.latencies.known.insert(key, milliseconds);
        Ok(milliseconds)
    }
}

fn milliseconds(network: &Network, side: usize, classes: usize) -> Result<f64> {
    let graph = Arc::new(network_graph(network, classes).map_err(anyhow::Error::from_boxed)?);
    let params = Params::init(&graph, |_| numbers());
    let answer = NodeId(graph.nodes().len() - 1);
    let mut plan =
        InferModel::new(graph, &params, &[answer], Isa::best(), Precision::F32)?.plan(1, side, side)?;
    let mut next = numbers();
    let image: Vec<f32> = (0..3 * side * side).map(|_| next() as f32).collect();
    plan.run(Images::Nchw(&image))?;
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        plan.run(Images::Nchw(&image))?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(1e3 * least)
}

/// Numbers in `[0, 1)` that look random enough for a stopwatch (Knuth's linear congruential generator).
fn numbers() -> impl FnMut() -> f64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use effnet_scaling::{Baseline, NamedBaseline};

    #[test]
    fn larger_networks_take_longer_and_answers_are_remembered() {
        let mut latencies = Latencies::default();
        let mut timed = Timed { classes: 10, latencies: &mut latencies };
        for name in ["efficientnet-b0", "mobilenet-v1", "mobilenet-v2", "resnet-50", "effyolo-n"] {
            let network = NamedBaseline::find(name).unwrap().scaled(0.25, 1.0).unwrap();
            let small = timed.cost(&network, 32).unwrap();
            let large = timed.cost(&network, 160).unwrap();
            assert!(0.0 < small && small < large, "{name}: {small} and {large} ms");
            assert_eq!(timed.cost(&network, 32).unwrap(), small);
        }
    }
}
