//! Gradients against finite differences in f64, for every kind of node.

use candle_core::{DType, Device, Tensor, Var};
use net_candle::{CandleNet, Mode};
use net_graph::{Activation, Builder, Conv, Graph, GraphError, Init, NodeId, Op, Padding};
use std::collections::BTreeSet;

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// One graph whose node `target` is under test.
struct Case {
    name: String,
    graph: Graph,
    target: NodeId,
    outputs: Vec<NodeId>,
    image: [usize; 4],
    is_frozen: bool,
}

/// Builds the node under test on top of a map.
type Build<'a> = &'a dyn Fn(&mut Builder, NodeId) -> Result<NodeId, GraphError>;

/// Who else reads the map that the node under test reads, and how its gradients meet on the tape.
#[derive(Debug, Clone, Copy)]
enum Consumers {
    One,
    OtherFirst,
    OtherLast,
}

impl Case {
    fn new(name: &str, image: [usize; 4], consumers: Consumers, build: Build<'_>) -> Self {
        let mut b = Builder::new();
        let input = b.input("image", image[1]).unwrap();
        let map = b.activation("map", input, Activation::Silu).unwrap();
        let other = b.activation("other", map, Activation::Sigmoid).unwrap();
        let target = build(&mut b, map).unwrap();
        let left = b.activation("left", target, Activation::Silu).unwrap();
        let right = b.activation("right", target, Activation::Sigmoid).unwrap();
        let outputs = match consumers {
            Consumers::One => vec![target],
            Consumers::OtherFirst => vec![other, left, right],
            Consumers::OtherLast => vec![right, left, other],
        };
        let name = format!("{name} on {image:?}, {consumers:?}");
        Case { name, graph: b.finish(), target, outputs, image, is_frozen: false }
    }

    fn check(&self) {
        let mut random = Random(7);
        let mut net = CandleNet::new(self.graph.clone(), &Device::Cpu, DType::F64, |param| {
            let shift = if param.name.ends_with("running_var") { 1.5 } else { 0.0 };
            (0..param.len()).map(|_| (random.next() * 2.0 - 1.0 + shift) as f32).collect()
        })
        .unwrap();
        if self.is_frozen {
            net.freeze(|name| name.starts_with("target"));
        }
        let image = Var::from_tensor(&random.tensor(&self.image, -3.0, 9.0)).unwrap();
        let gradients = self.loss(&net, &image).backward().unwrap();

        let params = net.trained().into_iter().map(|(param, var)| (param.name.as_str(), var));
        for (name, var) in params.chain([("the image", &image)]) {
            let missing = || panic!("{}: no gradient for {name}", self.name);
            let gradient = gradients.get(var).unwrap_or_else(missing);
            assert_eq!(gradient.dims(), var.dims(), "{}: {name}", self.name);
            for _ in 0..3 {
                let direction = random.tensor(var.dims(), -1.0, 1.0);
                self.check_direction(&net, &image, name, var, gradient, &direction);
            }
        }
    }

    /// The derivative of the loss along a direction in which every value changes.
    fn check_direction(
        &self,
        net: &CandleNet,
        image: &Var,
        name: &str,
        var: &Var,
        gradient: &Tensor,
        direction: &Tensor,
    ) {
        let start = var.as_tensor().copy().unwrap().detach();
        let loss_at = |step: f64| {
            var.set(&(&start + (direction * step).unwrap()).unwrap()).unwrap();
            scalar(&self.loss(net, image))
        };
        let numeric = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
        var.set(&start).unwrap();

        let analytic = scalar(&(gradient * direction).unwrap().sum_all().unwrap());
        let scale = scalar(&(gradient * direction).unwrap().abs().unwrap().sum_all().unwrap());
        let difference = (analytic - numeric).abs();
        let message = || format!("{}: {name}: gradient {analytic}, differences {numeric}", self.name);
        assert!(difference <= TOLERANCE * scale.max(1.0), "{}", message());
    }

