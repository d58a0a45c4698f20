//! The command on the reference files and on files made here, by its exit status, its report and what it wrote.

#[path = "../../crates/net-formats/tests/torch_writer/mod.rs"]
mod torch_writer;

use effnet_backbone::{EfficientNet, EfficientNetConfig, Layout, Naming, weight_map};
use effnet_scaling::{NetworkSpec, Variant};
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use net_formats::safetensors_file::{self, ArrayRef};
use net_formats::{Averages, NamedArray, WeightsInfo};
use net_graph::{Builder, Padding};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use test_support::{Entry, assert_close_to_max, rule_weight};
use torch_writer::{Value::Storage, dict, legacy, ordered, tensor, zipped};
use yolo_neck_head::{NeckScale, yolov8};

const TOY: [&str; 6] = ["--variant", "b0", "--width", "0.25", "--depth", "0.4"];

fn toy_spec() -> NetworkSpec {
    NetworkSpec::b0().scaled(0.25, 0.4).unwrap()
}

fn convert(source: &Path, out: &Path, more: &[&str]) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("convert-weights").arg(source).arg("--out").arg(out).args(["--json", "-"]).args(more);
    let output = command.output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn expect_success(source: &Path, out: &Path, more: &[&str]) -> Value {
    let (output, json) = convert(source, out, more);
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    json
}

/// The error of a conversion that has to fail and to write nothing.
fn expect_failure(source: &Path, out: &Path, more: &[&str]) -> (String, Value) {
    let (output, json) = convert(source, out, more);
    assert_eq!(output.status.code(), Some(1), "{}", source.display());
    assert!(!out.exists());
    (String::from_utf8_lossy(&output.stderr).into_owned(), json)
}

/// The reference maps of an entry from the weights of a file.
fn assert_forward(entry: &Entry, weights: &Path, set: &str) {
    let archive = net_formats::load(weights, Averages::Prefer).unwrap();
    let info = WeightsInfo::from_metadata(&archive.metadata[WeightsInfo::METADATA_KEY]).unwrap();
    assert_eq!(entry.meta["padding"].as_str().unwrap().to_lowercase(), info.padding.name());
    assert_eq!(entry.meta["bn_eps"], info.bn_eps);
    let mut builder = Builder::new();
    let image = builder.input("image", 3).unwrap();
    let config = EfficientNetConfig {
        spec: toy_spec(),
        padding: Padding::Same,
        bn_eps: info.bn_eps,
        bn_momentum: 0.01,
        drop_path: 0.0,
        dropout: 0.0,
        normalization: None,
        prefix: String::new(),
        reductions: vec![5],
    };
    let nodes =
        EfficientNet::new(config).build_classifier(&mut builder, image, info.classes.unwrap()).unwrap();
    let graph = builder.finish();
    let mut params = Params::init(&graph, |_| || 0.0);
    for param in graph.params() {
        params.set(&param.name, &archive.arrays[&param.name].values).unwrap();
    }
    assert_eq!(graph.params().len(), archive.arrays.len());
    let outputs = [nodes.endpoints.reductions[2], nodes.endpoints.reductions[4], nodes.logits];
    let model = InferModel::new(Arc::new(graph), &params, &outputs, Isa::best(), Precision::F32).unwrap();
    let want = entry.tensors();
    let dims = want.dims("input");
    let mut plan = model.plan(dims[0], dims[2], dims[3]).unwrap();
    plan.run(Images::Nchw(&want.f32("input"))).unwrap();
    for (index, name) in ["reduction_3", "reduction_5", "logits"].into_iter().enumerate() {
        let name = format!("{set}/{name}");
        let tolerance = entry.tolerance(&["rel_to_max"]);
        assert_close_to_max(&name, &plan.output_nchw(index), &want.f32(&name), tolerance);
    }
}

