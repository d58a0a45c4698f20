//! Schedules, optimisers and moving averages against recorded trajectories.

use cpu_kernels::{Isa, optim};
use effyolo_config::{Decay, ModelSpec, Optimizer as Rule, Rules, TrainSpec};
use net_graph::Role;
use serde_json::Value;
use test_support::{Tensors, assert_close, entries};
use yolo_train::{Ema, Optimizer, OptimizerSettings, Ramp, Rates, Schedule, Segment};

fn spec_of(case: &Value, rules: Rules) -> TrainSpec {
    let model = "{task: detect, backbone: {name: yolov8-csp}, neck: {scale: n}, classes: 1}";
    let mut spec = ModelSpec::from_yaml(model, "a model for its defaults").unwrap().train;
    let number = |key: &str| case[key].as_f64().unwrap_or_else(|| panic!("{key} in {case}"));
    let whole = |key: &str| number(key) as usize;
    (spec.epochs, spec.batch, spec.nominal_batch) = (whole("epochs"), whole("batch"), whole("nbs"));
    spec.optimizer = if case["optimizer"] == "AdamW" { Rule::AdamW } else { Rule::Sgd };
    spec.decay = if case["cos_lr"] == true { Decay::Cosine } else { Decay::Linear };
    (spec.lr0, spec.lrf, spec.momentum) = (number("lr0"), number("lrf"), number("momentum"));
    (spec.warmup_epochs, spec.warmup_bias_lr) = (number("warmup_epochs"), number("warmup_bias_lr"));
    spec.warmup_momentum = number("warmup_momentum");
    spec.rules = rules;
    spec
}

#[test]
fn golden_schedules() {
    // The manifest gives this tolerance in words: 1e-9 relative.
    let near = |got: f64, want: f64| (got - want).abs() <= 1e-9 * want.abs().max(f64::MIN_POSITIVE);
    for entry in entries("schedules") {
        for case in entry.json().as_array().expect("a list of cases") {
            for (rules, key) in [(Rules::Current, "current"), (Rules::Classic, "classic_min_100")] {
                let schedule = Schedule::new(
                    &spec_of(case, rules),
                    case["batches_per_epoch"].as_u64().unwrap() as usize,
                );
                let name = format!("{} {key}", case["name"]);
                assert_eq!(
                    schedule.warmup_batches() as u64,
                    case[key]["warmup_iterations"].as_u64().unwrap(),
                    "{name}"
                );
                for row in case[key]["rows"].as_array().expect("rows") {
                    let want: Vec<f64> =
                        row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
                    let Rates { lr, bias_lr, momentum, accumulate } = schedule.at(want[0] as usize);
                    let equal = near(lr, want[2]) && near(bias_lr, want[3]) && near(momentum, want[4]);
                    assert!(
                        equal && accumulate as f64 == want[5],
                        "{name}: {want:?}, got {lr} {bias_lr} {momentum} {accumulate}"
                    );
                }
            }
        }
    }
}

/// A trajectory of the file: name, rule, beta1 (AdamW) or momentum (`None`: the file's column), decay, factor on lr.
const TRAJECTORIES: [(&str, Rule, Option<f64>, f64, f64); 4] = [
    ("sgd_plain", Rule::Sgd, Some(0.0), 0.0, 1.0),
    ("sgd_nesterov_wd", Rule::Sgd, None, 5e-4, 1.0),
    ("adamw", Rule::AdamW, Some(0.9), 0.01, 0.1),
    ("rmsprop", Rule::RmsPropTorch, Some(0.9), 1e-5, 0.1),
];

#[test]
fn golden_optimisers() {
    for entry in entries("optimisers") {
        let file = entry.tensors();
        for (name, rule, momentum, weight_decay, lr_factor) in TRAJECTORIES {
            let settings =
                OptimizerSettings { rule, beta1: momentum.unwrap_or(0.0), weight_decay, isa: Isa::best() };
            follow(&file, name, settings, momentum, lr_factor, entry.tolerance(&["abs"]));
        }
    }
}

fn follow(
    file: &Tensors,
    name: &str,
    settings: OptimizerSettings,
    fixed: Option<f64>,
    lr_factor: f64,
    tolerance: f64,
) {
    let (grads, lr, momentum, want) =
        (file.f32("grads"), file.f32("lr"), file.f32("momentum"), file.f32(name));
    let len = file.dims("start")[0];
    let segment = Segment { range: 0..len, role: Role::Weight, part: 0, lr_factor };
    let mut optimizer = Optimizer::new(settings, vec![segment], len, 1);
    let mut params = file.f32("start");
    for (k, grads) in grads.chunks(len).enumerate() {
        let lr = lr[k] as f64;
        let momentum = fixed.unwrap_or(momentum[k] as f64);
        optimizer.step(&mut params, grads, &Rates { lr, bias_lr: lr, momentum, accumulate: 1 });
        assert_close(&format!("{name}, step {k}"), &params, &want[(k + 1) * len..(k + 2) * len], tolerance);
    }
}

#[test]
fn golden_moving_average() {
    for entry in entries("ema") {
        let (file, tolerance) = (entry.tensors(), entry.tolerance(&["abs"]));
        let (start, weights) = (file.f32("start"), file.f32("weights"));
        for (case, settings) in entry.meta.as_object().expect("cases in `meta`") {
            let number = |key: &str| settings[key].as_f64().expect("a number");
            let mut ema = Ema::new(
                &start,
                &start,
                number("updates_before") as u64,
                number("decay"),
                Ramp::Exponential { tau: number("tau") },
                Isa::best(),
            );
            let (decay, want) = (file.f32(&format!("{case}/decay")), file.f32(&format!("{case}/ema")));
            for (k, weights) in weights.chunks(start.len()).enumerate() {
                ema.update(weights, weights);
                assert!(
                    (ema.decay_at(ema.updates) - decay[k] as f64).abs() <= tolerance,
                    "{case}, update {k}"
                );
                let want = &want[k * start.len()..(k + 1) * start.len()];
                assert_close(&format!("{case}, update {k}"), &ema.trained, want, tolerance);
                assert_eq!(ema.trained, ema.buffers);
            }
        }
    }
}

#[test]
fn golden_heavy_ball_momentum() {
    for entry in entries("optimisers") {
        let file = entry.tensors();
        let (grads, lr, want) = (file.f32("grads"), file.f32("lr"), file.f32("sgd_momentum"));
        let mut params = file.f32("start");
        let (len, mut buffer) = (params.len(), vec![0.0; params.len()]);
        for (k, grads) in grads.chunks(len).enumerate() {
            optim::sgd_momentum(Isa::best(), lr[k] as f64, 0.9, 0.0, k == 0, grads, &mut buffer, &mut params);
            let want = &want[(k + 1) * len..(k + 2) * len];
            assert_close(&format!("sgd_momentum, step {k}"), &params, want, entry.tolerance(&["abs"]));
        }
    }
}
