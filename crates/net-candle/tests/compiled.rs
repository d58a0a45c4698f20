//! The compiled form, one operation over net-cpu's plans, against the composed one: values, gradients, running
//! statistics, and how it behaves on a tape.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap};
use net_candle::{CandleNet, FixedNet, Mode};
use net_cpu::{Images, InferModel, Isa, Params, Precision, Slot, TrainPlan};
use net_graph::{Activation, Builder, Conv, Graph, Init, NodeId, Padding};
use std::sync::Arc;
use test_support::assert_close_to_max;

/// Numbers in `[0, 1)` by a 64-bit congruential generator.
fn numbers(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn conv(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv { kernel, stride, padding: Padding::Same, groups }
}

/// A residual block with drop-path and a classifier with dropout, over a normalised image; the outputs are a map in the
/// middle that others read, the last map, dropped values of a map, and the scores.
fn graph() -> (Graph, Vec<NodeId>) {
    let mut b = Builder::new();
    let init = Init::Uniform { bound: 0.4 };
    let mut build = || {
        let image = b.input("image", 3)?;
        let x = b.channel_affine("normalise", image, &[2.0, 1.0, 0.5], &[-0.1, 0.0, 0.2])?;
        let x = b.conv("stem", x, 8, conv(3, 2, 1), init.clone(), None)?;
        let x = b.batch_norm("stem.bn", x, 1e-3, 0.1)?;
        let stem = b.activation("stem.act", x, Activation::Silu)?;
        let x = b.conv("depthwise", stem, 8, conv(5, 1, 8), init.clone(), None)?;
        let x = b.batch_norm("bn", x, 1e-3, 0.1)?;
        let x = b.drop_path("drop", x, 0.4)?;
        let sum = b.add("add", x, stem)?;
        let dropped = b.dropout("map.dropout", sum, 0.3)?;
        let x = b.global_avg_pool("pool", sum)?;
        let x = b.dropout("dropout", x, 0.5)?;
        let scores = b.linear("classifier", x, 5, init.clone(), init.clone())?;
        Ok::<_, net_graph::GraphError>(vec![stem, sum, dropped, scores])
    };
    let outputs = build().unwrap();
    (b.finish(), outputs)
}

fn network() -> (CandleNet, Vec<NodeId>) {
    let (graph, outputs) = graph();
    let mut start = numbers(3);
    let net =
        CandleNet::new(graph, &Device::Cpu, DType::F32, |param| param.init.values(param.len(), &mut start));
    (net.unwrap(), outputs)
}

fn images(batch: usize, height: usize, width: usize) -> Tensor {
    let mut uniform = numbers(11);
    let values: Vec<f32> = (0..batch * 3 * height * width).map(|_| uniform() as f32).collect();
    Tensor::from_vec(values, (batch, 3, height, width), &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A sum of all values with weights of their own.
fn loss(maps: &[Tensor]) -> Tensor {
    let mut uniform = numbers(17);
    let term = |map: &Tensor| {
        let weights: Vec<f32> = (0..map.elem_count()).map(|_| uniform() as f32 - 0.5).collect();
        (map * Tensor::from_vec(weights, map.shape(), &Device::Cpu).unwrap()).unwrap().sum_all().unwrap()
    };
    let terms: Vec<Tensor> = maps.iter().map(term).collect();
    terms.into_iter().reduce(|sum, term| (sum + term).unwrap()).unwrap()
}

#[test]
fn training_equals_the_composed_form() {
    for (frozen, outputs_used) in [("", 4), ("stem", 4), ("bn", 4), ("", 1)] {
        let ((mut compiled, outputs), (mut composed, _)) = (network(), network());
        let outputs = &outputs[..outputs_used];
        let is_frozen = |name: &str| !frozen.is_empty() && name.starts_with(frozen);
        compiled.freeze(is_frozen);
        composed.freeze(is_frozen);
        // Two sizes in turn, and the first again on a plan that was used before.
        for (batch, height, width) in [(2, 9, 12), (3, 8, 6), (2, 9, 12)] {
            let images = images(batch, height, width);
            let what = |part: &str| format!("{part}, {batch}x{height}x{width}, frozen `{frozen}`");
            let (mut a, mut b) = (numbers(5), numbers(5));
            let got = compiled.forward(&images, outputs, Mode::Train { uniform: &mut a }).unwrap();
            let want = composed.forward_composed(&images, outputs, Mode::Train { uniform: &mut b }).unwrap();
            assert_eq!(a(), b(), "{}: as many numbers drawn", what("randomness"));
            for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.dims(), want.dims());
                assert_close_to_max(&what(&format!("output {index}")), &flat(got), &flat(want), 1e-5);
            }
            let got = loss(&got).backward().unwrap();
            let want = loss(&want).backward().unwrap();
            for (param, var) in compiled.named() {
                let other = composed.var(&param.name).unwrap();
                assert_close_to_max(&what(&param.name), &flat(var), &flat(other), 1e-5);
                match (got.get(var), want.get(other)) {
                    (Some(got), Some(want)) => {
                        assert_eq!(got.dims(), param.dims);
                        assert_close_to_max(&what(&param.name), &flat(got), &flat(want), 1e-4);
                    }
                    (got, want) => assert_eq!(got.is_some(), want.is_some(), "{}", what(&param.name)),
                }
            }
        }
    }
}

#[test]
fn inference_equals_the_composed_form_and_sees_new_values() {
    let (net, outputs) = network();
    for round in 0..3 {
        for (batch, height, width) in [(1, 8, 6), (2, 9, 12), (1, 16, 16), (1, 8, 6)] {
            let images = images(batch, height, width);
            let got = net.forward(&images, &outputs, Mode::Eval).unwrap();
            let want = net.forward_composed(&images, &outputs, Mode::Eval).unwrap();
            for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(!got.track_op());
                assert_eq!(got.dims(), want.dims());
                assert_close_to_max(&format!("round {round}, output {index}"), &flat(got), &flat(want), 1e-5);
            }
        }
        for name in ["stem.weight", "bn.running_var"] {
            let var = net.var(name).unwrap();
            var.set(&(var.as_detached_tensor() * 1.5).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_fixed_network_keeps_its_values() {
    for dtype in [DType::F32, DType::F64] {
        let (graph, outputs) = graph();
        let mut start = numbers(3);
        let net =
            CandleNet::new(graph, &Device::Cpu, dtype, |param| param.init.values(param.len(), &mut start));
        let net = net.unwrap();
        let images = images(2, 9, 12).to_dtype(dtype).unwrap();
        let values = |maps: Vec<Tensor>| -> Vec<Vec<f32>> {
            maps.iter().map(|map| flat(&map.to_dtype(DType::F32).unwrap())).collect()
        };
        let before = values(net.forward(&images, &outputs, Mode::Eval).unwrap());
        let fixed = FixedNet::new(&net).unwrap();
        assert_eq!(values(fixed.forward(&images, &outputs).unwrap()), before);
        let var = net.var("stem.weight").unwrap();
        var.set(&(var.as_detached_tensor() * 2.0).unwrap()).unwrap();
        assert_ne!(values(net.forward(&images, &outputs, Mode::Eval).unwrap()), before);
        assert_eq!(values(fixed.forward(&images, &outputs).unwrap()), before);
    }
}

#[test]
fn the_bits_are_those_of_net_cpus_plans() {
    let (net, outputs) = network();
    let graph = Arc::new(net.graph().clone());
    let mut params = Params::init(&graph, |_| || 0.5);
    for (param, var) in net.named() {
        params.set(&param.name, &flat(var)).unwrap();
    }
    let images = images(2, 9, 12);
    let values = flat(&images);

    let model = InferModel::new(graph.clone(), &params, &outputs, Isa::best(), Precision::F32).unwrap();
    let mut plan = model.plan(2, 9, 12).unwrap();
    plan.run(Images::Nchw(&values)).unwrap();
    for (index, map) in net.forward(&images, &outputs, Mode::Eval).unwrap().iter().enumerate() {
        assert_eq!(flat(map), plan.output_nchw(index));
    }

    let (layout, isa) = (params.layout.clone(), Isa::best());
    let mut plan = TrainPlan::new(graph, layout, &outputs, (2, 9, 12), isa, &|_| false).unwrap();
    // One half for every number: nothing depends on their order.
    plan.forward(&mut params, Images::Nchw(&values), &mut || 0.5).unwrap();
    let maps = net.forward(&images, &outputs, Mode::Train { uniform: &mut || 0.5 }).unwrap();
    for (index, map) in maps.iter().enumerate() {
        let mut want = vec![0.0; map.elem_count()];
        plan.output_nchw(index, &mut want);
        assert_eq!(flat(map), want);
        plan.output_grad(index).fill(1.0);
    }
    let mut gradients = vec![0.0; params.trained.len()];
    plan.backward(&params, &mut gradients);
    let sums: Vec<Tensor> = maps.iter().map(|map| map.sum_all().unwrap()).collect();
    let tape = sums.into_iter().reduce(|sum, term| (sum + term).unwrap()).unwrap().backward().unwrap();
    for (param, var) in net.named() {
        match params.layout.find(&param.name).unwrap().1 {
            Slot::Trained(range) => assert_eq!(flat(tape.get(var).unwrap()), gradients[range.clone()]),
            slot => assert_eq!(flat(var), params.slice(slot), "{}", param.name),
        }
    }
}

#[test]
fn passes_may_overlap_and_a_tape_may_be_used_twice() {
    let (net, outputs) = network();
    let weight = net.var("depthwise.weight").unwrap();
    let gradient = |seeds: &[u64], uses: usize| {
        let maps = seeds.iter().map(|seed| {
            let mut uniform = numbers(*seed);
            net.forward(&images(2, 9, 12), &outputs, Mode::Train { uniform: &mut uniform }).unwrap()
        });
        let losses: Vec<Tensor> = maps.map(|maps| loss(&maps)).collect();
        let total = losses.into_iter().reduce(|sum, loss| (sum + loss).unwrap()).unwrap();
        let mut gradients = total.backward().unwrap();
        for _ in 1..uses {
            gradients = total.backward().unwrap();
        }
        flat(gradients.get(weight).unwrap())
    };
    let (first, second) = (gradient(&[1], 1), gradient(&[2], 1));
    assert_ne!(first, second, "another image is dropped");
    let sum: Vec<f32> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    assert_close_to_max("two passes on one tape", &gradient(&[1, 2], 1), &sum, 1e-5);
    assert_close_to_max("the same tape again", &gradient(&[1], 2), &first, 1e-6);
}

#[test]
fn values_set_before_the_backward_pass_do_not_change_it() {
    let (net, outputs) = network();
    let gradient = |is_changed: bool| {
        let maps =
            net.forward(&images(2, 9, 12), &outputs, Mode::Train { uniform: &mut numbers(1) }).unwrap();
        let var = net.var("classifier.weight").unwrap();
        let before = var.as_detached_tensor().copy().unwrap();
        if is_changed {
            var.set(&before.zeros_like().unwrap()).unwrap();
        }
        let gradients = loss(&maps).backward().unwrap();
        var.set(&before).unwrap();
        flat(gradients.get(net.var("depthwise.weight").unwrap()).unwrap())
    };
    assert_eq!(gradient(true), gradient(false));
}

/// What reads the image first.
type First = fn(&mut Builder, NodeId) -> Result<NodeId, net_graph::GraphError>;

const FIRSTS: &[(&str, First)] = &[
    ("convolution", |b, x| b.conv("first", x, 6, conv(3, 2, 1), Init::Uniform { bound: 0.5 }, None)),
    ("normalisation", |b, x| {
        let x = b.channel_affine("normalise", x, &[2.0, 1.0, 0.5], &[-0.1, 0.0, 0.2])?;
        b.conv("first", x, 6, conv(3, 2, 1), Init::Uniform { bound: 0.5 }, None)
    }),
    ("depthwise convolution", |b, x| {
        b.conv("first", x, 3, conv(3, 1, 3), Init::Uniform { bound: 0.5 }, None)
    }),
    ("batch norm", |b, x| b.batch_norm("first", x, 1e-3, 0.1)),
    ("a part", |b, x| b.slice("first", x, 1, 2)),
    ("two readers", |b, x| {
        let y = b.activation("first", x, Activation::Sigmoid)?;
        b.add("second", x, y)
    }),
];

#[test]
fn images_on_the_tape_get_their_gradient() {
    for (name, first) in FIRSTS {
        for is_training in [true, false] {
            for frozen in ["nothing", "first", ""] {
                let mut b = Builder::new();
                let image = b.input("image", 3).unwrap();
                let x = first(&mut b, image).unwrap();
                let x = b.activation("act", x, Activation::Silu).unwrap();
                let y = b.conv("last", x, 5, conv(3, 2, 1), Init::Uniform { bound: 0.5 }, None).unwrap();
                let outputs = [y, x];
                let values = |param: &net_graph::Param| param.init.values(param.len(), &mut numbers(3));
                let mut net = CandleNet::new(b.finish(), &Device::Cpu, DType::F32, values).unwrap();
                net.freeze(|param| param.starts_with(frozen));
                let images = Var::from_tensor(&images(2, 9, 12)).unwrap();
                let gradient = |composed: bool| {
                    let mut uniform = || unreachable!("nothing is dropped");
                    let mode = match is_training {
                        true => Mode::Train { uniform: &mut uniform },
                        false => Mode::Eval,
                    };
                    let maps = match composed {
                        true => net.forward_composed(&images, &outputs, mode).unwrap(),
                        false => net.forward(&images, &outputs, mode).unwrap(),
                    };
                    let gradients = loss(&maps).backward().unwrap();
                    let last = gradients.get(net.var("last.weight").unwrap());
                    assert_eq!(last.is_some(), is_training && !frozen.is_empty());
                    flat(gradients.get(&images).unwrap())
                };
                let what = format!("{name}, training {is_training}, frozen `{frozen}`");
                assert_close_to_max(&what, &gradient(false), &gradient(true), 1e-5);
            }
        }
    }
}

#[test]
fn what_has_no_kernel_runs_composed() {
    let mut b = Builder::new();
    let image = b.input("image", 4).unwrap();
    let grouped = b.conv("grouped", image, 6, conv(3, 1, 2), Init::Uniform { bound: 1.0 }, None).unwrap();
    let part = b.slice("part", grouped, 1, 3).unwrap();
    let plain = b.conv("plain", image, 6, conv(3, 1, 1), Init::Uniform { bound: 1.0 }, None).unwrap();
    let plain_part = b.slice("plain.part", plain, 1, 3).unwrap();
    let graph = b.finish();
    let mut start = numbers(3);
    let net =
        CandleNet::new(graph, &Device::Cpu, DType::F32, |param| param.init.values(param.len(), &mut start))
            .unwrap();
    let images = Tensor::ones((2, 4, 5, 6), DType::F32, &Device::Cpu).unwrap();
    // A grouped convolution; an output that is a part of another; the same output twice.
    for outputs in [vec![grouped, part], vec![plain, plain_part], vec![plain_part, plain], vec![plain, plain]]
    {
        for is_training in [false, true] {
            let mut uniform = || unreachable!("nothing is dropped");
            let mut run = |composed: bool| {
                let mode = match is_training {
                    true => Mode::Train { uniform: &mut uniform },
                    false => Mode::Eval,
                };
                match composed {
                    true => net.forward_composed(&images, &outputs, mode).unwrap(),
                    false => net.forward(&images, &outputs, mode).unwrap(),
                }
            };
            let (got, want) = (run(false), run(true));
            for (got, want) in got.iter().zip(&want) {
                assert_close_to_max("values", &flat(got), &flat(want), 1e-5);
            }
            if is_training {
                let (got, want) = (loss(&got).backward().unwrap(), loss(&want).backward().unwrap());
                for (param, var) in net.trained() {
                    assert_eq!(got.get(var).is_some(), want.get(var).is_some(), "{}", param.name);
                    if let (Some(got), Some(want)) = (got.get(var), want.get(var)) {
                        assert_close_to_max(&param.name, &flat(got), &flat(want), 1e-5);
                    }
                }
            }
        }
    }
}

#[test]
fn candles_optimiser_lowers_the_loss() {
    let (graph, outputs) = graph();
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let net = CandleNet::from_var_builder(graph, &vb, &mut numbers(3)).unwrap();
    let scores = outputs[3];
    let target = Tensor::new(&[0u32, 3, 4], &Device::Cpu).unwrap();
    let mut optimiser = AdamW::new_lr(map.all_vars(), 0.02).unwrap();
    let mut losses = Vec::new();
    for _ in 0..30 {
        // One half keeps every value and image here.
        let maps = net.forward(&images(3, 12, 12), &[scores], Mode::Train { uniform: &mut || 0.5 }).unwrap();
        let logits = maps[0].flatten_from(1).unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &target).unwrap();
        optimiser.backward_step(&loss).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
    }
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    assert_ne!(flat(net.var("bn.running_mean").unwrap()), [0.0; 8]);
}