#[test]
fn golden_tensorflow_and_keras_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("toy.safetensors");
    for entry in test_support::entries("weight_conversion") {
        let files = entry.path().with_extension("");
        let raw: Vec<&str> = TOY.into_iter().chain(["--raw"]).collect();
        let cases: [(&str, &str, &[&str]); 6] = [
            ("model.ckpt", "ema", &TOY),
            ("model.ckpt.index", "ema", &TOY),
            ("", "ema", &TOY),
            ("model.ckpt.data-00000-of-00001", "raw", &raw),
            ("toy_legacy_weights.h5", "ema", &TOY),
            ("toy.weights.h5", "ema", &TOY),
        ];
        for (file, set, options) in cases {
            let report = expect_success(&files.join(file), &out, options);
            let expected = if file.ends_with("h5") { "keras" } else { "tensorflow" };
            assert_eq!(report["format"], expected, "{file}");
            assert_eq!(report["naming"], expected, "{file}");
            assert_eq!((&report["classes"], &report["padding"]), (&10.into(), &"same".into()));
            assert_eq!(report["unexpected"], Value::Array(Vec::new()), "{file}");
            assert_forward(&entry, &out, set);
        }
    }
}

#[test]
fn golden_keras_layers_are_found_by_their_numbers_where_names_are_lacking() {
    let folder = tempfile::tempdir().unwrap();
    let (nameless, out) = (folder.path().join("toy.weights.h5"), folder.path().join("toy.safetensors"));
    for entry in test_support::entries("weight_conversion") {
        let mut bytes = std::fs::read(entry.path().with_extension("").join("toy.weights.h5")).unwrap();
        let attribute = |window: &[u8]| window == b"name\0";
        while let Some(at) = bytes.windows(5).position(attribute) {
            bytes[at] = b'g';
        }
        std::fs::write(&nameless, bytes).unwrap();
        let report = expect_success(&nameless, &out, &TOY);
        assert_eq!((&report["naming"], &report["unexpected"]), (&"keras".into(), &serde_json::json!([])));
        assert_forward(&entry, &out, "ema");
    }
}

/// The toy network as `torch.save` writes it, with counters, inside a training checkpoint.
#[test]
fn golden_torch_checkpoints_of_the_toy_network() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("checkpoint"), folder.path().join("toy.safetensors"));
    for entry in test_support::entries("weight_conversion") {
        let gain = entry.meta["gain"].as_f64().unwrap();
        let (mut items, mut storages) = (Vec::new(), Vec::new());
        for (index, (name, array)) in rule_arrays(&toy_spec(), 10, Naming::Lukemelas, gain).iter().enumerate()
        {
            let key: &'static str = index.to_string().leak();
            let dims: Vec<i32> = array.dims.iter().map(|dim| *dim as i32).collect();
            let strides: Vec<i32> = (1..=dims.len()).map(|axis| dims[axis..].iter().product()).collect();
            let storage = Storage("DoubleStorage", key, array.values.len() as i32);
            items.push((&*format!("module.{name}").leak(), tensor(storage, 0, &dims, &strides)));
            let data = array.values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
            storages.push((key, array.values.len() as u64, data));
        }
        let counter = tensor(Storage("LongStorage", "counter", 1), 0, &[], &[]);
        items.push(("module._bn0.num_batches_tracked", counter));
        storages.push(("counter", 1, 7i64.to_le_bytes().to_vec()));
        let checkpoint = dict(vec![("state_dict", ordered(items))]);
        for bytes in [zipped(&checkpoint, &storages), legacy(&checkpoint, &storages)] {
            std::fs::write(&path, bytes).unwrap();
            let report = expect_success(&path, &out, &TOY);
            assert_eq!((&report["format"], &report["naming"]), (&"torch".into(), &"lukemelas".into()));
            assert_eq!((&report["taken_from"], &report["prefix"]), (&"state_dict".into(), &"module.".into()));
            assert_eq!(report["converted"], serde_json::json!({"f64": report["mapped"]}));
            assert_eq!(report["ignored"].as_array().unwrap().len(), 1);
            assert_forward(&entry, &out, "ema");
        }
    }
}

/// A field of a protocol-buffer message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(content.len()), content.to_vec()].concat()
}

