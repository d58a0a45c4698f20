//! The engine in f32 against net-candle's composed form in f64: values, gradients of every parameter, running
//! statistics; for every kind of node, with one reader and with two, on every instruction set.

use candle_core::{DType, Device, Tensor};
use net_candle::{CandleNet, Mode};
use net_cpu::{Images, InferModel, Isa, Params, Precision, TrainPlan};
use net_graph::{Activation, Builder, Conv, Graph, GraphError, Init, NodeId, Padding};
use std::sync::Arc;
use test_support::{assert_close, max_abs};

/// A small deterministic source of numbers in `[0, 1)`.
struct Numbers(u64);

impl Numbers {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (2.0 * self.uniform() - 1.0) as f32).collect()
    }
}

const INIT: Init = Init::Uniform { bound: 0.5 };

/// Weights of four experts from the means of a map.
fn routing(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    let pooled = b.global_avg_pool("routing.pool", x)?;
    let routing = b.linear("routing.fc", pooled, 4, INIT, INIT)?;
    b.activation("routing", routing, Activation::Sigmoid)
}

type Block = fn(&mut Builder, NodeId) -> Result<NodeId, GraphError>;

fn conv(kernel: usize, stride: usize, padding: Padding, groups: usize) -> Conv {
    Conv { kernel, stride, padding, groups }
}

