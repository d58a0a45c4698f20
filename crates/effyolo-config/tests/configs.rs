//! Every file of `configs/` is read, built, and costs what its head comment says.

use effyolo_config::{Decay, EmaRamp, Model, ModelSpec, Outputs, Task, TrainSpec};
use std::path::{Path, PathBuf};

fn configs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut files = Vec::new();
    for task in ["detect", "classify"] {
        let folder = std::fs::read_dir(root.join(task)).expect("a folder of configurations");
        files.extend(folder.map(|entry| entry.expect("a file").path()));
    }
    files.sort();
    files
}

/// Parameters, GFLOP and image side of the comment `# Cost: ... parameters, ... GFLOP ... at 640x640 ...`.
fn stated_cost(text: &str) -> (u64, f64, usize) {
    let line = text.lines().find_map(|line| line.strip_prefix("# Cost: ")).expect("a line `# Cost: `");
    let words: Vec<&str> = line.split_whitespace().collect();
    let before = |unit: &str| words[words.iter().position(|word| word.starts_with(unit)).expect(unit) - 1];
    let at = words.iter().position(|word| *word == "at").expect("a size") + 1;
    let side = words[at].split('x').next().expect("a side");
    let params = before("parameters").replace(',', "");
    (
        params.parse().expect("parameters"),
        before("GFLOP").parse().expect("GFLOP"),
        side.parse().expect("a side"),
    )
}

#[test]
fn every_configuration_costs_what_it_says() {
    for path in configs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let spec = ModelSpec::from_yaml(&text, &path.display().to_string()).unwrap();
        let graph = spec.build(None).unwrap().graph;
        let (params, gflop, side) = stated_cost(&text);
        let cost = graph.cost(&graph.shapes(1, side, side).unwrap());
        let got = format!("{:.2}", 2.0 * cost.macs as f64 / 1e9);
        assert_eq!((cost.params, got), (params, format!("{gflop:.2}")), "{}", path.display());
        assert!(spec.notes.is_empty(), "{}: {:?}", path.display(), spec.notes);
    }
}

#[test]
fn every_configuration_is_written_back() {
    for path in configs() {
        let spec = ModelSpec::load(&path).unwrap();
        let again = ModelSpec::from_yaml(&spec.to_yaml(), "written back").unwrap();
        // What is written back is resolved, and so states every convention.
        let again = ModelSpec { stated: spec.stated.clone(), ..again };
        assert_eq!(spec, again, "{}", path.display());
    }
}

#[test]
fn every_file_of_training_settings_suits_the_tasks_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let load = |model: &str| ModelSpec::load(&root.join(model)).unwrap();
    let (detector, classifier) = (load("detect/effnet-lite0-n.yaml"), load("classify/effnet-b0.yaml"));
    let (paper, fine) =
        (root.join("train/efficientnet-rmsprop.yaml"), root.join("train/finetune-adamw.yaml"));

    let mut spec = classifier.clone();
    spec.apply_file(&paper).unwrap();
    let TrainSpec { decay, ema_ramp, lr0, batch, .. } = spec.train;
    assert_eq!(decay, Decay::Steps { factor: 0.97, epochs: 2.4 });
    assert_eq!((ema_ramp, lr0 / batch as f64), (EmaRamp::Updates, 0.256 / 4096.0));
    let again = ModelSpec::from_yaml(&spec.to_yaml(), "written back").unwrap();
    assert_eq!(again.train, spec.train);
    let message = detector.clone().apply_file(&paper).unwrap_err().to_string();
    assert!(message.contains("rmsprop.yaml: `") && message.contains("it is for classification"), "{message}");

    for mut spec in [detector, classifier] {
        spec.apply_file(&fine).unwrap();
        assert_eq!((spec.train.layer_decay, spec.train.decay), (0.75, Decay::Cosine));
    }
}

#[test]
fn every_configuration_builds_for_other_class_counts() {
    for path in configs() {
        let spec = ModelSpec::load(&path).unwrap();
        for classes in [1, 3, 300] {
            let model = spec.build(Some(classes)).unwrap();
            let channels = model.graph.node(model.prediction()).channels;
            let boxes = if matches!(spec.task, Task::Detect { .. }) { 4 } else { 0 };
            assert_eq!(channels, boxes + classes, "{}", path.display());
        }
    }
}

fn detector(backbone: &str, neck: char) -> ModelSpec {
    let text =
        format!("task: detect\nbackbone: {{name: {backbone}}}\nneck: {{scale: {neck}}}\nclasses: 80\n");
    ModelSpec::from_yaml(&text, "test").unwrap()
}