#[test]
fn golden_onnx_initialisers_of_the_toy_network() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("toy.onnx"), folder.path().join("toy.safetensors"));
    let model = |arrays: &BTreeMap<String, NamedArray>| {
        let initializer = |(name, array): (&String, &NamedArray)| {
            let dims: Vec<u8> =
                array.dims.iter().flat_map(|dim| [vec![0x08], varint(*dim)].concat()).collect();
            let data = torch_writer::floats(&array.values);
            field(5, &[dims, vec![0x10, 1], field(8, name.as_bytes()), field(9, &data)].concat())
        };
        let graph: Vec<u8> = arrays.iter().flat_map(initializer).collect();
        [vec![0x08, 8], field(7, &graph)].concat()
    };
    for entry in test_support::entries("weight_conversion") {
        let gain = entry.meta["gain"].as_f64().unwrap();
        let mut arrays = rule_arrays(&toy_spec(), 10, Naming::Timm, gain);
        std::fs::write(&path, model(&arrays)).unwrap();
        let report = expect_success(&path, &out, &TOY);
        assert_eq!((&report["format"], &report["naming"]), (&"onnx".into(), &"timm".into()));
        assert_forward(&entry, &out, "ema");
        std::fs::remove_file(&out).unwrap();
        let stem = arrays.remove("conv_stem.weight").unwrap();
        arrays.insert("onnx::Conv_512".into(), stem);
        std::fs::write(&path, model(&arrays)).unwrap();
        assert!(expect_failure(&path, &out, &TOY).0.contains("TrainingMode.PRESERVE"));
    }
}

fn varint(number: usize) -> Vec<u8> {
    match number {
        0..0x80 => vec![number as u8],
        _ => [vec![number as u8 | 0x80], varint(number >> 7)].concat(),
    }
}

#[test]
fn what_timm_publishes_beside_its_weights_tells_the_convention() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let path = source(&folder, &rule_arrays(&NetworkSpec::b0(), 5, Naming::Timm, 6.0));
    let cases = [
        ("tf_efficientnet_b0", "ns_jft_in1k", "same", "imagenet"),
        ("tf_efficientnet_b0", "ap_in1k", "same", "lite"),
        ("efficientnet_b0", "ra_in1k", "symmetric", "imagenet"),
    ];
    for (architecture, tag, padding, normalization) in cases {
        let config = serde_json::json!({"architecture": architecture, "pretrained_cfg": {"tag": tag}});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let report = expect_success(&path, &out, &[]);
        assert_eq!((&report["padding"], &report["normalization"]), (&padding.into(), &normalization.into()));
        assert_eq!(report["assumed"], serde_json::json!([]));
    }
}

/// Weights by the rule, in the names and layouts of a naming.
fn rule_arrays(
    spec: &NetworkSpec,
    classes: usize,
    naming: Naming,
    gain: f64,
) -> BTreeMap<String, NamedArray> {
    let array = |weight: effnet_backbone::MappedWeight| {
        assert_eq!(weight.layout, Layout::Torch);
        let values = rule_weight("", gain, &weight.name, &weight.dims);
        let stored_as = net_formats::ElementType::F32;
        (weight.file_name, NamedArray { dims: weight.dims, values, stored_as })
    };
    weight_map(spec, classes, naming).into_iter().map(array).collect()
}

fn save(path: &Path, arrays: &BTreeMap<String, NamedArray>, metadata: Option<(&str, &str)>) {
    let refs = arrays
        .iter()
        .map(|(name, array)| (name.clone(), ArrayRef { dims: &array.dims, values: &array.values }));
    safetensors_file::write(path, &refs.collect(), metadata).unwrap();
}

fn source(folder: &tempfile::TempDir, arrays: &BTreeMap<String, NamedArray>) -> PathBuf {
    let path = folder.path().join("source.safetensors");
    save(&path, arrays, None);
    path
}

#[test]
fn golden_torch_names_of_the_toy_network() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("toy.safetensors");
    for entry in test_support::entries("weight_conversion") {
        let gain = entry.meta["gain"].as_f64().unwrap();
        for naming in [Naming::Timm, Naming::Lukemelas] {
            let path = source(&folder, &rule_arrays(&toy_spec(), 10, naming, gain));
            let report = expect_success(&path, &out, &[&TOY[..], &["--verify"]].concat());
            assert_eq!(report["naming"], naming.name());
            assert_eq!(report["verified"]["top5"].as_array().unwrap().len(), 5);
            assert_forward(&entry, &out, "ema");
        }
    }
}

