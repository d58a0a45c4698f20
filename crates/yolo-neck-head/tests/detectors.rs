//! The stock networks against the reference values, and composed networks.

use net_graph::{Backbone, Builder, Graph, GraphError, Init, Level, NodeId, Op, Param, Shape};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use yolo_neck_head::{
    DetectorError, DetectorGraph, DflHead, LayerNames, NeckScale, PanNeck, build_detector, conv_norm_act,
    yolov8,
};

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, got {value}")) as usize
}

fn for_each_case(check: impl Fn(NeckScale, &Value)) {
    for entry in test_support::entries("yolo_facts") {
        for (letter, want) in entry.json().as_object().expect("scales by letter") {
            check(NeckScale::from_letter(letter.chars().next().unwrap()).expect("a scale"), want);
        }
    }
}

fn stock(scale: NeckScale, want: &Value) -> DetectorGraph {
    yolov8(scale, number(&want["nc"]), 2.0).unwrap()
}

/// Nodes of a row of the model file.
fn row(graph: &Graph, index: usize) -> impl Iterator<Item = NodeId> {
    let (exact, below) = (format!("model.{index}"), format!("model.{index}."));
    graph.ids().filter(move |id| graph.node(*id).name == exact || graph.node(*id).name.starts_with(&below))
}

/// A row's output as PyTorch shows it: predictions have no height.
fn row_output(graph: &Graph, shapes: &[Shape], index: usize) -> Value {
    let id = row(graph, index).last().expect("a node of the row");
    let [batch, channels, height, width] = shapes[id.0].dims();
    match graph.node(id).op {
        Op::DecodeDetections { .. } => json!([batch, channels, width]),
        _ => json!([batch, channels, height, width]),
    }
}