/// A block for every kind of node; each gets a map of 8 channels.
const BLOCKS: &[(&str, Block)] = &[
    ("pointwise", |b, x| b.conv("op", x, 12, conv(1, 1, Padding::Symmetric, 1), INIT, None)),
    ("conv 3x3 with bias", |b, x| b.conv("op", x, 5, conv(3, 1, Padding::Symmetric, 1), INIT, Some(INIT))),
    ("conv 3x3 stride 2 same", |b, x| b.conv("op", x, 20, conv(3, 2, Padding::Same, 1), INIT, None)),
    ("conv 3x3 stride 2 symmetric", |b, x| b.conv("op", x, 6, conv(3, 2, Padding::Symmetric, 1), INIT, None)),
    ("conv 1x1 stride 2", |b, x| b.conv("op", x, 6, conv(1, 2, Padding::Symmetric, 1), INIT, None)),
    ("depthwise 3x3", |b, x| b.conv("op", x, 8, conv(3, 1, Padding::Symmetric, 8), INIT, None)),
    ("depthwise 5x5 stride 2 same", |b, x| {
        b.conv("op", x, 8, conv(5, 2, Padding::Same, 8), INIT, Some(INIT))
    }),
    ("mixed pointwise", |b, x| {
        let routing = routing(b, x)?;
        b.cond_conv("op", x, routing, 12, conv(1, 1, Padding::Symmetric, 1), INIT)
    }),
    ("mixed 3x3 stride 2 same, norm", |b, x| {
        let routing = routing(b, x)?;
        let y = b.cond_conv("op", x, routing, 5, conv(3, 2, Padding::Same, 1), INIT)?;
        b.batch_norm("op.bn", y, 1e-3, 0.1)
    }),
    ("mixed depthwise, its map is its routing", |b, x| {
        let x = b.global_avg_pool("op.pool", x)?;
        b.cond_conv("op", x, x, 8, conv(3, 1, Padding::Symmetric, 8), INIT)
    }),
    ("block of experts", |b, x| {
        let routing = routing(b, x)?;
        let y = b.cond_conv("op.expand", x, routing, 20, conv(1, 1, Padding::Same, 1), INIT)?;
        let y = b.batch_norm("op.bn1", y, 1e-3, 0.1)?;
        let y = b.activation("op.act1", y, Activation::Silu)?;
        let y = b.cond_conv("op.depthwise", y, routing, 20, conv(5, 1, Padding::Same, 20), INIT)?;
        let y = b.batch_norm("op.bn2", y, 1e-3, 0.1)?;
        let y = b.activation("op.act2", y, Activation::Silu)?;
        let gate = b.global_avg_pool("op.squeeze", y)?;
        let gate = b.activation("op.excite", gate, Activation::Sigmoid)?;
        let y = b.gate("op.gate", y, gate)?;
        let y = b.cond_conv("op.project", y, routing, 8, conv(1, 1, Padding::Same, 1), INIT)?;
        let y = b.batch_norm("op.bn3", y, 1e-3, 0.1)?;
        b.add("op.add", y, x)
    }),
    ("routing by a gate", |b, x| {
        let pooled = b.global_avg_pool("op.pool", x)?;
        let factors = b.activation("op.factors", pooled, Activation::Sigmoid)?;
        let routing = b.gate("op.gate", pooled, factors)?;
        b.cond_conv("op", x, routing, 6, conv(1, 1, Padding::Symmetric, 1), INIT)
    }),
    ("batch norm", |b, x| b.batch_norm("op", x, 1e-3, 0.03)),
    ("batch norm and SiLU", |b, x| {
        let y = b.batch_norm("op", x, 1e-3, 0.1)?;
        b.activation("act", y, Activation::Silu)
    }),
    ("conv, norm, ReLU6", |b, x| {
        let y = b.conv("op.conv", x, 8, conv(1, 1, Padding::Symmetric, 1), INIT, None)?;
        let y = b.batch_norm("op.bn", y, 1e-3, 0.1)?;
        b.activation("act", y, Activation::Relu6)
    }),
    ("SiLU", |b, x| b.activation("op", x, Activation::Silu)),
    ("ReLU", |b, x| b.activation("op", x, Activation::Relu)),
    ("ReLU6", |b, x| b.activation("op", x, Activation::Relu6)),
    ("sigmoid", |b, x| b.activation("op", x, Activation::Sigmoid)),
    ("add", |b, x| {
        let y = b.activation("side", x, Activation::Sigmoid)?;
        b.add("op", x, y)
    }),
    ("residual with drop-path", |b, x| {
        let y = b.conv("op.conv", x, 8, conv(1, 1, Padding::Symmetric, 1), INIT, None)?;
        let y = b.batch_norm("op.bn", y, 1e-3, 0.1)?;
        let y = b.drop_path("op.drop", y, 0.4)?;
        b.add("op.add", y, x)
    }),
    ("squeeze and excite", |b, x| {
        let y = b.global_avg_pool("op.pool", x)?;
        let y = b.conv("op.reduce", y, 3, conv(1, 1, Padding::Symmetric, 1), INIT, Some(INIT))?;
        let y = b.activation("op.act", y, Activation::Silu)?;
        let y = b.conv("op.expand", y, 8, conv(1, 1, Padding::Symmetric, 1), INIT, Some(INIT))?;
        let y = b.activation("op.sigmoid", y, Activation::Sigmoid)?;
        b.gate("op.gate", x, y)
    }),
    ("max-pool 5x5", |b, x| b.max_pool("op", x, 5, 1)),
    ("max-pool 3x3 stride 2", |b, x| b.max_pool("op", x, 3, 2)),
    ("pyramid pooling", |b, x| {
        let y1 = b.max_pool("op.1", x, 5, 1)?;
        let y2 = b.max_pool("op.2", y1, 5, 1)?;
        b.concat("op.cat", &[x, y1, y2])
    }),
    ("upsample", |b, x| b.upsample("op", x, 2)),
    ("split, chain and join", |b, x| {
        let y = b.activation("op.act", x, Activation::Silu)?;
        let first = b.slice("op.first", y, 0, 4)?;
        let second = b.slice("op.second", y, 4, 4)?;
        let z = b.conv("op.conv", second, 4, conv(3, 1, Padding::Symmetric, 1), INIT, None)?;
        let z = b.batch_norm("op.bn", z, 1e-3, 0.03)?;
        let z = b.activation("op.silu", z, Activation::Silu)?;
        let z = b.add("op.add", second, z)?;
        b.concat("op.cat", &[first, second, z])
    }),
    ("slices that overlap, and the whole", |b, x| {
        let left = b.slice("op.left", x, 0, 5)?;
        let right = b.slice("op.right", x, 3, 5)?;
        let sum = b.add("op.sum", left, right)?;
        b.concat("op.cat", &[sum, x, left, sum])
    }),
    ("a range that nobody reads", |b, x| b.slice("op", x, 2, 3)),
    ("classifier", |b, x| {
        let y = b.global_avg_pool("op.pool", x)?;
        let y = b.dropout("op.drop", y, 0.3)?;
        b.linear("op.fc", y, 7, INIT, INIT)
    }),
];