#[test]
fn golden_real_weights_convert_to_themselves() {
    let Some(weights) = test_support::weights_dir("xtask: golden_real_weights_convert_to_themselves") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    for entry in test_support::entries("weights") {
        let file = weights.join(Path::new(&entry.file).file_name().unwrap());
        let report = expect_success(&file, &out, &["--verify"]);
        assert_eq!((&report["variant"], &report["normalization"]), (&"lite0".into(), &"lite".into()));
        assert_eq!(report["verified"]["top5"].as_array().unwrap().len(), 5);
        let arrays = |path: &Path| net_formats::load(path, Averages::Prefer).unwrap().arrays;
        assert_eq!(arrays(&file), arrays(&out));
    }
}

#[test]
fn every_variant_is_recognised_by_its_shapes_and_returns_by_its_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let (out, back) = (folder.path().join("out.safetensors"), folder.path().join("back.safetensors"));
    // The larger ones differ from these in numbers only and would make the test slow.
    for name in ["b0", "b1", "b3", "lite0", "lite3"] {
        let spec = Variant::find(name).unwrap().network();
        let namings: &[Naming] = match name {
            "b0" | "b1" | "b3" => &[Naming::Timm, Naming::Torchvision, Naming::Lukemelas],
            _ => &[Naming::Timm, Naming::Lukemelas],
        };
        for naming in namings {
            let arrays = rule_arrays(&spec, 3, *naming, 6.0);
            let report = expect_success(&source(&folder, &arrays), &out, &[]);
            assert_eq!((&report["variant"], &report["classes"]), (&name.into(), &3.into()), "{naming}");
            let (padding, eps) =
                if *naming == Naming::Torchvision { ("symmetric", 1e-5) } else { ("same", 1e-3) };
            assert_eq!((&report["padding"], &report["bn_eps"]), (&padding.into(), &eps.into()));
            expect_success(&out, &back, &["--to", naming.name()]);
            assert_eq!(net_formats::load(&back, Averages::Prefer).unwrap().arrays, arrays, "{name} {naming}");
        }
    }
}

#[test]
fn kernels_of_experts_are_written_in_timms_names_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (out, back) = (folder.path().join("out.safetensors"), folder.path().join("back.safetensors"));
    let arrays = rule_arrays(&NetworkSpec::condconv(4), 3, Naming::Timm, 6.0);
    let path = source(&folder, &arrays);
    for options in [&[][..], &["--variant", "tf_efficientnet_cc_b0_4e.in1k"]] {
        let report = expect_success(&path, &out, options);
        assert_eq!((&report["variant"], &report["classes"]), (&"cc-b0-4e".into(), &3.into()));
        assert_eq!((&report["padding"], &report["bn_eps"]), (&"same".into(), &1e-3.into()));
        assert_eq!((&report["normalization"], &report["assumed"]), (&"lite".into(), &serde_json::json!([])));
    }
    expect_success(&out, &back, &["--to", "timm", "--verify"]);
    assert_eq!(net_formats::load(&back, Averages::Prefer).unwrap().arrays, arrays);
    std::fs::remove_file(&back).unwrap();
    for target in ["lukemelas", "torchvision"] {
        let (error, _) = expect_failure(&path, &back, &["--to", target]);
        assert!(error.contains("experts") && error.contains("cc-b0-4e"), "{error}");
    }
    let eight =
        source(&folder, &rule_arrays(&Variant::find("cc-b1-8e").unwrap().network(), 3, Naming::Timm, 6.0));
    assert_eq!(expect_success(&eight, &out, &[])["variant"], "cc-b1-8e");
    let keras = [("stem_conv/kernel".to_string(), arrays["conv_stem.weight"].clone())];
    let path = source(&folder, &keras.into_iter().collect());
    let (error, _) = expect_failure(&path, &back, &["--variant", "cc-b0-4e"]);
    assert!(error.contains("keras's names are not those of `cc-b0-4e`"), "{error}");
}

