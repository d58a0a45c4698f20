//! The graph of every variant against the reference values.

use effnet_backbone::{Classifier, EfficientNet, EfficientNetConfig, InputNormalization};
use effnet_scaling::{NetworkSpec, Variant};
use net_graph::{Activation, Backbone, Builder, Graph, NodeId, Op, Padding, Role};
use serde_json::{Value, json};

fn config(spec: NetworkSpec, padding: Padding, bn_eps: f64, prefix: &str) -> EfficientNetConfig {
    EfficientNetConfig {
        spec,
        padding,
        bn_eps,
        bn_momentum: 0.01,
        drop_path: 0.2,
        dropout: 0.2,
        normalization: None,
        prefix: prefix.into(),
        reductions: vec![3, 4, 5],
    }
}

fn classifier(config: EfficientNetConfig, classes: usize) -> (Graph, Classifier) {
    let mut builder = Builder::new();
    let image = builder.input("image", 3).unwrap();
    let nodes = EfficientNet::new(config).build_classifier(&mut builder, image, classes).unwrap();
    (builder.finish(), nodes)
}

fn endpoints(nodes: &Classifier) -> Vec<(String, NodeId)> {
    let reductions = nodes.endpoints.reductions.iter().enumerate();
    let named = reductions.map(|(index, &node)| (format!("reduction_{}", index + 1), node));
    let others =
        [("stem", nodes.endpoints.stem), ("head", nodes.head)].map(|(name, node)| (name.to_string(), node));
    others.into_iter().chain(named).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, got {value}")) as usize
}

/// Graph of every variant of every file, in both conventions where the file has both, with the expected values.
fn for_each_case(check: impl Fn(&str, &Graph, &Classifier, &Value)) {
    for entry in test_support::entries("effnet_architecture") {
        for (name, want) in entry.json().as_object().expect("variants by name") {
            let spec = Variant::find(name).unwrap().network();
            let classes = number(&want["shapes"]["logits"][1]);
            let eps = want["bn_eps"].as_f64().unwrap();
            let (graph, nodes) = classifier(config(spec, Padding::Same, eps, ""), classes);
            check(name, &graph, &nodes, want);
        }
    }
}

fn assert_shapes(name: &str, graph: &Graph, nodes: &Classifier, side: usize, want: &Value) {
    let shapes = graph.shapes(1, side, side).unwrap();
    for (endpoint, node) in endpoints(nodes) {
        assert_eq!(want[&endpoint], json!(shapes[node.0].dims()), "{name} {endpoint}");
    }
    assert_eq!(want["logits"][1], shapes[nodes.logits.0].channels, "{name}");
}

#[test]
fn golden_parameters_macs_and_endpoint_shapes() {
    for_each_case(|name, graph, nodes, want| {
        let side = number(&want["resolution"]);
        let cost = graph.cost(&graph.shapes(1, side, side).unwrap());
        assert_eq!(want["params"], cost.params, "{name}");
        assert_eq!(want["macs"], cost.macs, "{name}");
        assert_shapes(name, graph, nodes, side, &want["shapes"]);
        if let Some(other) = want.get("timm_resolution") {
            let side = number(other);
            let shapes = graph.shapes(1, side, side).unwrap();
            assert_eq!(want["timm_resolution_macs"], graph.cost(&shapes).macs, "{name}");
            assert_shapes(name, graph, nodes, side, &want["timm_resolution_shapes"]);
        }
        let of_role =
            |role| graph.params().iter().filter(move |p| p.role == role).map(|p| p.len()).sum::<usize>();
        assert_eq!(want["bn_buffers"], of_role(Role::RunningMean) + of_role(Role::RunningVar), "{name}");
        let act = if Variant::find(name).unwrap().is_lite() { Activation::Relu6 } else { Activation::Silu };
        assert_eq!(graph.node(nodes.endpoints.stem).op, Op::Activation(act), "{name}");
    });
}

