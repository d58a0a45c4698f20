//! Training traces on the compiled plans: train-mode forward, loss, gradients, running statistics, a few steps.

use box_geometry::{CxCyWh, Size};
use cpu_kernels::Isa;
use effnet_backbone::{EfficientNet, EfficientNetConfig};
use effnet_scaling::Variant;
use effyolo_config::{ModelSpec, Optimizer as Rule, TrainSpec};
use net_cpu::{Images, Params, Slot, TrainPlan};
use net_graph::{Builder, Graph, Padding, Role};
use std::sync::Arc;
use test_support::{Entry, Tensors, assert_close_to_max, entries};
use yolo_neck_head::{DetectorGraph, NeckScale, yolov8};
use yolo_train::{
    CpuNetwork, DetectionObjective, ImageBatch, Objective, Optimizer, OptimizerSettings, Rates, Segment,
    SoftTargets, Targets, Trainable, clip_gradient, cross_entropy, initial_params,
};

/// Model, classes and `[B, C, H, W]` from text that starts `<model> nc=<classes>, BxCxHxW:`.
fn case(what: &str) -> (&str, usize, [usize; 4]) {
    let parse = || {
        let (model, rest) = what.split_once(" nc=")?;
        let (classes, rest) = rest.split_once(", ")?;
        let dims =
            rest.split_once(':')?.0.split('x').map(|side| side.parse().ok()).collect::<Option<Vec<_>>>()?;
        Some((model, classes.parse().ok()?, dims.try_into().ok()?))
    };
    parse().unwrap_or_else(|| panic!("expected `<model> nc=<classes>, BxCxHxW: ...`, got `{what}`"))
}

fn number(entry: &Entry, key: &str) -> f64 {
    entry.meta[key].as_f64().unwrap_or_else(|| panic!("`meta.{key}`"))
}

/// Values by the weight rule; constants stay, and the head's last biases are 1 (boxes) and -3 (classes).
fn rule_params(entry: &Entry, graph: &Graph) -> Params {
    let mut params = initial_params(graph, 0);
    for param in graph.params().iter().filter(|param| param.role != Role::Constant) {
        let last_bias = |branch: &str| param.name.contains(branch) && param.name.ends_with(".2.bias");
        let values = match () {
            () if last_bias(".cv2.") => vec![1.0; param.len()],
            () if last_bias(".cv3.") => vec![-3.0; param.len()],
            () => entry.rule_weight(&param.name, &param.dims),
        };
        params.set(&param.name, &values).unwrap();
    }
    params
}

/// Compares by the manifest's tolerances.
struct Expected<'a> {
    entry: &'a Entry,
    want: Tensors,
}

impl Expected<'_> {
    fn check(&self, name: &str, got: &[f32]) {
        let tolerance = self.entry.tolerance(&["tensors_rel_to_max", name]);
        assert_close_to_max(&format!("{}: {name}", self.entry.file), got, &self.want.f32(name), tolerance);
    }

    fn check_log(&self, step: usize, row: &[f64]) {
        let want = &self.want.f32("log")[step * row.len()..(step + 1) * row.len()];
        for (index, (got, want)) in row.iter().zip(want).enumerate() {
            let what = format!("{}: log of step {step}, column {index}", self.entry.file);
            assert_close_to_max(&what, &[*got as f32], &[*want], self.entry.tolerance(&["log_rel"]));
        }
    }

    /// All parameters whose expected values are stored under a prefix.
    fn check_params(&self, prefix: &str, values: impl Fn(&str) -> Vec<f32>) {
        for name in self.want.names() {
            if let Some(param) = name.strip_prefix(prefix) {
                self.check(&name, &values(param));
            }
        }
    }

    fn check_gradients(&self, params: &Params, gradients: &[f32]) {
        self.check_params("grad/", |name| match params.layout.find(name) {
            Some((_, Slot::Trained(range))) => gradients[range.clone()].to_vec(),
            _ => panic!("`{name}` is not trained"),
        });
    }

    fn check_values(&self, prefix: &str, params: &Params) {
        self.check_params(prefix, |name| params.get(name).expect("a parameter of the network").to_vec());
    }
}