/// Values of PyTorch's `[a, b, c, d]` in the order that TensorFlow keeps them: convolutions `[c, d, b, a]`, depthwise ones
/// `[c, d, a, b]`.
fn tensorflow_kernel(values: &[f32], [a, b, c, d]: [usize; 4], depthwise: bool) -> Vec<f32> {
    let mut kernel = Vec::new();
    let at = |i, j, y, x| values[((i * b + j) * c + y) * d + x];
    for (y, x) in (0..c).flat_map(|y| (0..d).map(move |x| (y, x))) {
        match depthwise {
            true => (0..a).for_each(|i| kernel.extend((0..b).map(|j| at(i, j, y, x)))),
            false => (0..b).for_each(|j| kernel.extend((0..a).map(|i| at(i, j, y, x)))),
        }
    }
    kernel
}

/// An array in TensorFlow's layout.
fn tensorflow_array(array: &NamedArray, layout: Layout) -> NamedArray {
    let NamedArray { dims, values, stored_as } = array;
    let four = || <[usize; 4]>::try_from(dims.as_slice()).unwrap();
    let values = match layout {
        Layout::Torch => values.clone(),
        Layout::HeightWidthInOut => tensorflow_kernel(values, four(), false),
        Layout::HeightWidthChannels => tensorflow_kernel(values, four(), true),
        Layout::InOut => tensorflow_kernel(values, [dims[0], dims[1], 1, 1], false),
        Layout::Experts { dims, depthwise } => {
            let kernels = values.chunks(dims.iter().product());
            kernels.flat_map(|kernel| tensorflow_kernel(kernel, dims, depthwise)).collect()
        }
    };
    NamedArray { dims: layout.dims_in_file(dims), values, stored_as: *stored_as }
}

/// The name that TensorFlow gives a variable in graph mode. Keras counts the layers of experts from the first block that
/// has them, in each also a full convolution that is made before the expansion and never called.
fn tensorflow_name(name: &str, first: usize) -> String {
    const MODEL: &str = "efficientnet-condconv-b0-4e";
    let parts: Vec<_> = name.split('/').collect();
    let [block, layer, kernel @ ("condconv_kernel" | "depthwise_condconv_kernel")] = parts[..] else {
        return format!("{MODEL}/{name}");
    };
    let block_index = block["blocks_".len()..].parse::<usize>().unwrap() - first;
    let number = match layer {
        "cond_conv2d" => 3 * block_index + 1,
        "cond_conv2d_1" => 3 * block_index + 2,
        _ => block_index,
    };
    let kind = layer.trim_end_matches("_1");
    let layer = if number == 0 { kind.to_string() } else { format!("{kind}_{number}") };
    format!("{MODEL}/model/{block}/{layer}/{kernel}")
}

#[test]
fn kernels_of_experts_are_found_however_tensorflow_numbers_their_layers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let spec = NetworkSpec::condconv(4);
    let ours = rule_arrays(&spec, 3, Naming::Timm, 6.0);
    let first = spec.blocks().iter().position(|block| block.experts.is_some()).unwrap();
    let renamed = weight_map(&spec, 3, Naming::TensorFlow).into_iter().map(|weight| {
        let name = tensorflow_name(&weight.file_name, first);
        (name, tensorflow_array(&ours[&weight.name], weight.layout))
    });
    let mut theirs: BTreeMap<String, NamedArray> = renamed.collect();
    let report = expect_success(&source(&folder, &theirs), &out, &["--verify"]);
    assert_eq!((&report["variant"], &report["naming"]), (&"cc-b0-4e".into(), &"tensorflow".into()));
    assert_eq!((&report["padding"], &report["bn_eps"]), (&"same".into(), &1e-3.into()));
    assert_eq!(report["normalization"], "lite-tensorflow");
    assert_eq!(report["unexpected"], serde_json::json!([]));
    assert_eq!(net_formats::load(&out, Averages::Prefer).unwrap().arrays, ours);

    std::fs::remove_file(&out).unwrap();
    let projection = "efficientnet-condconv-b0-4e/model/blocks_9/cond_conv2d_5/condconv_kernel";
    theirs.remove(projection).unwrap();
    let (_, report) = expect_failure(&source(&folder, &theirs), &out, &[]);
    assert_eq!(report["missing"], serde_json::json!(["blocks.4.1.conv_pwl.weight"]));
}