#[test]
fn golden_symmetric_padding() {
    for entry in test_support::entries("effnet_architecture") {
        for (name, variant) in entry.json().as_object().expect("variants by name") {
            let Some(want) = variant.get("torch_padding") else { continue };
            let spec = Variant::find(name).unwrap().network();
            let eps = want["bn_eps"].as_f64().unwrap();
            let (graph, nodes) =
                classifier(config(spec, Padding::Symmetric, eps, ""), number(&want["shapes"]["logits"][1]));
            let side = number(&variant["resolution"]);
            let cost = graph.cost(&graph.shapes(1, side, side).unwrap());
            assert_eq!(want["params"], cost.params, "{name}");
            assert_eq!(want["macs"], cost.macs, "{name}");
            assert_shapes(name, &graph, &nodes, side, &want["shapes"]);
        }
    }
}

#[test]
fn golden_stage_shapes_and_blocks() {
    for_each_case(|name, graph, _, want| {
        let side = number(&want["resolution"]);
        let shapes = graph.shapes(1, side, side).unwrap();
        let last_of = |prefix: String| {
            graph.ids().rfind(|id| graph.node(*id).name.starts_with(&prefix)).expect("a node")
        };
        for (stage, shape) in want["stage_shapes"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                *shape,
                json!(shapes[last_of(format!("blocks.{stage}.")).0].dims()),
                "{name} stage {stage}"
            );
        }
        for block in want["blocks"].as_array().unwrap() {
            let path = format!("blocks.{}.{}", block["stage"], block["index_in_stage"]);
            let depthwise = graph.node(graph.find(&format!("{path}.conv_dw")).unwrap());
            let Op::Conv2d { conv, .. } = depthwise.op else { panic!("{path}: a convolution") };
            assert_eq!(
                (conv.kernel, conv.stride),
                (number(&block["kernel"]), number(&block["stride"])),
                "{name} {path}"
            );
            assert_eq!(conv.groups, number(&block["in_ch"]) * number(&block["expand"]), "{name} {path}");
            let squeezed =
                graph.find(&format!("{path}.se.conv_reduce")).map_or(0, |id| graph.node(id).channels);
            assert_eq!(block["se_ch"], squeezed, "{name} {path}");
            assert_eq!(block["skip"], graph.find(&format!("{path}.add")).is_some(), "{name} {path}");
            assert_eq!(block["out_ch"], graph.node(last_of(format!("{path}."))).channels, "{name} {path}");
        }
    });
}

#[test]
fn golden_parameter_names_and_shapes() {
    for_each_case(|name, graph, _, want| {
        let Some(list) = want["state_dict"].as_array() else { return };
        let kept = list.iter().filter(|row| !row[0].as_str().unwrap().ends_with("num_batches_tracked"));
        let got: Vec<Value> = graph.params().iter().map(|param| json!([param.name, param.dims])).collect();
        assert_eq!(got, kept.cloned().collect::<Vec<_>>(), "{name}");
    });
}

#[test]
fn golden_drop_path_rates() {
    for_each_case(|name, graph, _, want| {
        let Some(rates) = want["drop_connect_rate_per_block"].as_array() else { return };
        let blocks = want["blocks"].as_array().unwrap();
        for (block, rate) in blocks.iter().zip(rates) {
            let node =
                graph.find(&format!("blocks.{}.{}.drop_path", block["stage"], block["index_in_stage"]));
            assert_eq!(node.is_some(), block["skip"] == true, "{name}");
            let Some(id) = node else { continue };
            let Op::DropPath { rate: got } = graph.node(id).op else { panic!("a drop-path node") };
            assert!((got - rate.as_f64().unwrap()).abs() < 1e-12, "{name}");
        }
    });
}