    /// A sum of the outputs with fixed random weights.
    fn loss(&self, net: &CandleNet, image: &Var) -> Tensor {
        let mut drops = Random(11);
        let mut uniform = || drops.next();
        let outputs = net.forward(image, &self.outputs, Mode::Train { uniform: &mut uniform }).unwrap();
        let mut weights = Random(13);
        let mut term = |output: &Tensor| {
            let weights = weights.tensor(output.dims(), -1.0, 1.0);
            (output * weights).unwrap().sum_all().unwrap()
        };
        let terms: Vec<Tensor> = outputs.iter().map(&mut term).collect();
        terms.into_iter().reduce(|sum, term| (sum + term).unwrap()).unwrap()
    }
}

/// Numbers in `[0, 1)` by a 64-bit congruential generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tensor(&mut self, dims: &[usize], low: f64, high: f64) -> Tensor {
        let values: Vec<f64> = (0..dims.iter().product()).map(|_| low + (high - low) * self.next()).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }
}

fn scalar(x: &Tensor) -> f64 {
    x.to_scalar().unwrap()
}

const ANY: Init = Init::Constant(0.0);

/// A number for every kind of node. When a kind is new this does not compile: number it, raise [`KINDS`], and give it a
/// case below.
fn kind(op: &Op) -> usize {
    match op {
        Op::Input => 0,
        Op::ChannelAffine { .. } => 1,
        Op::Conv2d { .. } => 2,
        Op::BatchNorm { .. } => 3,
        Op::Activation(Activation::Silu) => 4,
        Op::Activation(Activation::Relu) => 5,
        Op::Activation(Activation::Relu6) => 6,
        Op::Activation(Activation::Sigmoid) => 7,
        Op::Add => 8,
        Op::Gate => 9,
        Op::GlobalAvgPool => 10,
        Op::MaxPool { .. } => 11,
        Op::Upsample { .. } => 12,
        Op::Concat => 13,
        Op::Slice { .. } => 14,
        Op::DropPath { .. } => 15,
        Op::Dropout { .. } => 16,
        Op::Linear { .. } => 17,
        Op::DecodeDetections { .. } => 18,
        Op::CondConv { .. } => 19,
    }
}
const KINDS: usize = 20;

const SIZES: [(usize, usize); 4] = [(7, 8), (8, 7), (6, 6), (5, 5)];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, image: [usize; 4], build: Build<'_>| {
        for consumers in [Consumers::One, Consumers::OtherFirst, Consumers::OtherLast] {
            cases.push(Case::new(name, image, consumers, build));
        }
    };
    for (height, width) in SIZES {
        convolutions(&mut |name, build| add(name, [2, 4, height, width], build));
        mixed_convolutions(&mut |name, build| add(name, [2, 4, height, width], build));
        maps(&mut |name, build| add(name, [2, 4, height, width], build));
    }
    vectors(&mut |name, build| add(name, [3, 4, 1, 1], build));
    decoding(&mut |name, build| add(name, [2, 4 * 5 + 3, 3, 4], build));
    add("batch norm", [1, 3, 1, 2], &|b, x| b.batch_norm("target", x, 1e-3, 0.1));
    cases
}

