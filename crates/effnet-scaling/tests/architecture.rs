//! Stage tables and closed-form costs against the reference values.

use effnet_scaling::{BlockSpec, NetworkSpec, Variant};
use serde_json::{Value, json};

fn block_json(block: &BlockSpec) -> Value {
    json!({
        "stage": block.stage,
        "index_in_stage": block.index_in_stage,
        "kernel": block.kernel,
        "stride": block.stride,
        "expand": block.expansion,
        "in_ch": block.in_channels,
        "out_ch": block.out_channels,
        "se_ch": block.squeeze_channels.unwrap_or(0),
        "skip": block.has_residual,
    })
}

/// Every variant of every file with its expected values.
fn cases() -> Vec<(Variant, Value)> {
    let files = test_support::entries("effnet_architecture");
    let variants = |file: test_support::Entry| file.json().as_object().expect("variants by name").clone();
    let case = |(name, want): (String, Value)| (Variant::find(&name).expect("a variant"), want);
    files.into_iter().flat_map(variants).map(case).collect()
}

fn macs(network: &NetworkSpec, resolution: &Value, classes: usize) -> u64 {
    let side = resolution.as_u64().expect("a resolution") as usize;
    network.cost(side, side, classes).total().macs
}

#[test]
fn golden_architecture() {
    for (variant, want) in cases() {
        let network = variant.network();
        let name = variant.name;
        assert_eq!(want["resolution"], variant.resolution, "{name}");
        for (key, got) in [("width", variant.width), ("depth", variant.depth), ("dropout", variant.dropout)] {
            assert!(want.get(key).is_none_or(|value| value.as_f64() == Some(got)), "{name} {key}");
        }
        assert_eq!(want["stem_ch"], network.stem, "{name}");
        assert_eq!(want["head_ch"], network.head, "{name}");
        let repeats: Vec<_> = network.stages.iter().map(|stage| stage.repeats).collect();
        assert_eq!(want["repeats"], json!(repeats), "{name}");
        let blocks: Vec<_> = network.blocks().iter().map(block_json).collect();
        assert_eq!(want["blocks"], json!(blocks), "{name}");
        for (index, reduction) in network.reductions().iter().enumerate() {
            let shape = &want["shapes"][format!("reduction_{}", index + 1)];
            assert_eq!(shape[1], reduction.channels, "{name}");
            assert_eq!(shape[2], variant.resolution.div_ceil(reduction.stride), "{name}");
        }
    }
}

#[test]
fn golden_closed_form_cost() {
    for (variant, want) in cases() {
        let (network, side) = (variant.network(), variant.resolution);
        let classes = want["shapes"]["logits"][1].as_u64().expect("a class count") as usize;
        let cost = network.cost(side, side, classes);
        let name = variant.name;
        assert_eq!(want["params"], cost.total().params, "{name}");
        assert_eq!(want["params_without_classifier"], (cost.features + cost.head).params, "{name}");
        assert_eq!(want["macs"], cost.total().macs, "{name}");
        assert_eq!(want["macs_conv"], (cost.features + cost.head).macs, "{name}");
        assert_eq!(want["macs_linear"], cost.classifier.macs, "{name}");
        if let Some(other) = want.get("timm_resolution") {
            assert_eq!(want["timm_resolution_macs"], macs(&network, other, classes), "{name}");
        }
        if let Some(symmetric) = want.get("torch_padding") {
            assert_eq!(symmetric["macs"], cost.total().macs, "{name}");
        }
    }
}

#[test]
fn the_backbone_part_of_published_variants() {
    let params = |name| Variant::find(name).unwrap().network().cost(224, 224, 1000).features.params;
    assert_eq!(params("b0"), 3_595_388);
    assert_eq!(params("b7"), 62_143_440);
    assert_eq!(params("lite0"), 2_958_848);
}

/// Parameters as timm counts them. Table 2 of arXiv 1904.04971 gives B0 391 M multiply-adds and, with eight experts, 413 M:
/// what the experts add is their mixing, once an image, and the layer that weighs them.
#[test]
fn condconv_variants_cost_what_is_published() {
    let cost = |name| {
        let variant = Variant::find(name).unwrap();
        variant.network().cost(variant.resolution, variant.resolution, 1000).total()
    };
    let params = ["cc-b0-4e", "cc-b0-8e", "cc-b1-8e"].map(|name| cost(name).params);
    assert_eq!(params, [13_314_116, 24_013_284, 39_715_968]);
    let added = |name| (cost(name).macs - cost("b0").macs) as f64 / 1e6;
    assert!((added("cc-b0-8e") - (413.0 - 391.0)).abs() < 1.0, "{}", added("cc-b0-8e"));
    assert_eq!(2.0 * added("cc-b0-4e"), added("cc-b0-8e"));
}