#[test]
fn a_backbone_ends_at_its_last_level() {
    let mut config = config(NetworkSpec::b0(), Padding::Symmetric, 1e-3, "backbone");
    config.reductions = vec![2, 4];
    let backbone = EfficientNet::new(config);
    assert_eq!(backbone.levels(), [(4, 24), (16, 112)]);
    let mut builder = Builder::new();
    let image = builder.input("image", 3).unwrap();
    let levels = backbone.build(&mut builder, image).unwrap();
    let graph = builder.finish();
    assert_eq!(
        levels.iter().map(|level| (level.stride, level.channels)).collect::<Vec<_>>(),
        backbone.levels()
    );
    assert_eq!(graph.node(levels[0].node).name, "backbone.blocks.1.1.add");
    assert_eq!(levels[1].node.0, graph.nodes().len() - 1);
    assert!(graph.params().iter().all(|param| param.name.starts_with("backbone.")));
    let shapes = graph.shapes(2, 96, 64).unwrap();
    assert_eq!(shapes[levels[1].node.0].dims(), [2, 112, 6, 4]);
}

#[test]
fn every_parameter_belongs_to_one_stage_or_the_head() {
    let config = config(NetworkSpec::b0(), Padding::Same, 1e-3, "backbone");
    let stages = EfficientNet::new(config.clone()).stage_prefixes();
    assert_eq!(stages.len(), 8);
    let (graph, _) = classifier(config, 10);
    for param in graph.params() {
        let owners = stages.iter().flatten().filter(|prefix| param.name.starts_with(*prefix)).count();
        let head = ["conv_head.", "bn2.", "classifier."]
            .iter()
            .any(|p| param.name.starts_with(&format!("backbone.{p}")));
        assert_eq!(owners + usize::from(head), 1, "{}", param.name);
    }
}

#[test]
fn normalisation_comes_first_and_maps_the_mean_to_zero() {
    let mut config = config(NetworkSpec::lite0(), Padding::Same, 1e-3, "");
    config.normalization = Some(InputNormalization::imagenet());
    let (graph, _) = classifier(config, 10);
    assert_eq!(graph.nodes()[1].name, "normalize");
    let InputNormalization { scale, shift } = InputNormalization::imagenet();
    for (c, mean) in [0.485f32, 0.456, 0.406].into_iter().enumerate() {
        assert!((mean * scale[c] + shift[c]).abs() < 1e-6);
    }
    assert_eq!(InputNormalization::lite(), InputNormalization { scale: [2.0; 3], shift: [-1.0; 3] });
}

#[test]
#[should_panic(expected = "reductions")]
fn a_reduction_that_does_not_exist_is_refused() {
    let mut config = config(NetworkSpec::b0(), Padding::Same, 1e-3, "");
    config.reductions = vec![3, 6];
    EfficientNet::new(config);
}

#[test]
fn experts_have_the_routing_of_their_blocks_input() {
    let (graph, nodes) = classifier(config(NetworkSpec::condconv(4), Padding::Same, 1e-3, ""), 10);
    let node = |name: &str| graph.node(graph.find(name).unwrap());
    let routing = graph.find("blocks.4.1.routing_fn.act").unwrap();
    assert_eq!(node("blocks.4.1.routing_fn.pool").inputs, [graph.find("blocks.4.0.bn3").unwrap()]);
    for (conv, groups) in [("conv_pw", 1), ("conv_dw", 672), ("conv_pwl", 1)] {
        let node = node(&format!("blocks.4.1.{conv}"));
        assert_eq!(node.inputs[1], routing);
        assert!(matches!(node.op, Op::CondConv { conv, .. } if conv.groups == groups), "{conv}");
    }
    assert!(matches!(node("blocks.3.2.conv_pw").op, Op::Conv2d { .. }));
    // Another size has the same parameters; endpoints are those of B0.
    let (plain, others) = classifier(config(NetworkSpec::b0(), Padding::Same, 1e-3, ""), 10);
    let dims = |graph: &Graph, nodes: &Classifier| {
        let shapes = graph.shapes(2, 96, 64).unwrap();
        endpoints(nodes).into_iter().map(|(name, id)| (name, shapes[id.0])).collect::<Vec<_>>()
    };
    assert_eq!(dims(&graph, &nodes), dims(&plain, &others));
    let expansions = nodes.endpoints.expansions.iter().map(|id| graph.node(*id).name.clone());
    assert!(expansions.zip(&others.endpoints.expansions).all(|(name, id)| name == plain.node(*id).name));
}