fn cost(model: &Model, side: usize) -> (f64, f64) {
    let cost = model.graph.cost(&model.graph.shapes(1, side, side).unwrap());
    (cost.params as f64 / 1e6, 2.0 * cost.macs as f64 / 1e9)
}

#[test]
fn any_backbone_under_any_neck() {
    let table = [
        ("b0", [(5.69, 11.7), (10.01, 22.1), (17.93, 46.0)]),
        ("b1", [(8.20, 14.7), (12.52, 25.1), (20.44, 49.0)]),
        ("b2", [(9.33, 16.1), (13.67, 26.6), (21.59, 50.5)]),
        ("b3", [(12.26, 21.0), (16.62, 31.5), (24.54, 55.4)]),
        ("b4", [(18.96, 29.7), (23.36, 40.2), (31.29, 64.2)]),
        ("b5", [(29.57, 43.4), (34.00, 54.0), (41.95, 78.0)]),
        ("b6", [(41.76, 59.6), (46.23, 70.3), (54.19, 94.2)]),
        ("b7", [(64.57, 88.9), (69.08, 99.6), (77.05, 123.6)]),
    ];
    for (variant, row) in table {
        for (neck, (params, gflop)) in "nsm".chars().zip(row) {
            let model = detector(&format!("efficientnet-{variant}"), neck).build(None).unwrap();
            let got = cost(&model, 640);
            assert!(
                (got.0 - params).abs() < 0.0051,
                "{variant} + {neck}: {} M parameters, expected {params}",
                got.0
            );
            assert!((got.1 - gflop).abs() < 0.051, "{variant} + {neck}: {} GFLOP, expected {gflop}", got.1);
        }
    }
}

#[test]
fn parameters_belong_to_backbone_neck_or_head() {
    let model = detector("efficientnet-b0", 'n').build(None).unwrap();
    for param in model.graph.params() {
        let in_backbone = param.name.starts_with("backbone.");
        assert!(
            in_backbone || param.name.starts_with("neck.") || param.name.starts_with("head."),
            "{}",
            param.name
        );
        assert_eq!(model.backbone_stage(&param.name).is_some(), in_backbone, "{}", param.name);
    }
    assert_eq!(model.backbone_stage("backbone.conv_stem.weight"), Some(0));
    assert_eq!(model.backbone_stage("backbone.blocks.6.0.bn3.bias"), Some(7));
    let stock = detector("yolov8-csp", 'n').build(None).unwrap();
    assert_eq!(stock.backbone_stage("model.0.conv.weight"), Some(0));
    assert_eq!(stock.backbone_stage("model.8.cv1.conv.weight"), Some(4));
    assert_eq!(stock.backbone_stage("model.9.cv1.conv.weight"), None);
}

#[test]
fn four_levels_on_both_backbones() {
    for backbone in ["efficientnet-b0, levels: [2, 3, 4, 5]", "yolov8-csp, levels: [2, 3, 4, 5]"] {
        let spec = detector(backbone, 'n');
        let Outputs::Detector(head) = spec.build(None).unwrap().outputs else { panic!("a detector") };
        assert_eq!((head.strides, spec.stride()), (vec![4, 8, 16, 32], 32), "{backbone}");
    }
}

#[test]
fn current_rules_start_the_box_biases_at_two() {
    let mut spec = detector("efficientnet-b0", 'n');
    let bias = |spec: &ModelSpec| {
        let model = spec.build(None).unwrap();
        let find = |param: &&net_graph::Param| param.name == "head.cv2.0.2.bias";
        model.graph.params().iter().find(find).unwrap().init.clone()
    };
    assert_eq!(bias(&spec), net_graph::Init::Constant(1.0));
    spec.set(&["rules=current"], "--set").unwrap();
    assert_eq!(bias(&spec), net_graph::Init::Constant(2.0));
}

#[test]
fn the_configuration_for_pretrained_weights_keeps_their_conventions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("weights/manifest.yaml")).unwrap();
    let manifest: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let weights = manifest["weights"].as_sequence().expect("a list of weights");
    let entry = weights.iter().find(|entry| entry["name"] == "efficientnet-lite0").expect("Lite0");
    let spec = ModelSpec::load(&root.join("configs/detect/effnet-lite0-n.yaml")).unwrap();
    let written: serde_yaml::Value = serde_yaml::from_str(&spec.to_yaml()).unwrap();
    for key in ["name", "padding", "bn_eps", "normalize"] {
        assert_eq!(written["backbone"][key], entry[key], "{key}");
    }
}