fn convolutions(add: &mut dyn FnMut(&str, Build<'_>)) {
    let kernels = [(1, 1), (1, 2), (2, 2), (3, 1), (3, 2), (3, 3), (5, 1), (5, 2)];
    for (kernel, stride) in kernels {
        for padding in [Padding::Symmetric, Padding::Same] {
            // Dense, grouped, depthwise, and depthwise with two filters a channel.
            for (groups, out) in [(1, 3), (2, 6), (4, 4), (4, 8)] {
                let conv = Conv { kernel, stride, padding, groups };
                add(&format!("{conv:?}"), &|b, x| b.conv("target", x, out, conv, ANY, Some(ANY)));
            }
        }
    }
}

/// Dense, depthwise and grouped kernels, mixed by a routing that is made from the map itself.
fn mixed_convolutions(add: &mut dyn FnMut(&str, Build<'_>)) {
    for (kernel, stride, groups, out) in
        [(1, 1, 1, 3), (3, 1, 4, 4), (3, 2, 1, 3), (5, 2, 4, 4), (3, 1, 2, 6)]
    {
        let conv = Conv { kernel, stride, padding: Padding::Same, groups };
        add(&format!("mixed {conv:?}"), &|b, x| {
            let pooled = b.global_avg_pool("pooled", x)?;
            let routing = b.linear("routing_fn", pooled, 3, ANY, ANY)?;
            let routing = b.activation("routing", routing, Activation::Sigmoid)?;
            b.cond_conv("target", x, routing, out, conv, ANY)
        });
    }
}

fn maps(add: &mut dyn FnMut(&str, Build<'_>)) {
    add("input", &|_, _| Ok(NodeId(0)));
    add("affine", &|b, x| b.channel_affine("target", x, &[2.0, -0.5, 1.0, 3.0], &[1.0, 0.0, -2.0, 0.5]));
    add("batch norm", &|b, x| b.batch_norm("target", x, 1e-3, 0.1));
    for activation in [Activation::Silu, Activation::Relu, Activation::Relu6, Activation::Sigmoid] {
        add(&format!("{activation:?}"), &|b, x| b.activation("target", x, activation));
    }
    add("add", &|b, x| {
        let y = b.activation("y", x, Activation::Sigmoid)?;
        b.add("target", x, y)
    });
    add("add to itself", &|b, x| b.add("target", x, x));
    add("gate", &|b, x| {
        let pooled = b.global_avg_pool("pooled", x)?;
        b.gate("target", x, pooled)
    });
    add("mean", &|b, x| b.global_avg_pool("target", x));
    for (kernel, stride) in [(5, 1), (3, 2), (2, 2), (3, 3)] {
        add(&format!("max-pool {kernel} {stride}"), &|b, x| b.max_pool("target", x, kernel, stride));
    }
    for factor in [2, 3] {
        add(&format!("upsample {factor}"), &|b, x| b.upsample("target", x, factor));
    }
    add("concat", &|b, x| {
        let y = b.slice("y", x, 1, 2)?;
        b.concat("target", &[y, x, y])
    });
    add("slice", &|b, x| b.slice("target", x, 1, 2));
    add("drop-path", &|b, x| b.drop_path("target", x, 0.4));
    add("dropout", &|b, x| b.dropout("target", x, 0.4));
}

fn vectors(add: &mut dyn FnMut(&str, Build<'_>)) {
    add("linear", &|b, x| b.linear("target", x, 5, ANY, ANY));
    add("dropout", &|b, x| b.dropout("target", x, 0.4));
    add("batch norm", &|b, x| b.batch_norm("target", x, 1e-3, 0.1));
}

fn decoding(add: &mut dyn FnMut(&str, Build<'_>)) {
    add("decoding", &|b, x| {
        let coarse = b.max_pool("coarse", x, 3, 2)?;
        let boxes = [b.slice("box", x, 0, 20)?, b.slice("coarse_box", coarse, 0, 20)?];
        let classes = [b.slice("class", x, 20, 3)?, b.slice("coarse_class", coarse, 20, 3)?];
        b.decode_detections("target", &boxes, &classes, &[8, 16], 5)
    });
}

#[test]
fn gradients_equal_finite_differences() {
    cases().iter().for_each(Case::check);
}

#[test]
fn a_frozen_batch_norm_passes_gradients_by_its_running_statistics() {
    for consumers in [Consumers::One, Consumers::OtherFirst, Consumers::OtherLast] {
        let build = |b: &mut Builder, x| b.batch_norm("target", x, 1e-3, 0.1);
        let case = Case::new("frozen batch norm", [2, 3, 4, 5], consumers, &build);
        Case { is_frozen: true, ..case }.check();
    }
}

#[test]
fn every_kind_of_node_has_a_case() {
    let covered: BTreeSet<usize> =
        cases().iter().map(|case| kind(&case.graph.node(case.target).op)).collect();
    let missing: Vec<usize> = (0..KINDS).filter(|kind| !covered.contains(kind)).collect();
    assert!(missing.is_empty(), "kinds without a case, by their number above: {missing:?}");
}
