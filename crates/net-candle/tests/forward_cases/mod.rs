//! Forward passes against the reference values, for any engine that runs a graph.

use effnet_backbone::{Classifier, EfficientNet, EfficientNetConfig};
use effnet_scaling::Variant;
use net_graph::{Builder, Graph, NodeId, Padding, Param, Role};
use test_support::{Entry, Tensors, assert_close, assert_close_to_max, entries};
use yolo_neck_head::{NeckScale, yolov8};

/// A value with its shape `[B, C, H, W]`.
pub(crate) struct Map {
    pub(crate) values: Vec<f32>,
    pub(crate) dims: [usize; 4],
}

/// Runs a graph in evaluation mode: parameters by name, images `[B, 3, H, W]`, the nodes asked for.
pub(crate) trait Engine {
    fn run(
        &self,
        graph: Graph,
        values: &dyn Fn(&Param) -> Vec<f32>,
        images: &[f32],
        size: [usize; 4],
        outputs: &[NodeId],
    ) -> Vec<Map>;
}

/// A classifier with plain timm names. A model `tf_...` pads as TensorFlow does.
pub(crate) fn classifier(model: &str, classes: usize, bn_eps: f64, bn_momentum: f64) -> (Graph, Classifier) {
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

/// The weight rule; constants are not touched by it.
pub(crate) fn rule_values(entry: &Entry, param: &Param) -> Vec<f32> {
    match param.role {
        Role::Constant => param.init.values(param.len(), &mut || unreachable!("a constant is not random")),
        _ => entry.rule_weight(&param.name, &param.dims),
    }
}

/// `[B, 3, H, W]` from a name that ends in `_<B>x<H>x<W>.safetensors`.
fn image_dims(file: &str) -> [usize; 4] {
    let stem = file.strip_suffix(".safetensors").expect("a safetensors file");
    let sizes = numbers(stem.rsplit('_').next().expect("a name"));
    let [batch, height, width] = sizes[..] else { panic!("{file}: expected a name that ends in BxHxW") };
    [batch, 3, height, width]
}

pub(crate) fn numbers(text: &str) -> Vec<usize> {
    text.split('x').map(|part| part.parse().unwrap_or_else(|_| panic!("no number in `{text}`"))).collect()
}

/// Every fourth row and column, from 0.
fn every_fourth_cell(map: &Map) -> Vec<f32> {
    let [.., height, width] = map.dims;
    let planes = map.values.chunks(height * width);
    planes
        .flat_map(|plane| plane.chunks(width).step_by(4).flat_map(|row| row.iter().step_by(4).copied()))
        .collect()
}

/// Kind `effnet_forward`: every endpoint.
pub(crate) fn efficientnet_forward(engine: &dyn Engine) {
    for entry in entries("effnet_forward") {
        let want = entry.tensors();
        let model = entry.meta["model"].as_str().expect("`meta.model`");
        let bn_eps = entry.meta["bn_eps"].as_f64().expect("`meta.bn_eps`");
        let (graph, nodes) = classifier(model, want.dims("logits")[1], bn_eps, 0.1);
        let names = want.names();
        let endpoint = |name: &String| name.strip_suffix("_strided4").unwrap_or(name).to_string();
        let outputs: Vec<NodeId> = names.iter().map(|name| endpoint_node(&nodes, &endpoint(name))).collect();
        let size = image_dims(&entry.file);
        let images = entry.rule_input(size.iter().product(), -2.0, 2.0);
        let maps = engine.run(graph, &|param| rule_values(&entry, param), &images, size, &outputs);
        for (name, map) in names.iter().zip(maps) {
            let got = if name.ends_with("_strided4") { every_fourth_cell(&map) } else { map.values };
            let tolerance = entry.tolerance(&["rel_to_tensor_max", &endpoint(name)]);
            assert_close_to_max(&format!("{}: {name}", entry.file), &got, &want.f32(name), tolerance);
        }
    }
}

fn endpoint_node(nodes: &Classifier, endpoint: &str) -> NodeId {
    match endpoint {
        "stem" => nodes.endpoints.stem,
        "head" => nodes.head,
        "pooled" => nodes.pooled,
        "logits" => nodes.logits,
        reduction => {
            let number = reduction.strip_prefix("reduction_").and_then(|number| number.parse::<usize>().ok());
            nodes.endpoints.reductions[number.unwrap_or_else(|| panic!("endpoint `{reduction}`")) - 1]
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

/// Kind `yolo_forward`: neck features, raw maps of the head, decoded predictions.
pub(crate) fn yolov8_forward(engine: &dyn Engine) {
    for entry in entries("yolo_forward") {
        let want = entry.tensors();
        let (scale, class_count) = yolo_case(&entry.file);
        let detector = yolov8(scale, class_count, 1.0).unwrap();
        let mut outputs = vec![detector.head.predictions];
        for (index, level) in detector.levels.iter().enumerate() {
            outputs.extend([level.node, detector.head.boxes[index], detector.head.classes[index]]);
        }
        let size = image_dims(&entry.file);
        let images = entry.rule_input(size.iter().product(), 0.0, 1.0);
        let maps = engine.run(detector.graph, &|param| rule_values(&entry, param), &images, size, &outputs);
        for (level, maps) in detector.levels.iter().zip(maps[1..].chunks(3)) {
            let tolerance = entry.tolerance(&["maps_rel_to_max"]);
            let raw = join_channels(&maps[1], &maps[2]);
            for (kind, map) in [("neck", &maps[0]), ("map", &raw)] {
                let name = format!("{kind}_p{}", level.stride.ilog2());
                assert_close_to_max(
                    &format!("{}: {name}", entry.file),
                    &map.values,
                    &want.f32(&name),
                    tolerance,
                );
            }
        }
        let predictions = want.f32("pred"); // [B, 4 + K, A]
        for (what, channels, tolerance) in
            [("boxes", 0..4, "boxes_abs_px"), ("scores", 4..4 + class_count, "scores_abs")]
        {
            let part = |values: &[f32]| channels_of(values, maps[0].dims, channels.clone());
            let what = format!("{}: {what}", entry.file);
            assert_close(&what, &part(&maps[0].values), &part(&predictions), entry.tolerance(&[tolerance]));
        }
    }
}

fn channels_of(values: &[f32], dims: [usize; 4], channels: std::ops::Range<usize>) -> Vec<f32> {
    let plane = dims[2] * dims[3];
    values
        .chunks(dims[1] * plane)
        .flat_map(|image| image[channels.start * plane..channels.end * plane].to_vec())
        .collect()
}

fn join_channels(a: &Map, b: &Map) -> Map {
    let image = |map: &Map, index: usize| {
        let len = map.values.len() / map.dims[0];
        map.values[index * len..(index + 1) * len].to_vec()
    };
    let values = (0..a.dims[0]).flat_map(|index| [image(a, index), image(b, index)].concat()).collect();
    Map { values, dims: [a.dims[0], a.dims[1] + b.dims[1], a.dims[2], a.dims[3]] }
}

fn largest(values: &[f32], count: usize) -> Vec<u64> {
    let mut indices: Vec<usize> = (0..values.len()).collect();
    indices.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    indices[..count].iter().map(|&index| index as u64).collect()
}

/// Kind `effnet_real_weights`: logits and the best classes of real ImageNet weights on photographs. `test` names the
/// test that says so where there are no weights.
pub(crate) fn real_weights(engine: &dyn Engine, test: &str) {
    let Some(dir) = test_support::weights_dir(test) else { return };
    for entry in entries("effnet_real_weights") {
        let variant = entry.file.trim_start_matches("real_").trim_end_matches(".safetensors");
        let weights = Tensors::read(&dir.join(format!("efficientnet_{variant}.safetensors")));
        let prefix = if entry.meta["padding"] == "SAME" { "tf_" } else { "" };
        let bn_eps = entry.meta["bn_eps"].as_f64().expect("`meta.bn_eps`");
        let classes = weights.dims("classifier.weight")[0];
        let want = entry.tensors();
        for name in want.names() {
            let Some(photo) = name.strip_suffix("/input") else { continue };
            let (graph, nodes) = classifier(&format!("{prefix}efficientnet_{variant}"), classes, bn_eps, 0.1);
            let size = want.dims(&name).try_into().expect("[1, 3, H, W]");
            let logits =
                engine.run(graph, &|param| weights.f32(&param.name), &want.f32(&name), size, &[nodes.logits]);
            let expected = want.f32(&format!("{photo}/logits"));
            assert_close(photo, &logits[0].values, &expected, entry.tolerance(&["logits_abs"]));
            let top = entry.meta[photo]["top5"].as_array().expect("`top5`");
            let top: Vec<u64> = top.iter().map(|row| row[0].as_u64().expect("a class")).collect();
            assert_eq!(largest(&logits[0].values, top.len()), top, "{photo}");
        }
    }
}
