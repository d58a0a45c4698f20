//! What gradients at generic points do not show: ties, bounds, running statistics, randomness, names, errors.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use net_candle::{CandleNet, CandleNetError, Mode};
use net_graph::{Activation, Builder, Conv, Graph, GraphError, Init, NodeId, Padding};

fn graph(
    channels: usize,
    build: impl FnOnce(&mut Builder, NodeId) -> Result<NodeId, GraphError>,
) -> (Graph, NodeId) {
    let mut b = Builder::new();
    let image = b.input("image", channels).unwrap();
    let out = build(&mut b, image).unwrap();
    (b.finish(), out)
}

/// A network in f64 whose parameters start as the graph says, with all random numbers one half.
fn network(
    channels: usize,
    build: impl FnOnce(&mut Builder, NodeId) -> Result<NodeId, GraphError>,
) -> (CandleNet, NodeId) {
    let (graph, out) = graph(channels, build);
    let net =
        CandleNet::new(graph, &Device::Cpu, DType::F64, |param| param.init.values(param.len(), &mut || 0.5));
    (net.unwrap(), out)
}

fn images(values: &[f64], dims: [usize; 4]) -> Tensor {
    Tensor::from_slice(values, &dims, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The gradient of the sum of the output with respect to the images.
fn image_gradient(net: &CandleNet, out: NodeId, images: &Tensor) -> Vec<f64> {
    let images = Var::from_tensor(images).unwrap();
    let outputs = net.forward(&images, &[out], Mode::Eval).unwrap();
    flat(outputs[0].sum_all().unwrap().backward().unwrap().get(&images).unwrap())
}

#[test]
fn the_first_maximum_takes_all_the_gradient() {
    let (net, out) = network(1, |b, x| b.max_pool("pool", x, 3, 2));
    let ties = images(&[1.0; 12], [1, 1, 3, 4]);
    // Windows start at (-1, -1), (-1, 1), (1, -1), (1, 1); the first cell of each inside the map wins.
    let expected = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(image_gradient(&net, out, &ties), expected);
}

#[test]
fn padding_never_wins_the_maximum() {
    let (net, out) = network(1, |b, x| b.max_pool("pool", x, 5, 1));
    let map = images(&[-4.0, -3.0, -2.0, -1.0], [1, 1, 2, 2]);
    assert_eq!(flat(&net.forward(&map, &[out], Mode::Eval).unwrap()[0]), [-1.0; 4]);
}

#[test]
fn clipped_activations_are_flat_at_their_bounds() {
    let map = images(&[-1.0, 0.0, 3.0, 6.0, 7.0, f64::NAN], [1, 1, 1, 6]);
    for (activation, slope) in
        [(Activation::Relu, [0.0, 0.0, 1.0, 1.0, 1.0]), (Activation::Relu6, [0.0, 0.0, 1.0, 0.0, 0.0])]
    {
        let (net, out) = network(1, |b, x| b.activation("act", x, activation));
        assert_eq!(image_gradient(&net, out, &map)[..5], slope, "{activation:?}");
        assert!(flat(&net.forward(&map, &[out], Mode::Eval).unwrap()[0])[5].is_nan(), "{activation:?}");
    }
}

#[test]
fn saturated_activations_have_finite_gradients_in_f32() {
    for activation in [Activation::Silu, Activation::Sigmoid] {
        let (graph, out) = graph(1, |b, x| b.activation("act", x, activation));
        let net = CandleNet::new(graph, &Device::Cpu, DType::F32, |_| Vec::new()).unwrap();
        let map = images(&[-200.0, 200.0], [1, 1, 1, 2]).to_dtype(DType::F32).unwrap();
        let gradient = image_gradient(&net, out, &map);
        assert!(gradient.iter().all(|slope| slope.is_finite()), "{activation:?}: {gradient:?}");
    }
}

#[test]
fn running_statistics_follow_the_unbiased_batch() {
    let (net, out) = network(1, |b, x| b.batch_norm("bn", x, 0.0, 0.25));
    let map = images(&[1.0, 3.0, 5.0, 7.0], [2, 1, 1, 2]);
    let normalised = net.forward(&map, &[out], Mode::Train { uniform: &mut || 0.0 }).unwrap();
    let deviation = 5f64.sqrt();
    for (got, want) in flat(&normalised[0]).iter().zip([-3.0, -1.0, 1.0, 3.0]) {
        assert!((got - want / deviation).abs() < 1e-12);
    }
    // Mean 4; variance 5, unbiased 20/3; they start at 0 and 1.
    assert_eq!(flat(net.var("bn.running_mean").unwrap()), [1.0]);
    assert!((flat(net.var("bn.running_var").unwrap())[0] - (0.75 + 0.25 * 20.0 / 3.0)).abs() < 1e-12);
}

#[test]
fn a_single_value_has_a_biased_variance() {
    let (net, out) = network(1, |b, x| b.batch_norm("bn", x, 1e-3, 0.25));
    net.forward(&images(&[2.0], [1, 1, 1, 1]), &[out], Mode::Train { uniform: &mut || 0.0 }).unwrap();
    assert_eq!(flat(net.var("bn.running_var").unwrap()), [0.75]);
}

#[test]
fn frozen_parameters_get_no_gradient_and_frozen_statistics_stay() {
    let conv = Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 };
    let (mut net, out) = network(1, |b, x| {
        let x = b.conv("frozen.conv", x, 1, conv, Init::Constant(2.0), None)?;
        let x = b.batch_norm("frozen.bn", x, 0.0, 0.25)?;
        b.conv("head", x, 1, conv, Init::Constant(3.0), None)
    });
    net.freeze(|name| name.starts_with("frozen"));
    let map = images(&[1.0, 4.0], [1, 1, 1, 2]);
    let outputs = net.forward(&map, &[out], Mode::Train { uniform: &mut || 0.0 }).unwrap();
    assert_eq!(flat(&outputs[0]), [6.0, 24.0]);
    assert_eq!(flat(net.var("frozen.bn.running_mean").unwrap()), [0.0]);

    let gradients = outputs[0].sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(net.var("frozen.conv.weight").unwrap()).is_none());
    assert_eq!(flat(gradients.get(net.var("head.weight").unwrap()).unwrap()), [10.0]);
    let names: Vec<&str> = net.trained().iter().map(|(param, _)| param.name.as_str()).collect();
    assert_eq!(names, ["head.weight"]);
}