/// The block behind a convolution of the image, so that its input has a gradient; with two readers, the block's input
/// also reaches a second output by another way.
fn network(block: Block, two_readers: bool) -> (Graph, Vec<NodeId>) {
    let mut b = Builder::new();
    let image = b.input("image", 3).unwrap();
    let image = b.channel_affine("normalise", image, &[2.0, 1.0, 0.5], &[-0.1, 0.0, 0.2]).unwrap();
    let stem = b
        .conv("stem", image, 8, conv(3, 1, Padding::Symmetric, 1), Init::Uniform { bound: 1.0 }, Some(INIT))
        .unwrap();
    let mut outputs = vec![block(&mut b, stem).unwrap()];
    if two_readers {
        let other = b.activation("other", stem, Activation::Sigmoid).unwrap();
        outputs.push(b.conv("other.conv", other, 4, conv(1, 1, Padding::Symmetric, 1), INIT, None).unwrap());
    }
    (b.finish(), outputs)
}

/// `[B, C, H, W]` to rows `(b, y, x)` of C channels.
fn to_rows(values: &[f32], dims: [usize; 4]) -> Vec<f32> {
    let [batch, channels, height, width] = dims;
    let plane = height * width;
    let mut rows = Vec::with_capacity(values.len());
    for b in 0..batch {
        for position in 0..plane {
            rows.extend((0..channels).map(|c| values[(b * channels + c) * plane + position]));
        }
    }
    rows
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn params_of(net: &CandleNet, graph: &Graph) -> Params {
    let mut params = Params::init(graph, |_| || 0.0);
    for (param, var) in net.named() {
        params.set(&param.name, &flat(var.as_tensor())).unwrap();
    }
    params
}

/// One step on both sides; everything that comes out must agree.
fn check(
    what: &str,
    graph: Graph,
    outputs: &[NodeId],
    size: (usize, usize, usize),
    frozen: fn(&str) -> bool,
    isa: Isa,
) {
    let mut numbers = Numbers(7);
    let mut start = |param: &net_graph::Param| {
        let values = numbers.values(param.len());
        match param.role {
            net_graph::Role::RunningVar | net_graph::Role::NormScale => {
                values.iter().map(|v| 1.0 + 0.4 * v).collect()
            }
            net_graph::Role::Constant => param.init.values(param.len(), &mut || 0.0),
            _ => values.iter().map(|v| 0.5 * v).collect(),
        }
    };
    let mut net = CandleNet::new(graph.clone(), &Device::Cpu, DType::F64, &mut start).unwrap();
    net.freeze(frozen);
    let mut params = params_of(&net, &graph);
    let (batch, height, width) = size;
    let images = Numbers(11).values(batch * 3 * height * width);
    let tensor = Tensor::from_slice(&images, (batch, 3, height, width), &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();

    let graph = Arc::new(graph);
    let mut plan = TrainPlan::new(graph.clone(), params.layout.clone(), outputs, size, isa, &frozen).unwrap();
    let (mut ours, mut theirs) = (Numbers(3), Numbers(3));
    plan.forward(&mut params, Images::Nchw(&images), &mut || ours.uniform()).unwrap();
    let wants = net.forward(&tensor, outputs, Mode::Train { uniform: &mut || theirs.uniform() }).unwrap();

    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    for (index, want) in wants.iter().enumerate() {
        let dims = plan.output_shape(index).dims();
        assert_eq!(want.dims(), dims, "{what}: shape");
        let want_rows = to_rows(&flat(want), dims);
        assert_close(
            &format!("{what}: output {index}"),
            &plan.output(index).to_vec(),
            &want_rows,
            2e-5 * max_abs(&want_rows).max(1.0),
        );
        let pull = Numbers(17 + index as u64).values(want.elem_count());
        let weights =
            Tensor::from_slice(&pull, want.dims(), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        loss = (loss + (want * weights).unwrap().sum_all().unwrap()).unwrap();
        let rows = to_rows(&pull, dims);
        let mut grad = plan.output_grad(index);
        grad.copy_from(net_cpu::MapRef::dense(&rows, dims[1]));
    }
    let mut grads = vec![0.0; params.layout.trained_len()];
    plan.backward(&params, &mut grads);
    let store = loss.backward().unwrap();
    for (param, var) in net.named() {
        if let Some(net_cpu::Slot::Trained(range)) =
            params.layout.find(&param.name).map(|(_, slot)| slot.clone())
        {
            let want = store
                .get(var)
                .filter(|_| !frozen(&param.name))
                .map(flat)
                .unwrap_or_else(|| vec![0.0; param.len()]);
            let name = format!("{what}: gradient of {}", param.name);
            assert_close(&name, &grads[range], &want, 1e-4 * max_abs(&want).max(0.1));
        } else {
            let now = flat(var.as_tensor());
            assert_close(&format!("{what}: {}", param.name), params.get(&param.name).unwrap(), &now, 1e-5);
        }
    }
}

#[test]
fn every_kind_of_node_agrees_with_the_oracle() {
    for isa in Isa::available() {
        for (name, block) in BLOCKS {
            for two_readers in [false, true] {
                for size in [(2, 9, 11), (1, 8, 6)] {
                    let (graph, outputs) = network(*block, two_readers);
                    let what = format!("{name}, {}, two readers {two_readers}, {size:?}", isa.name());
                    check(&what, graph, &outputs, size, |_| false, *isa);
                }
            }
        }
    }
}

#[test]
fn frozen_parts_stay_as_they_are() {
    for (name, block) in BLOCKS {
        let (graph, outputs) = network(*block, true);
        check(
            &format!("{name}, frozen"),
            graph,
            &outputs,
            (2, 8, 8),
            |param| param.starts_with("op"),
            Isa::best(),
        );
        let (graph, outputs) = network(*block, false);
        check(
            &format!("{name}, frozen stem"),
            graph,
            &outputs,
            (2, 8, 8),
            |param| param.starts_with("stem"),
            Isa::best(),
        );
    }
}

#[test]
fn a_whole_block_in_the_middle_of_another_output() {
    // An output that is also read inside: its gradient comes from outside and from its readers.
    let mut b = Builder::new();
    let image = b.input("image", 3).unwrap();
    let x = b.conv("stem", image, 6, conv(3, 2, Padding::Same, 1), INIT, None).unwrap();
    let x = b.batch_norm("bn", x, 1e-3, 0.1).unwrap();
    let x = b.activation("act", x, Activation::Silu).unwrap();
    let y = b.conv("next", x, 6, conv(3, 1, Padding::Symmetric, 1), INIT, None).unwrap();
    let z = b.add("add", x, y).unwrap();
    check("inner output", b.finish(), &[x, z, y], (2, 9, 8), |_| false, Isa::best());
}

#[test]
fn inference_agrees_with_the_oracle() {
    for isa in Isa::available() {
        for (name, block) in BLOCKS {
            for two_readers in [false, true] {
                let (graph, outputs) = network(*block, two_readers);
                let mut numbers = Numbers(5);
                let mut start = |param: &net_graph::Param| {
                    let positive = matches!(param.role, net_graph::Role::RunningVar);
                    numbers
                        .values(param.len())
                        .iter()
                        .map(|v| if positive { 1.0 + 0.5 * v } else { *v })
                        .collect()
                };
                let net = CandleNet::new(graph.clone(), &Device::Cpu, DType::F64, &mut start).unwrap();
                let params = params_of(&net, &graph);
                let model =
                    InferModel::new(Arc::new(graph), &params, &outputs, *isa, Precision::F32).unwrap();
                for (batch, height, width) in [(2, 9, 11), (1, 8, 6)] {
                    let images = Numbers(13).values(batch * 3 * height * width);
                    let mut plan = model.plan(batch, height, width).unwrap();
                    plan.run(Images::Nchw(&images)).unwrap();
                    let tensor =
                        Tensor::from_slice(&images, (batch, 3, height, width), &Device::Cpu).unwrap();
                    let wants =
                        net.forward(&tensor.to_dtype(DType::F64).unwrap(), &outputs, Mode::Eval).unwrap();
                    for (index, want) in wants.iter().enumerate() {
                        let want = flat(want);
                        let what = format!("{name}, {}, output {index}", isa.name());
                        assert_close(&what, &plan.output_nchw(index), &want, 2e-5 * max_abs(&want).max(1.0));
                    }
                }
            }
        }
    }
}
