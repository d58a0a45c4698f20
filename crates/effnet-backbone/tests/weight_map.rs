//! Names and dimensions of weights against the graph and the reference values.

use effnet_backbone::{EfficientNet, EfficientNetConfig, Naming, weight_map};
use effnet_scaling::Variant;
use net_graph::{Builder, Padding};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn timm_names_are_those_of_the_graph_for_every_variant() {
    for variant in Variant::ALL {
        let config = EfficientNetConfig {
            spec: variant.network(),
            padding: Padding::Same,
            bn_eps: 1e-3,
            bn_momentum: 0.01,
            drop_path: 0.0,
            dropout: 0.0,
            normalization: None,
            prefix: String::new(),
            reductions: vec![5],
        };
        let mut builder = Builder::new();
        let image = builder.input("image", 3).unwrap();
        EfficientNet::new(config).build_classifier(&mut builder, image, 7).unwrap();
        let graph: Vec<_> =
            builder.finish().params().iter().map(|param| (param.name.clone(), param.dims.clone())).collect();
        let map = weight_map(&variant.network(), 7, Naming::Timm);
        let named: Vec<_> = map.iter().map(|weight| (weight.name.clone(), weight.dims.clone())).collect();
        assert_eq!(named, graph, "{}", variant.name);
        assert!(map.iter().all(|weight| weight.file_name == weight.name));
    }
}

#[test]
fn names_are_unique_in_every_naming() {
    for variant in Variant::ALL {
        // Keras has no EdgeTPU, and so no numbers for its layers.
        let known = |naming: &Naming| *naming != Naming::KerasNumbered || !variant.is_edgetpu();
        let named = |naming: &Naming| naming.names(&variant.network());
        assert!(
            variant.experts().is_none() || Naming::ALL.iter().filter(|naming| named(naming)).count() == 2
        );
        for naming in Naming::ALL.into_iter().filter(known).filter(named) {
            let map = weight_map(&variant.network(), 10, naming);
            let names: BTreeSet<_> = map.iter().map(|weight| &weight.file_name).collect();
            assert_eq!(names.len(), map.len(), "{} {naming}", variant.name);
            assert!(names.iter().any(|name| *name == naming.marker()));
        }
    }
}

#[test]
fn golden_tensorflow_and_keras_names() {
    for entry in test_support::entries("weight_conversion") {
        let folder = entry.path().with_extension("");
        let names: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("names.json")).unwrap()).unwrap();
        let spec = Variant::find("b0").unwrap().baseline().scaled(0.25, 0.4).unwrap();
        let by_name = |naming| -> BTreeMap<String, _> {
            weight_map(&spec, 10, naming).into_iter().map(|weight| (weight.name.clone(), weight)).collect()
        };
        let (tensorflow, keras) = (by_name(Naming::TensorFlow), by_name(Naming::Keras));
        let checkpoint = names["checkpoint"].as_object().unwrap();
        assert_eq!(checkpoint.len(), tensorflow.len());
        for (name, want) in checkpoint {
            let got = &tensorflow[name];
            assert_eq!(want["tf"], format!("efficientnet-b0/{}", got.file_name));
            assert_eq!(want["shape"], serde_json::json!(got.dims), "{name}");
            assert_eq!(want["shape_tf"], serde_json::json!(got.layout.dims_in_file(&got.dims)), "{name}");
        }
        for (name, want) in names["keras"].as_object().unwrap() {
            let layer = want[0].as_str().unwrap();
            assert!(keras[name].file_name.starts_with(&format!("{layer}/")), "{name}");
        }
    }
}

#[test]
fn torch_names_of_known_parameters() {
    let find = |variant: &str, naming, name: &str| {
        let map = weight_map(&Variant::find(variant).unwrap().network(), 10, naming);
        map.into_iter().find(|weight| weight.name == name).unwrap().file_name
    };
    // The first stage does not expand, and from B1 on it has several blocks.
    let torchvision = |name| find("b1", Naming::Torchvision, name);
    assert_eq!(torchvision("blocks.0.1.conv_pw.weight"), "features.1.1.block.2.0.weight");
    assert_eq!(torchvision("blocks.0.1.se.conv_reduce.bias"), "features.1.1.block.1.fc1.bias");
    assert_eq!(torchvision("blocks.1.0.bn3.running_var"), "features.2.0.block.3.1.running_var");
    assert_eq!(torchvision("blocks.1.0.bn2.weight"), "features.2.0.block.1.1.weight");
    assert_eq!(torchvision("conv_head.weight"), "features.8.0.weight");
    let lukemelas = |name| find("lite1", Naming::Lukemelas, name);
    assert_eq!(lukemelas("blocks.0.0.bn2.bias"), "_blocks.0._bn2.bias");
    assert_eq!(lukemelas("blocks.0.0.conv_pw.weight"), "_blocks.0._project_conv.weight");
    assert_eq!(lukemelas("blocks.1.2.conv_pw.weight"), "_blocks.3._expand_conv.weight");
    assert_eq!(lukemelas("bn2.running_mean"), "_bn1.running_mean");
}

/// As timm 1.0 names and shapes them.
#[test]
fn timm_names_of_experts() {
    let map = weight_map(&Variant::find("cc-b0-4e").unwrap().network(), 10, Naming::Timm);
    let dims = |name: &str| map.iter().find(|weight| weight.name == name).unwrap().dims.clone();
    assert_eq!(dims("blocks.4.0.routing_fn.weight"), [4, 80]);
    assert_eq!(dims("blocks.4.0.routing_fn.bias"), [4]);
    assert_eq!(dims("blocks.4.0.conv_pw.weight"), [4, 480 * 80]);
    assert_eq!(dims("blocks.4.0.conv_dw.weight"), [4, 480 * 25]);
    assert_eq!(dims("blocks.4.0.conv_pwl.weight"), [4, 112 * 480]);
    assert_eq!(dims("blocks.4.0.se.conv_reduce.weight"), [20, 480, 1, 1]);
    assert_eq!(dims("blocks.3.0.conv_pw.weight"), [240, 40, 1, 1]);
}

/// As the official code builds them: routing before everything, expansion before projection.
#[test]
fn tensorflow_names_of_experts() {
    let map = weight_map(&Variant::find("cc-b0-4e").unwrap().network(), 10, Naming::TensorFlow);
    let named = |name: &str| &map.iter().find(|weight| weight.name == name).unwrap().file_name;
    let cases = [
        ("blocks.4.0.routing_fn.weight", "blocks_8/dense/kernel"),
        ("blocks.4.0.routing_fn.bias", "blocks_8/dense/bias"),
        ("blocks.4.0.conv_pw.weight", "blocks_8/cond_conv2d/condconv_kernel"),
        ("blocks.4.0.conv_dw.weight", "blocks_8/depthwise_cond_conv2d/depthwise_condconv_kernel"),
        ("blocks.4.0.conv_pwl.weight", "blocks_8/cond_conv2d_1/condconv_kernel"),
        ("blocks.4.0.se.conv_expand.bias", "blocks_8/se/conv2d_1/bias"),
        ("blocks.4.0.bn3.weight", "blocks_8/tpu_batch_normalization_2/gamma"),
        ("blocks.3.2.conv_dw.weight", "blocks_7/depthwise_conv2d/depthwise_kernel"),
    ];
    for (name, want) in cases {
        assert_eq!(named(name), want);
    }
}
