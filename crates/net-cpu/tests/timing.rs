//! Timed runs of plans: every needed node belongs to a step or is an address, and results are those of plain runs.

use effyolo_config::{Model, ModelSpec};
use net_cpu::{Images, InferModel, Isa, Params, Pass, Precision, StepInfo, TrainPlan};
use net_graph::{Graph, NodeId, Op};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIDE: usize = 64;

fn network(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
    ModelSpec::load(&path).unwrap().build(None).unwrap()
}

fn params(graph: &Graph) -> Params {
    let mut state = 1u64;
    Params::init(graph, |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut stream = state;
        move || {
            stream = stream.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (stream >> 11) as f64 / (1u64 << 53) as f64
        }
    })
}

fn images() -> Vec<f32> {
    (0..3 * SIDE * SIDE).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// Every needed node is in just one step of the pass, or is an address.
fn assert_complete(graph: &Graph, outputs: &[NodeId], steps: &[StepInfo]) {
    let mut found = vec![0; graph.nodes().len()];
    steps.iter().flat_map(|step| &step.nodes).for_each(|id| found[id.0] += 1);
    for (id, needed) in graph.ids().zip(graph.needed_for(outputs)) {
        let node = graph.node(id);
        let is_address = matches!(node.op, Op::Slice { .. } | Op::DropPath { .. } | Op::Dropout { .. });
        let expected = match (needed, is_address) {
            (false, _) => 0..=0,
            (true, true) => 0..=1,
            (true, false) => 1..=1,
        };
        assert!(expected.contains(&found[id.0]), "{}: in {} steps", node.name, found[id.0]);
    }
}

/// The steps take most of the time that passes, and not more.
fn assert_adds_up(times: &[Duration], total: Duration) {
    let sum: Duration = times.iter().sum();
    assert!(sum <= total && 2 * sum >= total, "steps took {sum:?} of {total:?}");
}

#[test]
fn inference() {
    for name in ["detect/effnet-b0-n.yaml", "detect/yolov8n.yaml", "classify/effnet-b0.yaml"] {
        let model = network(name);
        let outputs = [model.prediction()];
        let graph = Arc::new(model.graph);
        let compiled =
            InferModel::new(graph.clone(), &params(&graph), &outputs, Isa::best(), Precision::F32).unwrap();
        let mut plan = compiled.plan(1, SIDE, SIDE).unwrap();
        let images = images();
        plan.run(Images::Nchw(&images)).unwrap();
        let plain = plan.output(0).to_vec();
        let steps = plan.steps();
        assert_complete(&graph, &outputs, &steps);
        let macs: u64 = steps.iter().map(|step| step.macs).sum();
        assert_eq!(macs, graph.cost(&graph.shapes(1, SIDE, SIDE).unwrap()).macs, "{name}");
        let mut times = vec![Duration::ZERO; steps.len()];
        let started = Instant::now();
        plan.run_timed(Images::Nchw(&images), &mut times).unwrap();
        assert_adds_up(&times, started.elapsed());
        assert_eq!(plan.output(0).to_vec(), plain, "{name}");
    }
}

#[test]
fn training() {
    let model = network("detect/effnet-b0-n.yaml");
    let head = model.head().unwrap();
    let outputs = [&head.boxes[..], &head.classes[..]].concat();
    let graph = Arc::new(model.graph);
    let images = images();
    let gradients = |timed: bool| {
        let mut params = params(&graph);
        let size = (1, SIDE, SIDE);
        let layout = params.layout.clone();
        let mut plan =
            TrainPlan::new(graph.clone(), layout, &outputs, size, Isa::best(), &|_| false).unwrap();
        let mut gradients = vec![0.0; params.trained.len()];
        let (forward, backward) = (plan.forward_steps(), plan.backward_steps());
        let mut times = vec![Duration::ZERO; forward.len() + backward.len()];
        let (forward_times, backward_times) = times.split_at_mut(forward.len());
        let started = Instant::now();
        let (images, uniform) = (Images::Nchw(&images), &mut || 0.5);
        match timed {
            true => plan.forward_timed(&mut params, images, uniform, forward_times).unwrap(),
            false => plan.forward(&mut params, images, uniform).unwrap(),
        }
        (0..outputs.len()).for_each(|index| plan.output_grad(index).fill(0.01));
        match timed {
            true => plan.backward_timed(&params, &mut gradients, backward_times),
            false => plan.backward(&params, &mut gradients),
        }
        if timed {
            assert_adds_up(&times, started.elapsed());
            assert_complete(&graph, &outputs, &forward);
            assert!(backward.iter().all(|step| step.pass == Pass::Backward));
            let macs = |steps: &[StepInfo]| steps.iter().map(|step| step.macs).sum::<u64>();
            // Both gradients of every convolution but the one that reads the image.
            let stem = forward.iter().find(|step| step.macs > 0).unwrap().macs;
            assert_eq!(macs(&backward), 2 * macs(&forward) - stem);
        }
        gradients
    };
    assert_eq!(gradients(true), gradients(false));
}