#[test]
fn golden_parameters_and_macs() {
    for_each_case(|scale, want| {
        let graph = stock(scale, want).graph;
        let shapes = graph.shapes(1, number(&want["input"][0]), number(&want["input"][1])).unwrap();
        let (cost, costs) = (graph.cost(&shapes), graph.layer_costs(&shapes));
        assert_eq!(want["params"], cost.params, "{scale:?}");
        assert_eq!(want["macs_conv"], cost.macs, "{scale:?}");
        let decode = costs.last().expect("a decoding node").cost;
        assert_eq!(want["dfl_macs"], decode.macs, "{scale:?}");
        assert_eq!(want["params_without_dfl"], cost.params - decode.params, "{scale:?}");
        let gflops = 2.0 * cost.macs as f64 / 1e9;
        assert!((gflops / want["gflops_conv"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{scale:?}");
    });
}

#[test]
fn golden_rows() {
    for_each_case(|scale, want| {
        let graph = stock(scale, want).graph;
        let shapes = graph.shapes(1, number(&want["input"][0]), number(&want["input"][1])).unwrap();
        let costs = graph.layer_costs(&shapes);
        for layer in want["layers"].as_array().unwrap() {
            let index = number(&layer["i"]);
            let params: u64 = row(&graph, index).map(|id| costs[id.0].cost.params).sum();
            assert_eq!(layer["params"], params, "{scale:?} row {index}");
            assert_eq!(layer["out"], row_output(&graph, &shapes, index), "{scale:?} row {index}");
        }
        for (key, outputs) in want.as_object().unwrap() {
            let Some(size) = key.strip_prefix("layers_at_") else { continue };
            let (height, width) = size.split_once('x').expect("height x width");
            let shapes = graph.shapes(1, height.parse().unwrap(), width.parse().unwrap()).unwrap();
            for (index, out) in outputs.as_array().unwrap().iter().enumerate() {
                assert_eq!(*out, row_output(&graph, &shapes, index), "{scale:?} row {index} at {size}");
            }
        }
    });
}

#[test]
fn golden_head() {
    for_each_case(|scale, want| {
        let DetectorGraph { graph, head, .. } = stock(scale, want);
        let shapes = graph.shapes(1, number(&want["input"][0]), number(&want["input"][1])).unwrap();
        let strides: Vec<f64> = head.strides.iter().map(|&stride| stride as f64).collect();
        assert_eq!(want["strides"], json!(strides), "{scale:?}");
        let maps = head.boxes.iter().zip(&head.classes).map(|(boxes, classes)| {
            let [batch, channels, height, width] = shapes[boxes.0].dims();
            [batch, channels + shapes[classes.0].channels, height, width]
        });
        assert_eq!(want["raw_maps"], json!(maps.collect::<Vec<_>>()), "{scale:?}");
        let hidden = |node: NodeId| graph.node(graph.node(node).inputs[0]).channels;
        assert_eq!(want["head_hidden"]["box"], hidden(head.boxes[0]), "{scale:?}");
        assert_eq!(want["head_hidden"]["cls"], hidden(head.classes[0]), "{scale:?}");
        let Some(biases) = want["bias_init_nc80"].as_object() else { return };
        let start = |node: NodeId| bias(&graph, node);
        assert!(
            head.boxes.iter().all(|&node| biases["box"].as_f64() == Some(f64::from(start(node)))),
            "{scale:?}"
        );
        for (&node, value) in head.classes.iter().zip(biases["cls"].as_array().unwrap()) {
            assert!((f64::from(start(node)) - value.as_f64().unwrap()).abs() < 1e-5, "{scale:?}");
        }
    });
}

/// Start of a convolution's bias.
fn bias(graph: &Graph, node: NodeId) -> f32 {
    let Op::Conv2d { bias: Some(bias), .. } = graph.node(node).op else { panic!("a convolution with bias") };
    let Init::Constant(value) = graph.param(bias).init else { panic!("a constant start") };
    value
}

#[test]
fn golden_parameter_names_and_shapes() {
    for_each_case(|scale, want| {
        let Some(list) = want["state_dict"].as_array() else { return };
        let graph = stock(scale, want).graph;
        let kept = list.iter().filter(|row| !row[0].as_str().unwrap().ends_with("num_batches_tracked"));
        let want_rows: BTreeSet<String> = kept.map(Value::to_string).collect();
        let row = |Param { name, dims, .. }: &Param| json!([name, dims]).to_string();
        let got_rows: BTreeSet<String> = graph.params().iter().map(row).collect();
        let differing: Vec<_> = want_rows.symmetric_difference(&got_rows).collect();
        assert!(differing.is_empty(), "{scale:?}: on one side only: {differing:?}");
        for node in graph.nodes() {
            let Op::BatchNorm { eps, momentum, .. } = node.op else { continue };
            assert_eq!(want["bn"], json!({ "eps": eps, "momentum": momentum }), "{}", node.name);
        }
    });
}

#[test]
fn golden_class_counts() {
    for_each_case(|scale, want| {
        for (key, params) in want.as_object().unwrap() {
            let Some(classes) = key.strip_prefix("params_nc") else { continue };
            let graph = yolov8(scale, classes.parse().unwrap(), 1.0).unwrap().graph;
            assert_eq!(*params, graph.cost(&graph.shapes(1, 64, 64).unwrap()).params, "{scale:?} {key}");
        }
    });
}

/// One convolution a level.
struct Toy(Vec<(usize, usize)>);

impl Backbone for Toy {
    fn levels(&self) -> Vec<(usize, usize)> {
        self.0.clone()
    }

    fn build(&self, builder: &mut Builder, image: NodeId) -> Result<Vec<Level>, GraphError> {
        let (mut x, mut at) = (image, 1);
        let mut level = |&(stride, channels): &(usize, usize)| {
            x = conv_norm_act(builder, &format!("backbone.{stride}"), x, channels, 3, stride / at)?;
            at = stride;
            Ok(Level { stride, channels, node: x })
        };
        self.0.iter().map(&mut level).collect()
    }
}

fn composed(levels: &[(usize, usize)], classes: usize) -> Result<DetectorGraph, DetectorError> {
    let strides: Vec<usize> = levels.iter().map(|&(stride, _)| stride).collect();
    let names = LayerNames::Described { prefix: "neck".into() };
    let neck = PanNeck::new(NeckScale::N.factors(), &strides, names);
    let head = DflHead { name: "head".into(), class_count: classes, reg_max: 16, box_bias: 1.0 };
    build_detector(&Toy(levels.to_vec()), &neck, &head)
}

#[test]
fn a_composed_detector_has_readable_names() {
    let detector = composed(&[(8, 40), (16, 112), (32, 320)], 3).unwrap();
    for name in [
        "neck.sppf.cv1.conv",
        "neck.p4_top_down.cv1.conv",
        "neck.p3_down.conv",
        "neck.p5_bottom_up.m.0.cv2.bn",
    ] {
        assert!(detector.graph.find(name).is_some(), "{name}");
    }
    let known = |name: &str| ["backbone.", "neck.", "head."].iter().any(|part| name.starts_with(part));
    assert!(detector.graph.params().iter().all(|param| known(&param.name)));
    assert_eq!(detector.max_stride(), 32);
    let shapes = detector.graph.shapes(2, 64, 96).unwrap();
    assert_eq!(shapes[detector.head.predictions.0].dims(), [2, 7, 1, 96 + 24 + 6]);
}

#[test]
fn other_level_sets() {
    let four = composed(&[(4, 24), (8, 40), (16, 112), (32, 320)], 80).unwrap();
    assert_eq!(four.head.strides, [4, 8, 16, 32]);
    assert_eq!(four.levels.iter().map(|level| level.channels).collect::<Vec<_>>(), [32, 64, 128, 256]);
    let shapes = four.graph.shapes(1, 64, 64).unwrap();
    assert_eq!(shapes[four.head.predictions.0].width, 256 + 64 + 16 + 4);
    assert_eq!(composed(&[(16, 112)], 80).unwrap().head.strides, [16]);
}

#[test]
fn levels_that_do_not_double_are_refused() {
    let message = composed(&[(8, 40), (32, 320)], 80).unwrap_err().to_string();
    assert!(message.contains("[8, 32]"), "{message}");
    assert!(matches!(composed(&[(8, 40)], 0), Err(DetectorError::Zero { what: "classes" })));
}

#[test]
fn a_neck_has_channels_for_every_level() {
    let names = LayerNames::Described { prefix: "neck".into() };
    let neck = PanNeck { channels: vec![72, 136], repeats: 2, names };
    let head = DflHead { name: "head".into(), class_count: 3, reg_max: 16, box_bias: 1.0 };
    let build = |levels: &[(usize, usize)]| build_detector(&Toy(levels.to_vec()), &neck, &head);
    let detector = build(&[(16, 40), (32, 80)]).unwrap();
    assert_eq!(detector.levels.iter().map(|level| level.channels).collect::<Vec<_>>(), [72, 136]);
    assert!(detector.graph.find("neck.p5_bottom_up.m.1.cv2.conv").is_some());
    let message = build(&[(8, 40), (16, 40), (32, 80)]).unwrap_err().to_string();
    assert!(message.contains("3 levels and channels of 2"), "{message}");
}

#[test]
fn an_image_side_that_is_no_multiple_of_the_stride_says_so() {
    let detector = yolov8(NeckScale::N, 80, 1.0).unwrap();
    let message = detector.graph.shapes(1, 100, 96).unwrap_err().to_string();
    assert!(message.contains("multiple of the largest stride"), "{message}");
}
