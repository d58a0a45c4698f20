//! Whole networks against the reference values: forward passes, real weights, and a training trace.

mod forward_cases;

use candle_core::{DType, Device, Tensor};
use forward_cases::{Engine, Map, classifier, numbers, rule_values};
use net_candle::{CandleNet, Mode};
use net_graph::{Graph, NodeId, Param};
use test_support::{Entry, assert_close_to_max, entries};

fn network(graph: Graph, values: impl FnMut(&Param) -> Vec<f32>) -> CandleNet {
    CandleNet::new(graph, &Device::Cpu, DType::F64, values).unwrap()
}

fn rule_network(entry: &Entry, graph: Graph) -> CandleNet {
    network(graph, |param| rule_values(entry, param))
}

fn tensor(values: Vec<f32>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

fn rule_images(entry: &Entry, dims: &[usize; 4], low: f64, high: f64) -> Tensor {
    tensor(entry.rule_input(dims.iter().product(), low, high), dims)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// candle in f64.
struct Candle;

impl Engine for Candle {
    fn run(
        &self,
        graph: Graph,
        values: &dyn Fn(&Param) -> Vec<f32>,
        images: &[f32],
        size: [usize; 4],
        outputs: &[NodeId],
    ) -> Vec<Map> {
        let images = tensor(images.to_vec(), &size);
        let maps = network(graph, values).forward(&images, outputs, Mode::Eval).unwrap();
        let map =
            |map: Tensor| Map { values: flat(&map), dims: map.dims().try_into().expect("four dimensions") };
        maps.into_iter().map(map).collect()
    }
}

#[test]
fn efficientnet_forward_is_golden() {
    forward_cases::efficientnet_forward(&Candle);
}

#[test]
fn yolov8_forward_is_golden() {
    forward_cases::yolov8_forward(&Candle);
}

#[test]
fn logits_of_real_weights_are_golden() {
    forward_cases::real_weights(&Candle, "net-candle: logits_of_real_weights_are_golden");
}

/// Model, classes, batch and side of the image from text that starts `<model> nc=<classes>, <batch>x3x<side>x<side>:`.
fn training_case(what: &str) -> (&str, usize, [usize; 4]) {
    let parse = || {
        let (model, rest) = what.split_once(" nc=")?;
        let (classes, rest) = rest.split_once(", ")?;
        let dims = numbers(rest.split_once(':')?.0);
        Some((model, classes.parse().ok()?, dims.try_into().ok()?))
    };
    parse().unwrap_or_else(|| panic!("expected `<model> nc=<classes>, BxCxHxW: ...`, got `{what}`"))
}

/// Cross entropy of logits `[B, K, 1, 1]` with smoothed labels, mean over the batch.
fn cross_entropy(logits: &Tensor, labels: &[i64], smoothing: f64) -> Tensor {
    let (batch, classes, _, _) = logits.dims4().unwrap();
    let logits = logits.reshape((batch, classes)).unwrap();
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1).unwrap()).unwrap();
    let total = shifted.exp().unwrap().sum_keepdim(1).unwrap().log().unwrap();
    let log_probabilities = shifted.broadcast_sub(&total).unwrap();
    let target = |i: usize| {
        let is_label = labels[i / classes] as usize == i % classes;
        smoothing / classes as f64 + if is_label { 1.0 - smoothing } else { 0.0 }
    };
    let targets: Vec<f64> = (0..batch * classes).map(target).collect();
    let targets = Tensor::from_vec(targets, (batch, classes), &Device::Cpu).unwrap();
    ((log_probabilities * targets).unwrap().sum_all().unwrap() * (-1.0 / batch as f64)).unwrap()
}

#[test]
fn efficientnet_training_trace_is_golden() {
    for entry in entries("train_effnet") {
        let want = entry.tensors();
        let (model, classes, dims) = training_case(&entry.what);
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let bn = &entry.meta["bn"];
        let (graph, nodes) = classifier(model, classes, number(&bn["eps"]), number(&bn["momentum"]));
        let net = rule_network(&entry, graph);
        let images = rule_images(&entry, &dims, -2.0, 2.0);
        let labels = want.integers("labels");
        let expect = |name: &str, got: &Tensor| {
            let tolerance = entry.tolerance(&["tensors_rel_to_max", name]);
            assert_close_to_max(&format!("{}: {name}", entry.file), &flat(got), &want.f32(name), tolerance);
        };
        let named = |prefix: &str, check: &dyn Fn(&str, &str)| {
            for name in want.names() {
                name.strip_prefix(prefix).iter().for_each(|param| check(&name, param));
            }
        };

        for (step, loss_before) in want.f32("log").into_iter().enumerate() {
            let mode = Mode::Train { uniform: &mut || unreachable!("nothing is dropped") };
            let logits = net.forward(&images, &[nodes.logits], mode).unwrap().remove(0);
            let loss = cross_entropy(&logits, &labels, 0.0);
            let gradients = loss.backward().unwrap();
            if step == 0 {
                expect("logits", &logits);
                expect("label_smoothing_0.1_loss", &cross_entropy(&logits, &labels, 0.1));
                named("grad/", &|name, param| expect(name, gradients.get(net.var(param).unwrap()).unwrap()));
                named("after_1_forward/", &|name, param| expect(name, net.var(param).unwrap()));
            }
            let what = format!("{}: loss before step {step}", entry.file);
            assert_close_to_max(&what, &flat(&loss), &[loss_before], entry.tolerance(&["log_rel"]));
            for (_, var) in net.trained() {
                let change = (gradients.get(var).unwrap() * number(&entry.meta["lr"])).unwrap();
                var.set(&(var.as_tensor() - change).unwrap()).unwrap();
            }
        }
        named("after_steps/", &|name, param| expect(name, net.var(param).unwrap()));
    }
}