/// An optimiser of all trained parameters.
fn sgd(params: &Params, weight_decay: f64) -> Optimizer {
    let segment = |(param, slot): (&net_graph::Param, &Slot)| match slot {
        Slot::Trained(range) => {
            Some(Segment { range: range.clone(), role: param.role, part: 0, lr_factor: 1.0 })
        }
        Slot::Buffer(_) => None,
    };
    let settings = OptimizerSettings { rule: Rule::Sgd, beta1: 0.0, weight_decay, isa: Isa::best() };
    Optimizer::new(settings, params.layout.iter().filter_map(segment).collect(), params.trained.len(), 1)
}

/// `[B, A, C]` as `[B, C, A]`.
fn channels_first(values: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let anchors = values.len() / images / channels;
    let value =
        |image: usize, channel: usize, anchor: usize| values[(image * anchors + anchor) * channels + channel];
    let places =
        (0..images).flat_map(|b| (0..channels).flat_map(move |c| (0..anchors).map(move |a| (b, c, a))));
    places.map(|(b, c, a)| value(b, c, a)).collect()
}

#[test]
fn golden_detector_training_trace() {
    for entry in entries("train_yolo") {
        let expected = Expected { entry: &entry, want: entry.tensors() };
        let (model, classes, [count, _, height, width]) = case(&entry.what);
        let letter =
            model.strip_prefix("yolov8").and_then(|scale| scale.chars().next()).expect("yolov8<scale>");
        let scale = NeckScale::from_letter(letter).expect("a scale");
        let DetectorGraph { graph, head, .. } = yolov8(scale, classes, 1.0).unwrap();
        let size = Size { height, width };
        let objective = DetectionObjective::new(&train_spec(), &head).unwrap();
        let targets = targets(&expected.want, count, size);
        let images = entry.rule_input(count * 3 * height * width, 0.0, 1.0);
        let batch = ImageBatch { images: Images::Nchw(&images), count, size };

        let params = rule_params(&entry, &graph);
        let mut optimizer = sgd(&params, 5e-4);
        let rates = Rates {
            lr: number(&entry, "lr"),
            bias_lr: number(&entry, "lr"),
            momentum: number(&entry, "momentum"),
            accumulate: 1,
        };
        let channels = [4 * head.reg_max, classes];
        let mut network = CpuNetwork::new(Arc::new(graph), head, params, Isa::best());
        for step in 0..expected.want.dims("log")[0] {
            let logits = network.forward(batch, &mut || unreachable!("nothing is dropped")).unwrap();
            let (value, gradient) = objective.value_and_gradient(&logits, size, &targets).unwrap();
            let mut gradients = vec![0.0; network.params().trained.len()];
            network.backward(&gradient, &mut gradients);
            if step == 0 {
                expected.check("raw_boxes", &channels_first(&logits.boxes, count, channels[0]));
                expected.check("raw_scores", &channels_first(&logits.classes, count, channels[1]));
                expected.check_gradients(network.params(), &gradients);
                expected.check_values("after_1_forward/", network.params());
            }
            let norm = clip_gradient(Isa::best(), &mut gradients, number(&entry, "clip_norm"));
            expected
                .check_log(step, &[value.total, value.parts.boxes, value.parts.class, value.parts.dfl, norm]);
            optimizer.step(&mut network.params_mut().trained, &gradients, &rates);
        }
        expected.check_values("after_steps/", network.params());
    }
}

fn targets(want: &Tensors, images: usize, size: Size) -> Targets {
    let (image, class, boxes) = (want.integers("batch_idx"), want.integers("cls"), want.f32("bboxes"));
    let rows = boxes
        .chunks(4)
        .enumerate()
        .map(|(row, b)| (image[row] as usize, class[row] as usize, CxCyWh::new(b[0], b[1], b[2], b[3])));
    Targets::from_normalised(images, size, rows).unwrap()
}

