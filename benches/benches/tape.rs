//! One EfficientNet stage trained four ways: candle's own layers on its tape, the composed form on the same tape, the
//! static schedule as one operation of that tape, and the schedule alone. Why the CPU path is a schedule.

use benches::check::assert_close_to_max;
use benches::settings::brief;
use benches::values::to_f64;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{BatchNorm, Conv2dConfig, ModuleT, VarBuilder, VarMap};
use criterion::{Criterion, criterion_group, criterion_main};
use net_candle::{CandleNet, Mode};
use net_cpu::{Images, Isa, Params, Slot, TrainPlan};
use net_graph::{Activation, Builder, Conv, Graph, Init, NodeId, Padding};
use std::sync::Arc;

const BATCH: usize = 4;
const SIDE: usize = 56;
const CHANNELS: usize = 24;
const EXPANDED: usize = 144;
const SQUEEZED: usize = 6;

/// Stage 2's second block of EfficientNet-B0 behind a 1x1 convolution of the image.
fn graph() -> (Graph, NodeId) {
    let mut b = Builder::new();
    let init = Init::Uniform { bound: 0.1 };
    let point = |groups| Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups };
    let mut build = || {
        let image = b.input("image", 3)?;
        let x = b.conv("stem", image, CHANNELS, point(1), init.clone(), None)?;
        let y = b.conv("expand", x, EXPANDED, point(1), init.clone(), None)?;
        let y = b.batch_norm("bn1", y, 1e-3, 0.01)?;
        let y = b.activation("act1", y, Activation::Silu)?;
        let depthwise = Conv { kernel: 3, groups: EXPANDED, ..point(1) };
        let y = b.conv("depthwise", y, EXPANDED, depthwise, init.clone(), None)?;
        let y = b.batch_norm("bn2", y, 1e-3, 0.01)?;
        let y = b.activation("act2", y, Activation::Silu)?;
        let s = b.global_avg_pool("pool", y)?;
        let s = b.conv("reduce", s, SQUEEZED, point(1), init.clone(), Some(init.clone()))?;
        let s = b.activation("act3", s, Activation::Silu)?;
        let s = b.conv("excite", s, EXPANDED, point(1), init.clone(), Some(init.clone()))?;
        let s = b.activation("sigmoid", s, Activation::Sigmoid)?;
        let y = b.gate("gate", y, s)?;
        let y = b.conv("project", y, CHANNELS, point(1), init.clone(), None)?;
        let y = b.batch_norm("bn3", y, 1e-3, 0.01)?;
        b.add("add", x, y)
    };
    let out = build().expect("the block is well formed");
    (b.finish(), out)
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1000) as f32 / 1000.0) - 0.5).collect()
}

/// The same block from candle-nn's layers.
struct Stock {
    convs: Vec<candle_nn::Conv2d>,
    norms: Vec<BatchNorm>,
}

impl Stock {
    fn new(vb: &VarBuilder<'_>) -> candle_core::Result<Self> {
        let plain = Conv2dConfig::default();
        let depthwise = Conv2dConfig { padding: 1, groups: EXPANDED, ..plain };
        let conv = |i, o, k, config, name: &str| candle_nn::conv2d_no_bias(i, o, k, config, vb.pp(name));
        let convs = vec![
            conv(3, CHANNELS, 1, plain, "stem")?,
            conv(CHANNELS, EXPANDED, 1, plain, "expand")?,
            conv(EXPANDED, EXPANDED, 3, depthwise, "depthwise")?,
            candle_nn::conv2d(EXPANDED, SQUEEZED, 1, plain, vb.pp("reduce"))?,
            candle_nn::conv2d(SQUEEZED, EXPANDED, 1, plain, vb.pp("excite"))?,
            conv(EXPANDED, CHANNELS, 1, plain, "project")?,
        ];
        let norms = [("bn1", EXPANDED), ("bn2", EXPANDED), ("bn3", CHANNELS)];
        let norms = norms.iter().map(|(name, channels)| candle_nn::batch_norm(*channels, 1e-3, vb.pp(name)));
        Ok(Stock { convs, norms: norms.collect::<candle_core::Result<_>>()? })
    }

    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let x = images.apply(&self.convs[0])?;
        let y = self.norms[0].forward_t(&x.apply(&self.convs[1])?, true)?.silu()?;
        let y = self.norms[1].forward_t(&y.apply(&self.convs[2])?, true)?.silu()?;
        let s = y.mean_keepdim(3)?.mean_keepdim(2)?; // [B, C, 1, 1]
        let s = candle_nn::ops::sigmoid(&s.apply(&self.convs[3])?.silu()?.apply(&self.convs[4])?)?;
        let y = y.broadcast_mul(&s)?.apply(&self.convs[5])?;
        x + self.norms[2].forward_t(&y, true)?
    }
}