#[test]
fn evaluation_records_no_tape_for_parameters() {
    let conv = Conv { kernel: 3, stride: 1, padding: Padding::Same, groups: 1 };
    let (net, out) = network(1, |b, x| b.conv("conv", x, 1, conv, Init::Constant(1.0), None));
    let outputs = net.forward(&images(&[1.0; 4], [1, 1, 2, 2]), &[out], Mode::Eval).unwrap();
    assert!(!outputs[0].track_op());
}

#[test]
fn numbers_are_drawn_node_by_node_for_what_is_needed() {
    let mut unused = None;
    let (net, out) = network(2, |b, x| {
        let x = b.drop_path("never", x, 0.0)?;
        let x = b.drop_path("path", x, 0.5)?;
        unused = Some(b.dropout("unused", x, 0.5)?);
        b.dropout("dropout", x, 0.2)
    });
    let mut drawn = 0;
    let stream = [0.6, 0.4, 0.1, 0.2, 0.9, 0.9]; // one an image, then one a value
    let mut uniform = || {
        drawn += 1;
        stream[drawn - 1]
    };
    let map = images(&[1.0; 4], [2, 2, 1, 1]);
    let outputs = net.forward(&map, &[out], Mode::Train { uniform: &mut uniform }).unwrap();
    assert_eq!(flat(&outputs[0]), [0.0, 2.0 * 1.25, 0.0, 0.0]);
    assert_eq!(drawn, stream.len());
    assert_eq!(flat(&net.forward(&map, &[unused.unwrap()], Mode::Eval).unwrap()[0]), [1.0; 4]);
}

#[test]
fn a_var_map_shares_its_variables_and_lacks_none() {
    let conv = Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 };
    let build = |b: &mut Builder, x| {
        let x = b.conv("conv", x, 2, conv, Init::Uniform { bound: 1.0 }, None)?;
        b.batch_norm("bn", x, 1e-3, 0.1)
    };
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu).pp("net");
    let net = CandleNet::from_var_builder(graph(1, build).0, &vb, &mut || 0.75).unwrap();
    assert_eq!(map.all_vars().len(), 5);
    assert_eq!(flat(&map.data().lock().unwrap()["net.conv.weight"]), [0.5, 0.5]);

    map.data().lock().unwrap()["net.conv.weight"]
        .set(&Tensor::full(3f32, (2, 1, 1, 1), &Device::Cpu).unwrap())
        .unwrap();
    assert_eq!(flat(net.var("conv.weight").unwrap()), [3.0, 3.0]);
    let again = CandleNet::from_var_builder(graph(1, build).0, &vb, &mut || 0.25).unwrap();
    assert_eq!(flat(again.var("conv.weight").unwrap()), [3.0, 3.0]);
}

#[test]
fn values_are_set_by_name_and_listed_in_order() {
    let (net, _) = network(1, |b, x| b.batch_norm("bn", x, 1e-3, 0.1));
    net.set("bn.weight", &Tensor::new(&[5f32], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(flat(net.var("bn.weight").unwrap()), [5.0]);
    let names: Vec<&str> = net.named().iter().map(|(param, _)| param.name.as_str()).collect();
    assert_eq!(names, ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight"]);

    let two = Tensor::new(&[5f32, 6.0], &Device::Cpu).unwrap();
    assert!(matches!(net.set("bn.weight", &two), Err(CandleNetError::Values { .. })));
    assert!(matches!(net.set("bn.scale", &two), Err(CandleNetError::UnknownParam { .. })));
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = |dtype, count| {
        let (graph, out) = graph(3, |b, x| b.batch_norm("bn", x, 1e-3, 0.1));
        CandleNet::new(graph, &Device::Cpu, dtype, |_| vec![1.0; count]).map(|net| (net, out))
    };
    assert!(matches!(new(DType::F16, 3), Err(CandleNetError::NumberType { .. })));
    assert!(matches!(new(DType::F32, 2), Err(CandleNetError::Values { .. })));
    let (net, out) = new(DType::F32, 3).unwrap();
    let forward = |dims: &[usize], dtype| {
        net.forward(&Tensor::zeros(dims, dtype, &Device::Cpu).unwrap(), &[out], Mode::Eval)
    };
    assert!(matches!(forward(&[1, 2, 4, 4], DType::F32), Err(CandleNetError::Images { .. })));
    assert!(matches!(forward(&[1, 3, 4, 4], DType::F64), Err(CandleNetError::Images { .. })));
    assert!(matches!(forward(&[1, 3, 0, 4], DType::F32), Err(CandleNetError::Graph(_))));
    assert!(forward(&[1, 3, 4, 4], DType::F32).is_ok());
}
