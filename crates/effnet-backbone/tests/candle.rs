//! The family as candle modules: levels, variables, files, and the example.
#![cfg(feature = "candle")]

#[path = "../examples/candle_features.rs"]
mod candle_features;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use effnet_backbone::candle::{
    EfficientNet, EfficientNetClassifier, EfficientNetError, Mode, config_of_file,
};
use effnet_backbone::{EfficientNetConfig, InputNormalization, NetworkSpec, Padding, Variant};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use test_support::{assert_close, assert_close_to_max, entries, max_abs};

/// Numbers in `[0, 1)` by a 64-bit congruential generator.
fn numbers(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// B0's stages at a quarter of the width.
fn small() -> EfficientNetConfig {
    let spec = NetworkSpec::b0().scaled(0.25, 0.5).unwrap();
    EfficientNetConfig { spec, ..EfficientNetConfig::from_scratch(&Variant::find("b0").unwrap()) }
}

fn images(dims: (usize, usize, usize, usize)) -> Tensor {
    let mut uniform = numbers(11);
    let values: Vec<f32> = (0..dims.0 * dims.1 * dims.2 * dims.3).map(|_| uniform() as f32).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn builder(map: &VarMap, dtype: DType) -> VarBuilder<'static> {
    VarBuilder::from_varmap(map, dtype, &Device::Cpu)
}

#[test]
fn every_endpoint_of_the_official_builder_is_there() {
    let config = EfficientNetConfig {
        reductions: vec![1, 2, 3, 4, 5],
        ..EfficientNetConfig::from_scratch(&Variant::find("b0").unwrap())
    };
    let vb = builder(&VarMap::new(), DType::F32);
    let network = EfficientNetClassifier::seeded(&config, 10, vb, &mut numbers(3)).unwrap();
    let images = images((1, 3, 64, 32));
    let expansions = network.expansions(&images, Mode::Eval).unwrap();
    let reductions = network.features(&images, Mode::Eval).unwrap();
    let dims = |maps: &[Tensor]| maps.iter().map(|map| map.dims().to_vec()).collect::<Vec<_>>();
    let at = |channels: [usize; 5]| -> Vec<Vec<usize>> {
        channels
            .iter()
            .zip(1..)
            .map(|(&channels, level)| vec![1, channels, 64 >> level, 32 >> level])
            .collect()
    };
    assert_eq!(dims(&reductions), at([16, 24, 40, 112, 320]));
    assert_eq!(dims(&expansions), at([32, 144, 240, 672, 1152]));
    assert_eq!(network.head_features(&images, Mode::Eval).unwrap().dims(), [1, 1280, 2, 1]);
    let fixed = network.fix().unwrap();
    assert_eq!(fixed.pooled(&images).unwrap().dims(), [1, 1280]);
    for (fixed, trained) in fixed.expansions(&images).unwrap().iter().zip(&expansions) {
        assert_close_to_max("expansion", &flat(fixed), &flat(trained), 1e-4);
    }
}

#[test]
fn an_edgetpu_network_trains_on_the_tape() {
    let spec = NetworkSpec::edgetpu().scaled(0.25, 0.5).unwrap();
    let config =
        EfficientNetConfig { spec, ..EfficientNetConfig::from_scratch(&Variant::find("edgetpu-s").unwrap()) };
    let map = VarMap::new();
    let network =
        EfficientNetClassifier::seeded(&config, 3, builder(&map, DType::F32), &mut numbers(5)).unwrap();
    let logits = network.logits(&images((2, 3, 64, 64)), Mode::Train { uniform: &mut numbers(1) }).unwrap();
    let gradients = logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let first = map.data().lock().unwrap()["blocks.0.0.conv_exp.weight"].clone();
    assert_eq!(first.dims()[2..], [3, 3]);
    assert!(max_abs(&flat(gradients.get(&first).unwrap())) > 0.0);
}

#[test]
fn any_levels_in_both_number_types() {
    for reductions in [vec![2, 3, 4, 5], vec![3, 5], vec![1, 4], vec![2]] {
        for dtype in [DType::F32, DType::F64] {
            let config = EfficientNetConfig { reductions: reductions.clone(), ..small() };
            let backbone = EfficientNet::new(&config, builder(&VarMap::new(), dtype)).unwrap();
            let images = images((2, 3, 64, 96)).to_dtype(dtype).unwrap();
            for mode in [Mode::Eval, Mode::Train { uniform: &mut numbers(1) }] {
                let levels = backbone.features(&images, mode).unwrap();
                assert_eq!(levels.len(), reductions.len());
                for ((map, level), reduction) in levels.iter().zip(backbone.levels()).zip(&reductions) {
                    assert_eq!(level.stride, 1 << reduction);
                    assert_eq!(map.dims(), [2, level.channels, 64 / level.stride, 96 / level.stride]);
                    assert_eq!(map.dtype(), dtype);
                }
            }
        }
    }
}

/// The same stages, the last three with experts.
fn small_with_experts() -> EfficientNetConfig {
    let spec = NetworkSpec::condconv(4).scaled(0.25, 0.5).unwrap();
    EfficientNetConfig { spec, ..EfficientNetConfig::from_scratch(&Variant::find("cc-b0-4e").unwrap()) }
}

#[test]
fn both_number_types_agree_in_values_gradients_and_statistics() {
    [small(), small_with_experts()].iter().for_each(assert_number_types_agree);
}

fn assert_number_types_agree(config: &EfficientNetConfig) {
    let maps = [VarMap::new(), VarMap::new()];
    let dtypes = [DType::F32, DType::F64];
    let mut results = maps.iter().zip(dtypes).map(|(map, dtype)| {
        let backbone = EfficientNet::seeded(config, builder(map, dtype), &mut numbers(3)).unwrap();
        let images = images((2, 3, 65, 97)).to_dtype(dtype).unwrap();
        let levels = backbone.features(&images, Mode::Train { uniform: &mut numbers(5) }).unwrap();
        let terms: Vec<Tensor> =
            levels.iter().map(|level| level.sqr().unwrap().mean_all().unwrap()).collect();
        let loss = terms.into_iter().reduce(|sum, term| (sum + term).unwrap()).unwrap();
        let gradients = loss.backward().unwrap();
        let variables = map.data().lock().unwrap();
        let of = |name: &str| (variables[name].clone(), gradients.get(&variables[name]).map(flat));
        let names: Vec<String> = variables.keys().cloned().collect();
        let by_name: HashMap<String, _> = names.iter().map(|name| (name.clone(), of(name))).collect();
        (levels, by_name)
    });
    let ((levels, vars), (levels_f64, vars_f64)) = (results.next().unwrap(), results.next().unwrap());
    for (level, want) in levels.iter().zip(&levels_f64) {
        assert_close_to_max("level", &flat(level), &flat(want), 1e-4);
    }
    assert_eq!(vars.len(), vars_f64.len());
    for (name, (var, gradient)) in &vars {
        let (want, want_gradient) = &vars_f64[name];
        // Means of maps that a batch norm has centred are nothing but rounding: hence the floors.
        let want = flat(want);
        assert_close(name, &flat(var), &want, 1e-4 * max_abs(&want).max(0.1));
        assert_eq!(gradient.is_some(), !name.contains("running_"), "{name}");
        if let (Some(gradient), Some(want)) = (gradient, want_gradient) {
            assert_close(name, gradient, want, 2e-3 * max_abs(want).max(1e-3));
        }
    }
}

#[test]
fn parameters_are_the_callers_under_timm_names() {
    let map = VarMap::new();
    let vb = builder(&map, DType::F32);
    let backbone = EfficientNet::new(&small(), vb.pp("backbone")).unwrap();
    let variables = map.data().lock().unwrap();
    assert_eq!(variables.len(), backbone.net().named().len());
    for name in [
        "conv_stem.weight",
        "bn1.running_mean",
        "blocks.1.0.conv_dw.weight",
        "blocks.6.0.se.conv_expand.bias",
    ] {
        assert!(variables.contains_key(&format!("backbone.{name}")), "{name}");
    }
    assert!(!variables.contains_key("backbone.conv_head.weight"), "no level needs the head");
}

#[test]
fn a_frozen_stem_gets_no_gradient() {
    let map = VarMap::new();
    let mut backbone = EfficientNet::new(&small(), builder(&map, DType::F32)).unwrap();
    backbone.freeze(|name| name.starts_with("conv_stem") || name.starts_with("bn1"));
    let levels =
        backbone.features(&images((1, 3, 64, 64)), Mode::Train { uniform: &mut numbers(1) }).unwrap();
    let gradients = levels[0].sum_all().unwrap().backward().unwrap();
    let variables = map.data().lock().unwrap();
    assert!(gradients.get(&variables["conv_stem.weight"]).is_none());
    assert!(gradients.get(&variables["blocks.0.0.conv_dw.weight"]).is_some());
    assert_eq!(flat(&variables["bn1.running_mean"]), vec![0.0; variables["bn1.running_mean"].elem_count()]);
}

#[test]
fn wrong_levels_are_refused() {
    for reductions in [vec![], vec![0, 2], vec![3, 3], vec![4, 2], vec![6]] {
        let config = EfficientNetConfig { reductions, ..small() };
        let error = EfficientNet::new(&config, builder(&VarMap::new(), DType::F32)).unwrap_err();
        assert!(matches!(error, EfficientNetError::Reductions { .. }), "{error}");
    }
}

/// A reference model with rule weights as a file with the given metadata.
fn write_golden(
    entry: &test_support::Entry,
    folder: &Path,
    metadata: Option<&str>,
) -> (PathBuf, EfficientNetConfig) {
    let model = entry.meta["model"].as_str().unwrap();
    let (name, padding) = match model.strip_prefix("tf_") {
        Some(name) => (name, Padding::Same),
        None => (model, Padding::Symmetric),
    };
    let bn_eps = entry.meta["bn_eps"].as_f64().unwrap();
    let variant = Variant::find(name).unwrap();
    let config = EfficientNetConfig { padding, bn_eps, ..EfficientNetConfig::from_scratch(&variant) };
    let classes = entry.tensors().dims("logits")[1];
    let net = EfficientNetClassifier::new(&config, classes, builder(&VarMap::new(), DType::F32)).unwrap();
    let tensors = net.net().named().into_iter().map(|(param, _)| {
        let values = entry.rule_weight(&param.name, &param.dims);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (param.name.clone(), param.dims.clone(), bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, dims, bytes)| {
        (
            name.as_str(),
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, dims.clone(), bytes).unwrap(),
        )
    });
    let metadata = metadata.map(|json| HashMap::from([("effyolo-weights".to_string(), json.to_string())]));
    let path = folder.join("weights.safetensors");
    safetensors::serialize_to_file(views, metadata, &path).unwrap();
    (path, config)
}

#[test]
fn files_give_the_reference_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in entries("effnet_forward") {
        let want = entry.tensors();
        // The smaller cases of both paddings: odd sizes, where they differ.
        if !entry.file.contains("b0_2x65x97") {
            continue;
        }
        checked += 1;
        let same = entry.file.contains("_tf_");
        let json = format!(
            r#"{{"format": 1, "variant": "efficientnet-b0", "classes": {}, "padding": "{}", "bn_eps": {}, "normalization": "none"}}"#,
            want.dims("logits")[1],
            if same { "same" } else { "symmetric" },
            entry.meta["bn_eps"],
        );
        let (path, config) = write_golden(&entry, folder.path(), Some(&json));
        let images =
            Tensor::from_vec(entry.rule_input(2 * 3 * 65 * 97, -2.0, 2.0), (2, 3, 65, 97), &Device::Cpu)
                .unwrap();
        let expect = |name: &str, got: &Tensor| {
            let tolerance = entry.tolerance(&["rel_to_tensor_max", name]);
            assert_close_to_max(&format!("{}: {name}", entry.file), &flat(got), &want.f32(name), tolerance);
        };
        let levels = EfficientNet::load(&path, &Device::Cpu).unwrap().features(&images).unwrap();
        let with_config = EfficientNet::load_with(&path, &config, &Device::Cpu).unwrap();
        for (level, other) in levels.iter().zip(with_config.features(&images).unwrap()) {
            assert_eq!(flat(level), flat(&other));
        }
        let classifier = EfficientNetClassifier::load(&path, &Device::Cpu).unwrap();
        for (number, (level, other)) in (2..).zip(levels.iter().zip(classifier.features(&images).unwrap())) {
            let name = format!("reduction_{number}");
            for (name, got) in [(&name, level), (&name, &other)] {
                if want.has(name) {
                    expect(name, got);
                }
            }
        }
        if want.has("head") {
            expect("head", &classifier.head_features(&images).unwrap());
        }
        expect("pooled", &classifier.pooled(&images).unwrap());
        expect("logits", &classifier.logits(&images).unwrap());

        // The start of fine-tuning: the caller's variables take over the file's weights.
        let (map, config) = (VarMap::new(), config_of_file(&path).unwrap());
        let vb = builder(&map, DType::F32);
        let network = EfficientNetClassifier::new(&config, want.dims("logits")[1], vb.pp("net")).unwrap();
        network.load_weights(&path).unwrap();
        assert_eq!(
            flat(&map.data().lock().unwrap()["net.conv_stem.weight"]),
            entry.rule_weight("conv_stem.weight", &[32, 3, 3, 3])
        );
        expect("head", &network.head_features(&images, Mode::Eval).unwrap());
        expect("pooled", &network.pooled(&images, Mode::Eval).unwrap());
        expect("logits", &network.logits(&images, Mode::Eval).unwrap());
        expect("reduction_5", &network.features(&images, Mode::Eval).unwrap()[3]);
    }
    assert!(checked > 0 || std::env::var_os("EFFYOLO_GOLDEN").is_some(), "no reference case was found");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let load = || EfficientNet::load(&path, &Device::Cpu).unwrap_err();
    assert!(matches!(load(), EfficientNetError::Read { .. }));
    std::fs::write(&path, b"not a weight file").unwrap();
    assert!(matches!(load(), EfficientNetError::Format { .. }));

    let write = |json: Option<&str>| {
        let metadata = json.map(|json| HashMap::from([("effyolo-weights".to_string(), json.to_string())]));
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &[0; 8]).unwrap();
        safetensors::serialize_to_file([("conv_stem.weight", view)], metadata, &path).unwrap();
    };
    write(None);
    assert!(matches!(load(), EfficientNetError::NoMetadata { .. }));
    let json = |format: u32, variant: &str, padding: &str, bn_eps: &str, normalization: &str| {
        format!(
            r#"{{"format": {format}, "variant": "{variant}", "padding": "{padding}", "bn_eps": {bn_eps}, "normalization": "{normalization}"}}"#
        )
    };
    let cases = [
        ("{".to_string(), "effyolo-weights"),
        (json(2, "b0", "same", "0.001", "none"), "newer version"),
        (json(1, "b99", "same", "0.001", "none"), "b99"),
        (json(1, "b0 x 2", "same", "0.001", "none"), "b0 x 2"),
        (json(1, "b0 x 2 x -1", "same", "0.001", "none"), "-1"),
        (json(1, "b0", "valid", "0.001", "none"), "valid"),
        (json(1, "b0", "same", "0", "none"), "bn_eps"),
        (json(1, "b0", "same", "0.001", "cifar"), "cifar"),
    ];
    for (json, part) in cases {
        write(Some(&json));
        let error = load();
        assert!(
            matches!(error, EfficientNetError::Metadata { .. }) && error.to_string().contains(part),
            "{error}"
        );
    }
    write(Some(&json(1, "b0 x 1.0 x 2.0", "same", "0.001", "lite-tensorflow")));
    let message = load().to_string();
    for part in [
        "`conv_stem.weight` is [2], expected [32, 3, 3, 3]",
        "`bn1.weight` is missing",
        "`blocks.1.3.bn1.bias` is missing",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_files_normalisation_is_applied() {
    let lite = EfficientNetConfig::tensorflow(&Variant::find("lite0").unwrap());
    assert_eq!(lite.normalization, Some(InputNormalization::lite()));
    let config = EfficientNetConfig { normalization: lite.normalization, ..small() };
    let map = VarMap::new();
    let with = EfficientNet::new(&config, builder(&map, DType::F32)).unwrap();
    let without = EfficientNet::new(&small(), builder(&map, DType::F32)).unwrap();
    let images = images((1, 3, 64, 64));
    let normalised = images.affine(2.0, -1.0).unwrap();
    let got = with.features(&images, Mode::Eval).unwrap();
    let want = without.features(&normalised, Mode::Eval).unwrap();
    assert_close_to_max("last level", &flat(&got[3]), &flat(&want[3]), 1e-4);
}

#[test]
fn real_weights_give_the_reference_logits() {
    let Some(folder) = test_support::weights_dir("effnet-backbone: real_weights_give_the_reference_logits")
    else {
        return;
    };
    for entry in entries("effnet_real_weights") {
        let variant = entry.file.trim_start_matches("real_").trim_end_matches(".safetensors");
        let config = EfficientNetConfig::tensorflow(&Variant::find(variant).unwrap());
        let path = folder.join(format!("efficientnet_{variant}.safetensors"));
        let classifier = EfficientNetClassifier::load_with(&path, &config, &Device::Cpu).unwrap();
        let backbone = EfficientNet::load_with(&path, &config, &Device::Cpu).unwrap();
        let want = entry.tensors();
        for name in want.names() {
            let Some(photo) = name.strip_suffix("/input") else { continue };
            // The reference's inputs are normalised to [-1, 1]; the network does that itself.
            let input = Tensor::from_vec(want.f32(&name), want.dims(&name), &Device::Cpu).unwrap();
            let images = input.affine(0.5, 0.5).unwrap();
            let logits = classifier.logits(&images).unwrap();
            let expected = want.f32(&format!("{photo}/logits"));
            assert_close(photo, &flat(&logits), &expected, entry.tolerance(&["logits_abs"]));
            let levels = backbone.features(&images).unwrap();
            let expected = want.f32(&format!("{photo}/reduction_5"));
            assert_close_to_max(photo, &flat(&levels[3]), &expected, 1e-4);
        }
    }
}

#[test]
fn the_loss_of_the_example_falls() {
    let history = candle_features::train().unwrap();
    assert!(history.iter().all(|loss| loss.is_finite()), "{history:?}");
    assert!(history[history.len() - 1] < 0.5 * history[0], "{history:?}");
}
