//! Whole networks against the reference values: forward passes, real weights, and a training trace.

use candle_core::{DType, Device, Tensor};
use effnet_backbone::{Classifier, EfficientNet, EfficientNetConfig};
use effnet_scaling::Variant;
use net_candle::{CandleNet, Mode};
use net_graph::{Builder, Graph, NodeId, Padding, Param, Role};
use test_support::{Entry, Tensors, assert_close, assert_close_to_max, entries};
use yolo_neck_head::{NeckScale, yolov8};

/// A classifier with plain timm names. A model `tf_...` pads as TensorFlow does.
fn classifier(model: &str, classes: usize, bn_eps: f64, bn_momentum: f64) -> (Graph, Classifier) {
    let (name, padding) = match model.strip_prefix("tf_") {
        Some(name) => (name, Padding::Same),
        None => (model, Padding::Symmetric),
    };
    let config = EfficientNetConfig {
        spec: Variant::find(name).unwrap().network(),
        padding,
        bn_eps,
        bn_momentum,
        drop_path: 0.0,
        dropout: 0.0,
        normalization: None,
        prefix: String::new(),
        reductions: vec![3, 4, 5],
    };
    let mut builder = Builder::new();
    let image = builder.input("image", 3).unwrap();
    let nodes = EfficientNet::new(config).build_classifier(&mut builder, image, classes).unwrap();
    (builder.finish(), nodes)
}

fn network(graph: Graph, values: impl FnMut(&Param) -> Vec<f32>) -> CandleNet {
    CandleNet::new(graph, &Device::Cpu, DType::F64, values).unwrap()
}