fn tape_against_schedule(criterion: &mut Criterion) {
    let (graph, out) = graph();
    let device = Device::Cpu;
    let images = numbers(BATCH * 3 * SIDE * SIDE);
    let tensor = Tensor::from_slice(&images, (BATCH, 3, SIDE, SIDE), &device).expect("sizes match");
    let values = |param: &net_graph::Param| match param.init {
        Init::Constant(value) => vec![value; param.len()],
        _ => numbers(param.len()),
    };

    let map = VarMap::new();
    let stock = Stock::new(&VarBuilder::from_varmap(&map, DType::F32, &device)).expect("candle builds");
    for (name, var) in map.data().lock().expect("one user").iter() {
        let param =
            graph.params().iter().find(|param| param.name == *name).expect("the names are the graph's");
        let value = Tensor::from_vec(values(param), var.dims(), &device).expect("sizes match");
        Var::set(var, &value).expect("sizes match");
    }
    let net = CandleNet::new(graph.clone(), &device, DType::F32, values).expect("candle builds");
    let graph = Arc::new(graph);
    let mut params = Params::init(&graph, |_| || 0.5);
    for param in graph.params() {
        params.set(&param.name, &values(param)).expect("the layout is the graph's");
    }
    let size = (BATCH, SIDE, SIDE);
    let mut plan = TrainPlan::new(graph, params.layout.clone(), &[out], size, Isa::best(), &|_| false)
        .expect("compiles");
    let mut grads = vec![0.0; params.layout.trained_len()];

    // Every way gives the same map and the same gradients before it is timed.
    let want: Vec<f32> = flat(&stock.forward(&tensor).expect("candle runs"));
    let composed =
        net.forward_composed(&tensor, &[out], Mode::Train { uniform: &mut || 0.5 }).expect("candle runs");
    assert_same("composed", &flat(&composed[0]), &want);
    let compiled = net.forward(&tensor, &[out], Mode::Train { uniform: &mut || 0.5 }).expect("candle runs");
    assert_same("compiled", &flat(&compiled[0]), &want);
    plan.forward(&mut params, Images::Nchw(&images), &mut || 0.5).expect("runs");
    let rows = plan.output(0);
    let ours: Vec<f32> = (0..want.len())
        .map(|i| {
            let (b, c, position) =
                (i / (CHANNELS * SIDE * SIDE), i / (SIDE * SIDE) % CHANNELS, i % (SIDE * SIDE));
            rows.row(b * SIDE * SIDE + position)[c]
        })
        .collect();
    assert_same("schedule", &ours, &want);

    // Weighted: the plain sum of a normalised map does not depend on what comes before the norm.
    let weights = numbers(want.len());
    let weight_tensor = Tensor::from_slice(&weights, composed[0].shape(), &device).expect("sizes match");
    let sum_backward =
        |map: &Tensor| (map * &weight_tensor).and_then(|map| map.sum_all()?.backward()).expect("candle runs");
    let stock_grads = sum_backward(&stock.forward(&tensor).expect("candle runs"));
    let [composed_grads, compiled_grads] = [&composed[0], &compiled[0]].map(sum_backward);
    plan.set_output_grad_nchw(0, &weights);
    plan.backward(&params, &mut grads);
    let vars = map.data().lock().expect("one user").clone();
    for (param, slot) in params.layout.iter() {
        let Slot::Trained(range) = slot else { continue };
        let of =
            |grads: &GradStore, var: &Var| flat(grads.get(var.as_tensor()).expect("every parameter matters"));
        let want = of(&stock_grads, &vars[&param.name]);
        let net_var = net.var(&param.name).expect("the names are the graph's");
        for (way, got) in [
            ("composed", of(&composed_grads, net_var)),
            ("compiled", of(&compiled_grads, net_var)),
            ("schedule", grads[range.clone()].to_vec()),
        ] {
            assert_close_to_max(&format!("{way}, gradient of {}", param.name), &got, &to_f64(&want), 1e-3);
        }
    }

    let mut group = criterion.benchmark_group("tape/training step of one MBConv block");
    group.sample_size(10);
    group.bench_function("candle's layers on its tape", |bencher| {
        bencher.iter(|| stock.forward(&tensor).and_then(|y| y.sum_all()?.backward()).expect("candle runs"));
    });
    group.bench_function("composed on candle's tape", |bencher| {
        bencher.iter(|| {
            let maps = net
                .forward_composed(&tensor, &[out], Mode::Train { uniform: &mut || 0.5 })
                .expect("candle runs");
            maps[0].sum_all().and_then(|sum| sum.backward()).expect("candle runs")
        });
    });
    group.bench_function("static schedule on candle's tape", |bencher| {
        bencher.iter(|| {
            let maps =
                net.forward(&tensor, &[out], Mode::Train { uniform: &mut || 0.5 }).expect("candle runs");
            maps[0].sum_all().and_then(|sum| sum.backward()).expect("candle runs")
        });
    });
    group.bench_function("static schedule", |bencher| {
        bencher.iter(|| {
            plan.forward(&mut params, Images::Nchw(&images), &mut || 0.5).expect("runs");
            plan.output_grad(0).fill(1.0);
            grads.fill(0.0);
            plan.backward(&params, &mut grads);
        });
    });
    group.finish();
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a float tensor")
}

fn assert_same(what: &str, got: &[f32], want: &[f32]) {
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    let largest = want.iter().map(|w| w.abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-4 * largest, "{what}: {worst} apart, largest value {largest}");
}

criterion_group! { name = benches; config = brief(); targets = tape_against_schedule }
criterion_main!(benches);