#[test]
fn what_is_missing_misshaped_and_unexpected_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let mut arrays = rule_arrays(&NetworkSpec::b0(), 5, Naming::Timm, 6.0);
    arrays.remove("blocks.2.0.bn1.bias");
    arrays.get_mut("bn1.weight").unwrap().dims = vec![4, 8];
    arrays.get_mut("bn2.weight").unwrap().values[7] = f32::NAN;
    let extra = NamedArray { dims: vec![1], values: vec![0.5], ..arrays["bn1.bias"].clone() };
    arrays.insert("extra.weight".into(), extra);
    let (_, report) = expect_failure(&source(&folder, &arrays), &out, &[]);
    assert_eq!(report["missing"], serde_json::json!(["blocks.2.0.bn1.bias"]));
    assert_eq!(report["unexpected"], serde_json::json!(["extra.weight"]));
    let misshaped = serde_json::json!([{"name": "bn1.weight", "expected": [32], "got": [4, 8]}]);
    assert_eq!(report["misshaped"], misshaped);
    assert_eq!(report["non_finite"], serde_json::json!(["bn2.weight"]));
    assert_eq!((&report["out"], &report["sha256"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_backbone_without_its_head_has_to_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let all = rule_arrays(&NetworkSpec::b0(), 5, Naming::Timm, 6.0);
    let ends = ["conv_head.", "bn2.", "classifier."];
    let backbone = all.into_iter().filter(|(name, _)| !ends.iter().any(|end| name.starts_with(end)));
    let arrays = backbone.map(|(name, array)| (format!("backbone.{name}"), array)).collect();
    let path = source(&folder, &arrays);
    let (_, report) = expect_failure(&path, &out, &[]);
    assert_eq!(report["missing"].as_array().unwrap().len(), 7);
    let report = expect_success(&path, &out, &["--headless"]);
    assert_eq!((&report["naming"], &report["classes"]), (&"effyolo".into(), &Value::Null));
    assert_eq!(report["absent"].as_array().unwrap().len(), 7);
}

#[test]
fn torchvision_is_refused_where_it_would_run_the_weights_wrongly() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let b0 = source(&folder, &rule_arrays(&NetworkSpec::b0(), 5, Naming::Timm, 6.0));
    let message = |options: &[&str]| {
        let options: Vec<&str> = options.iter().copied().chain(["--to", "torchvision"]).collect();
        expect_failure(&b0, &out, &options).0
    };
    assert!(message(&[]).contains("SAME"));
    assert!(message(&["--padding", "symmetric"]).contains("epsilon of 0.00001"));
    let (error, _) = expect_failure(&b0, &out, &["--to", "lukemelas", "--padding", "symmetric"]);
    assert!(error.contains("symmetric"), "{error}");
    let report = expect_success(&b0, &out, &["--variant", "efficientnet_b0", "--to", "torchvision"]);
    assert_eq!(report["assumed"], serde_json::json!([]));
    std::fs::remove_file(&out).unwrap();
    let lite = source(&folder, &rule_arrays(&NetworkSpec::lite0(), 5, Naming::Lukemelas, 6.0));
    assert!(expect_failure(&lite, &out, &["--to", "torchvision"]).0.contains("lite0"));
}

#[test]
fn a_convention_that_nothing_tells_is_said_to_be_assumed_and_then_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (out, again) = (folder.path().join("out.safetensors"), folder.path().join("again.safetensors"));
    let path = source(&folder, &rule_arrays(&NetworkSpec::b0(), 5, Naming::Timm, 6.0));
    let report = expect_success(&path, &out, &[]);
    assert_eq!(report["assumed"], serde_json::json!(["padding", "bn_eps"]));
    let given = ["--padding", "symmetric", "--bn-eps", "0.01", "--normalize", "none"];
    let report = expect_success(&path, &out, &given);
    assert_eq!(report["assumed"], serde_json::json!([]));
    let report = expect_success(&out, &again, &[]);
    assert_eq!((&report["padding"], &report["bn_eps"]), (&"symmetric".into(), &0.01.into()));
    assert_eq!(report["normalization"], "none");
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn other_networks_are_refused_with_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let one = NamedArray { dims: vec![1], values: vec![0.5], stored_as: net_formats::ElementType::F32 };
    let named = |names: &[&str]| names.iter().map(|name| (name.to_string(), one.clone())).collect();
    let yolo = named(&["model.0.conv.weight", "model.1.conv.weight"]);
    assert!(expect_failure(&source(&folder, &yolo), &out, &[]).0.contains("AGPL-3.0"));
    let mobile = named(&["features.0.0.weight", "features.1.conv.0.0.weight"]);
    assert!(expect_failure(&source(&folder, &mobile), &out, &[]).0.contains("the closest"));
    let two = named(&["student.conv_stem.weight", "teacher.conv_stem.weight"]);
    assert!(expect_failure(&source(&folder, &two), &out, &[]).0.contains("--prefix"));
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no weights").unwrap();
    assert!(expect_failure(&text, &out, &[]).0.contains("no weights"));
}