/// The weight rule; constants are not touched by it.
fn rule_network(entry: &Entry, graph: Graph) -> CandleNet {
    network(graph, |param| match param.role {
        Role::Constant => param.init.values(param.len(), &mut || unreachable!("a constant is not random")),
        _ => entry.rule_weight(&param.name, &param.dims),
    })
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

/// `[B, 3, H, W]` from a name that ends in `_<B>x<H>x<W>.safetensors`.
fn image_dims(file: &str) -> [usize; 4] {
    let stem = file.strip_suffix(".safetensors").expect("a safetensors file");
    let sizes = numbers(stem.rsplit('_').next().expect("a name"));
    let [batch, height, width] = sizes[..] else { panic!("{file}: expected a name that ends in BxHxW") };
    [batch, 3, height, width]
}

fn numbers(text: &str) -> Vec<usize> {
    text.split('x').map(|part| part.parse().unwrap_or_else(|_| panic!("no number in `{text}`"))).collect()
}

fn every_fourth_cell(map: &Tensor) -> Tensor {
    let indices = |axis| {
        let cells: Vec<u32> = (0..map.dim(axis).unwrap() as u32).step_by(4).collect();
        Tensor::new(cells, &Device::Cpu).unwrap()
    };
    map.index_select(&indices(2), 2).unwrap().index_select(&indices(3), 3).unwrap()
}

#[test]
fn efficientnet_forward_is_golden() {
    for entry in entries("effnet_forward") {
        let want = entry.tensors();
        let model = entry.meta["model"].as_str().expect("`meta.model`");
        let bn_eps = entry.meta["bn_eps"].as_f64().expect("`meta.bn_eps`");
        let (graph, nodes) = classifier(model, want.dims("logits")[1], bn_eps, 0.1);
        let node = |endpoint: &str| match endpoint {
            "stem" => nodes.endpoints.stem,
            "head" => nodes.head,
            "pooled" => nodes.pooled,
            "logits" => nodes.logits,
            reduction => {
                let number =
                    reduction.strip_prefix("reduction_").and_then(|number| number.parse::<usize>().ok());
                nodes.endpoints.reductions[number.unwrap_or_else(|| panic!("endpoint `{reduction}`")) - 1]
            }
        };
        let names = want.names();
        let endpoint = |name: &String| name.strip_suffix("_strided4").unwrap_or(name).to_string();
        let outputs: Vec<NodeId> = names.iter().map(|name| node(&endpoint(name))).collect();
        let images = rule_images(&entry, &image_dims(&entry.file), -2.0, 2.0);
        let maps = rule_network(&entry, graph).forward(&images, &outputs, Mode::Eval).unwrap();
        for (name, map) in names.iter().zip(maps) {
            let map = if name.ends_with("_strided4") { every_fourth_cell(&map) } else { map };
            let tolerance = entry.tolerance(&["rel_to_tensor_max", &endpoint(name)]);
            assert_close_to_max(&format!("{}: {name}", entry.file), &flat(&map), &want.f32(name), tolerance);
        }
    }
}

/// Scale and class count from a name that starts `yolov8<scale>_nc<count>_`.
fn yolo_case(file: &str) -> (NeckScale, usize) {
    let parse = || {
        let (scale, rest) = file.strip_prefix("yolov8")?.split_once("_nc")?;
        let (count, _) = rest.split_once('_')?;
        Some((NeckScale::from_letter(scale.chars().next()?)?, count.parse().ok()?))
    };
    parse().unwrap_or_else(|| panic!("{file}: expected a name that starts yolov8<scale>_nc<count>_"))
}

#[test]
fn yolov8_forward_is_golden() {
    for entry in entries("yolo_forward") {
        let want = entry.tensors();
        let (scale, class_count) = yolo_case(&entry.file);
        let detector = yolov8(scale, class_count, 1.0).unwrap();
        let mut outputs = vec![detector.head.predictions];
        for (index, level) in detector.levels.iter().enumerate() {
            outputs.extend([level.node, detector.head.boxes[index], detector.head.classes[index]]);
        }
        let images = rule_images(&entry, &image_dims(&entry.file), 0.0, 1.0);
        let maps = rule_network(&entry, detector.graph).forward(&images, &outputs, Mode::Eval).unwrap();

        for (level, maps) in detector.levels.iter().zip(maps[1..].chunks(3)) {
            let tolerance = entry.tolerance(&["maps_rel_to_max"]);
            let raw = Tensor::cat(&maps[1..], 1).unwrap();
            for (kind, map) in [("neck", &maps[0]), ("map", &raw)] {
                let name = format!("{kind}_p{}", level.stride.ilog2());
                assert_close_to_max(
                    &format!("{}: {name}", entry.file),
                    &flat(map),
                    &want.f32(&name),
                    tolerance,
                );
            }
        }
        let dims = want.dims("pred"); // [B, 4 + K, A]
        let (got, want) = (maps[0].reshape(dims.as_slice()).unwrap(), tensor(want.f32("pred"), &dims));
        for (what, start, len, tolerance) in
            [("boxes", 0, 4, "boxes_abs_px"), ("scores", 4, class_count, "scores_abs")]
        {
            let part = |tensor: &Tensor| flat(&tensor.narrow(1, start, len).unwrap());
            assert_close(
                &format!("{}: {what}", entry.file),
                &part(&got),
                &part(&want),
                entry.tolerance(&[tolerance]),
            );
        }
    }
}

fn largest(values: &[f32], count: usize) -> Vec<u64> {
    let mut indices: Vec<usize> = (0..values.len()).collect();
    indices.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    indices[..count].iter().map(|&index| index as u64).collect()
}

#[test]
fn logits_of_real_weights_are_golden() {
    let Some(dir) = test_support::weights_dir("logits_of_real_weights_are_golden") else { return };
    for entry in entries("effnet_real_weights") {
        let variant = entry.file.trim_start_matches("real_").trim_end_matches(".safetensors");
        let weights = Tensors::read(&dir.join(format!("efficientnet_{variant}.safetensors")));
        let model =
            format!("{}efficientnet_{variant}", if entry.meta["padding"] == "SAME" { "tf_" } else { "" });
        let bn_eps = entry.meta["bn_eps"].as_f64().expect("`meta.bn_eps`");
        let (graph, nodes) = classifier(&model, weights.dims("classifier.weight")[0], bn_eps, 0.1);
        let net = network(graph, |param| weights.f32(&param.name));
        let want = entry.tensors();
        for name in want.names() {
            let Some(photo) = name.strip_suffix("/input") else { continue };
            let images = tensor(want.f32(&name), &want.dims(&name));
            let logits = flat(&net.forward(&images, &[nodes.logits], Mode::Eval).unwrap()[0]);
            let expected = want.f32(&format!("{photo}/logits"));
            assert_close(photo, &logits, &expected, entry.tolerance(&["logits_abs"]));
            let top = entry.meta[photo]["top5"].as_array().expect("`top5`");
            let top: Vec<u64> = top.iter().map(|row| row[0].as_u64().expect("a class")).collect();
            assert_eq!(largest(&logits, top.len()), top, "{photo}");
        }
    }
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