/// Gains of YOLOv8, current rules.
fn train_spec() -> TrainSpec {
    let model =
        "{task: detect, backbone: {name: yolov8-csp}, neck: {scale: n}, classes: 1, train: {rules: current}}";
    ModelSpec::from_yaml(model, "a model for its defaults").unwrap().train
}

#[test]
fn golden_classifier_training_trace() {
    for entry in entries("train_effnet") {
        let expected = Expected { entry: &entry, want: entry.tensors() };
        let (model, classes, [batch, channels, height, width]) = case(&entry.what);
        let mut builder = Builder::new();
        let image = builder.input("image", channels).unwrap();
        let nodes =
            EfficientNet::new(config(&entry, model)).build_classifier(&mut builder, image, classes).unwrap();
        let graph = Arc::new(builder.finish());
        let mut params = rule_params(&entry, &graph);
        let size = (batch, height, width);
        let mut plan =
            TrainPlan::new(graph, params.layout.clone(), &[nodes.logits], size, Isa::best(), &|_| false)
                .unwrap();
        let images = entry.rule_input(batch * channels * height * width, -2.0, 2.0);
        let labels = expected.want.integers("labels");
        let mut optimizer = sgd(&params, 0.0);
        let lr = number(&entry, "lr");
        let rates = Rates { lr, bias_lr: lr, momentum: 0.0, accumulate: 1 };
        for step in 0..expected.want.dims("log")[0] {
            let mut unused = || unreachable!("nothing is dropped");
            plan.forward(&mut params, Images::Nchw(&images), &mut unused).unwrap();
            let logits = plan.output(0).to_vec(); // [B, K]
            let mut gradient = vec![0.0; logits.len()];
            let loss = cross_entropy(&logits, &soft_targets(&labels, classes, 0.0), &mut gradient);
            plan.output_grad(0).copy_from(net_cpu::MapRef::dense(&gradient, classes));
            let mut gradients = vec![0.0; params.trained.len()];
            plan.backward(&params, &mut gradients);
            expected.check_log(step, &[loss]);
            if step == 0 {
                expected.check("logits", &logits);
                let smoothed = soft_targets(&labels, classes, 0.1);
                let loss = cross_entropy(&logits, &smoothed, &mut vec![0.0; logits.len()]);
                expected.check("label_smoothing_0.1_loss", &[loss as f32]);
                expected.check_gradients(&params, &gradients);
                expected.check_values("after_1_forward/", &params);
            }
            optimizer.step(&mut params.trained, &gradients, &rates);
        }
        expected.check_values("after_steps/", &params);
    }
}

/// A classifier with plain timm names, without anything random. A model `tf_...` pads as TensorFlow does.
fn config(entry: &Entry, model: &str) -> EfficientNetConfig {
    let bn = |key: &str| entry.meta["bn"][key].as_f64().expect("`meta.bn`");
    let (name, padding) = match model.strip_prefix("tf_") {
        Some(name) => (name, Padding::Same),
        None => (model, Padding::Symmetric),
    };
    EfficientNetConfig {
        spec: Variant::find(name).unwrap().network(),
        padding,
        bn_eps: bn("eps"),
        bn_momentum: bn("momentum"),
        drop_path: 0.0,
        dropout: 0.0,
        normalization: None,
        prefix: String::new(),
        reductions: vec![3, 4, 5],
    }
}

fn soft_targets(labels: &[i64], classes: usize, smoothing: f32) -> SoftTargets {
    let spread = smoothing / classes as f32;
    let row = |&label: &i64| {
        (0..classes).map(move |k| spread + if k == label as usize { 1.0 - smoothing } else { 0.0 })
    };
    SoftTargets { probabilities: labels.iter().flat_map(row).collect(), classes }
}