#[test]
fn a_stock_yolov8_keeps_its_names_and_its_licence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    for scale in [NeckScale::N, NeckScale::S] {
        let detector = yolov8(scale, 7, 0.0).unwrap();
        let arrays = detector.graph.params().iter().map(|param| {
            let values = rule_weight("", 6.0, &param.name, &param.dims);
            let array =
                NamedArray { dims: param.dims.clone(), values, stored_as: net_formats::ElementType::F32 };
            (param.name.clone(), array)
        });
        let arrays: BTreeMap<_, _> = arrays.collect();
        let report = expect_success(&source(&folder, &arrays), &out, &[]);
        assert_eq!(report["variant"], format!("yolov8{}", scale.letter()));
        assert_eq!((&report["naming"], &report["classes"]), (&"ultralytics".into(), &7.into()));
        assert_eq!((&report["padding"], &report["normalization"]), (&"symmetric".into(), &"none".into()));
        assert!(report["notice"].as_str().unwrap().contains("AGPL-3.0"));
        let written = net_formats::load(&out, Averages::Prefer).unwrap();
        assert_eq!(written.arrays, arrays);
        let info = WeightsInfo::from_metadata(&written.metadata[WeightsInfo::METADATA_KEY]).unwrap();
        assert_eq!(info.notice.as_deref(), report["notice"].as_str());
    }
}

#[test]
fn a_detector_of_ours_gives_its_backbone_with_the_conventions_of_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let spec = NetworkSpec::b0().scaled(0.5, 0.5).unwrap();
    let arrays = rule_arrays(&spec, 2, Naming::Timm, 6.0);
    let arrays: BTreeMap<_, _> =
        arrays.into_iter().map(|(name, array)| (format!("backbone.{name}"), array)).collect();
    let model = "task: detect\nbackbone: {name: efficientnet-b0, width: 0.5, depth: 0.5, padding: symmetric, bn_eps: 0.002, \
                 normalize: imagenet, levels: [3, 4, 5]}\nneck: {scale: n}\nclasses: 2\n";
    let card = serde_json::json!({"sha256": "", "card": {"format": 1, "model": model}}).to_string();
    let path = folder.path().join("best.safetensors");
    save(&path, &arrays, Some(("effyolo", &card)));
    let report = expect_success(&path, &out, &[]);
    assert_eq!((&report["naming"], &report["variant"]), (&"effyolo".into(), &"b0 x 0.5 x 0.5".into()));
    assert_eq!((&report["padding"], &report["bn_eps"]), (&"symmetric".into(), &0.002.into()));
    assert_eq!((&report["normalization"], &report["assumed"]), (&"imagenet".into(), &serde_json::json!([])));
}
