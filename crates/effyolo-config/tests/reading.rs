//! What reading accepts, and what it says where it does not.

use effyolo_config::{ConfigError, DataSpec, Decay, ModelSpec, Optimizer};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

const MODEL: &str = "
task: detect
backbone: {name: efficientnet-b0}
neck: {scale: n}
classes: 80
train: {epochs: 3, lr0: 1e-3, optimizer: adamw, cos_lr: true}
";

fn model(text: &str) -> Result<ModelSpec, ConfigError> {
    ModelSpec::from_yaml(text, "model.yaml")
}

/// The message for [`MODEL`] with one part replaced.
fn refused(from: &str, to: &str) -> String {
    assert!(MODEL.contains(from), "{from}");
    model(&MODEL.replace(from, to)).expect_err(to).to_string()
}

#[test]
fn settings_are_read_and_others_have_defaults() {
    let train = model(MODEL).unwrap().train;
    assert_eq!(
        (train.epochs, train.lr0, train.optimizer, train.decay),
        (3, 1e-3, Optimizer::AdamW, Decay::Cosine)
    );
    assert_eq!((train.image_size, train.weight_decay, train.gains.boxes), (640, 5e-4, 7.5));
}

#[test]
fn a_misspelt_key_is_named_with_its_path_and_a_suggestion() {
    let message = refused("epochs: 3", "epoch: 3");
    assert!(message.contains("model.yaml") && message.contains("`train.epoch`"), "{message}");
    assert!(message.contains("did you mean `epochs`?"), "{message}");
    assert!(refused("{name:", "{paddding: same, name:").contains("`padding`"));
    assert!(refused("task: detect", "tsak: detect\ntask: detect").contains("did you mean `task`?"));
    assert!(refused("epochs: 3", "xyzzy: 3").contains("expected one of epochs, imgsz"));
    assert!(refused("{scale: n}", "{scale: n, 7: n}").contains("`neck.7`"));
}

#[test]
fn wrong_values_say_what_was_expected_and_what_came() {
    let cases = [
        (
            "epochs: 3",
            "epochs: many",
            "`train.epochs`: expected a whole number from 1 to 1000000, got the text \"many\"",
        ),
        ("epochs: 3", "epochs: 0", "from 1 to 1000000, got 0"),
        ("epochs: 3", "epochs: 2.5", "got 2.5"),
        ("lr0: 1e-3", "lr0: .nan", "`train.lr0`: expected a number"),
        ("lr0: 1e-3", "momentum: 1.5", "from 0 to 0.9999, got 1.5"),
        ("adamw", "adamv", "one of SGD, AdamW, RMSProp, RMSPropTorch (did you mean `AdamW`?)"),
        ("cos_lr: true", "cos_lr: 1", "expected true or false, got 1"),
        ("{scale: n}", "{scale: z}", "`neck.scale`: expected one of n, s, m, l, x"),
        ("{scale: n}", "{scale: n, width: 0}", "`neck.width`: expected a number"),
        ("{scale: n}", "n", "`neck`: expected a map such as `{scale: n}`, got the text \"n\""),
        ("efficientnet-b0", "efficientnet-b9", "did you mean `efficientnet-b"),
        ("efficientnet-b0", "resnet50", "`backbone.name`: expected one of efficientnet-b0"),
        ("efficientnet-b0", "efficientnet-b0, levels: [3, 5]", "numbers from 2 to 5 that follow each other"),
        ("efficientnet-b0", "efficientnet-b0, levels: [6]", "`backbone.levels[0]`"),
        ("efficientnet-b0", "efficientnet-b0, width: -1", "`backbone.width`"),
        ("efficientnet-b0", "efficientnet-b0, dropout: 0.2", "`backbone.dropout`: there is no such key"),
        ("classes: 80", "classes: 0", "`classes`: expected a whole number from 1"),
        ("classes: 80", "", "`classes` is missing; expected the number of classes"),
        (
            "classes: 80",
            "clases: 80",
            "`classes` is missing; expected the number of classes; is `clases` meant for it?",
        ),
        ("epochs: 3", "freeze: 9", "`freeze`: expected at most 8"),
        ("task: detect", "task: classify", "`neck`: there is no such key"),
    ];
    for (from, to, part) in cases {
        let message = refused(from, to);
        assert!(message.contains(part), "{message}\n  should contain: {part}");
    }
}

#[test]
fn a_neck_may_be_wider_and_deeper_than_its_scale() {
    let spec = model(&MODEL.replace("{scale: n}", "{scale: n, width: 1.1, depth: 3}")).unwrap();
    let graph = spec.build(None).unwrap().graph;
    let out = |name: &str| graph.node(graph.find(name).unwrap()).channels;
    let levels = ["p3_top_down", "p4_bottom_up", "p5_bottom_up"];
    assert_eq!(levels.map(|name| out(&format!("neck.{name}.cv2.conv"))), [72, 144, 288]);
    assert!(graph.find("neck.p5_bottom_up.m.2.cv2.conv").is_some());
    assert_eq!(model(&spec.to_yaml()).unwrap().task, spec.task);
    assert!(model(MODEL).unwrap().to_yaml().contains("neck:\n  scale: n\nclasses"));
}

#[test]
fn text_that_is_no_map_is_refused() {
    for text in ["", "- a\n- b", "just words", "{", "a: 1\na: 2", "\t- x"] {
        assert!(model(text).is_err(), "{text:?}");
    }
    let long = "a".repeat(2 << 20);
    assert!(matches!(model(&long), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn nesting_and_alias_bombs_are_bounded() {
    let deep = "[".repeat(100_000);
    assert!(model(&deep).is_err());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    assert!(matches!(model(&bomb), Err(ConfigError::Yaml { .. })));
}

#[test]
fn an_image_side_is_rounded_up_to_the_stride_and_said() {
    let spec = model(&MODEL.replace("epochs: 3", "imgsz: 300")).unwrap();
    assert_eq!((spec.train.image_size, spec.notes.len()), (320, 1));
    assert!(spec.notes[0].contains("300") && spec.notes[0].contains("320"), "{:?}", spec.notes);
    let classifier = "task: classify\nbackbone: {name: efficientnet-b3}\nclasses: 10\ntrain: {imgsz: 300}";
    assert_eq!(model(classifier).unwrap().train.image_size, 300);
}

#[test]
fn settings_from_the_command_line() {
    let mut spec = model(MODEL).unwrap();
    spec.set(&["lr0=0.02", "optimizer=SGD", "imgsz=330", "cos_lr=false"], "--set").unwrap();
    assert_eq!((spec.train.lr0, spec.train.optimizer, spec.train.image_size), (0.02, Optimizer::Sgd, 352));
    assert_eq!(spec.train.decay, Decay::Linear);
    let before = spec.clone();
    for (setting, part) in [
        ("lr=0.02", "did you mean `lr0`?"),
        ("lr0", "expected `key=value`"),
        ("lr0=fast", "--set: `lr0`: expected a number"),
        ("batch=", "`batch`: expected a whole number from 1 to 65536, got nothing"),
        ("freeze=20", "expected at most 8"),
    ] {
        let message = spec.set(&["epochs=9", setting], "--set").unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert_eq!(spec, before, "nothing is changed");
    }
}

#[test]
fn a_map_of_training_settings_is_taken_over_whole_or_not_at_all() {
    let mut spec = model(MODEL).unwrap();
    spec.apply("{lr_steps: [0.97, 2.4], unfreeze_every: 2, layer_decay: 0.75}", "recipe.yaml").unwrap();
    assert_eq!((spec.train.unfreeze_every, spec.train.layer_decay), (2, 0.75));
    assert_eq!(spec.train.decay, Decay::Steps { factor: 0.97, epochs: 2.4 });
    assert_eq!(model(&spec.to_yaml()).unwrap().train, spec.train);
    let before = spec.clone();
    for (text, part) in [
        ("{epochs: 9, layer_dcay: 0.9}", "recipe.yaml: `layer_dcay`: there is no such key"),
        ("{epochs: 9, layer_decay: 2}", "`layer_decay`: expected a number from 0.01 to 1, got 2"),
        ("{epochs: 9, unfreeze_every: -1}", "`unfreeze_every`: expected a whole number from 0"),
        ("{epochs: 9, lr_steps: 0.97}", "`lr_steps`: expected a factor and epochs, such as [0.97, 2.4]"),
        ("{epochs: 9, lr_steps: [2, 1]}", "`lr_steps[0]`: expected a number from 0.01 to 1, got 2"),
        ("{cos_lr: true, lr_steps: [0.9, 1]}", "`cos_lr`: expected false beside `lr_steps`"),
        ("{epochs: 9, freeze: 9}", "expected at most 8"),
        ("[epochs, 9]", "expected a map of training settings"),
    ] {
        let message = spec.apply(text, "recipe.yaml").unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert_eq!(spec, before, "nothing is changed");
    }
    spec.set(&["lr_steps=[]"], "--set").unwrap();
    assert_eq!(spec.train.decay, Decay::Linear);
    spec.set(&["lr_steps=[0.9, 1]", "cos_lr=true"], "--set").unwrap();
    assert_eq!(spec.train.decay, Decay::Cosine);
}

fn data(text: &str) -> Result<DataSpec, ConfigError> {
    DataSpec::from_yaml(text, "data.yaml", Path::new("/sets/cells"))
}

#[test]
fn a_data_file_in_its_own_folder() {
    let spec =
        data("path: .\ntrain: images/train\nval: [a, b.txt]\nnc: 2\nnames:\n  1: dog\n  0: cat\n").unwrap();
    assert_eq!(spec.names, ["cat", "dog"]);
    assert_eq!(spec.split("train").unwrap(), [PathBuf::from("/sets/cells/./images/train")]);
    assert_eq!(spec.split("val").unwrap().len(), 2);
    let message = spec.split("test").unwrap_err().to_string();
    assert!(message.contains("`test` is missing"), "{message}");
    assert!(spec.split("valid").is_err());
}

#[test]
fn paths_are_joined_with_path_or_stand_for_themselves() {
    let first = |text: &str| data(text).unwrap().train[0].clone();
    assert_eq!(first("train: t\nnames: [a]"), Path::new("/sets/cells/t"));
    assert_eq!(first("path: ../other\ntrain: t\nnames: [a]"), Path::new("/sets/cells/../other/t"));
    assert_eq!(first("path: /abs\ntrain: t\nnames: [a]"), Path::new("/abs/t"));
    assert_eq!(first("path: /abs\ntrain: /elsewhere\nnames: [a]"), Path::new("/elsewhere"));
}

#[test]
fn names_in_all_their_forms() {
    let names = |text: &str| data(text).map(|spec| spec.names);
    assert_eq!(names("train: t\nnames: [0, no, 1.5]").unwrap(), ["0", "no", "1.5"]);
    assert_eq!(names("train: t\nnc: 2").unwrap(), ["class 0", "class 1"]);
    for (text, part) in [
        ("train: t\nnc: 3\nnames: [a, b]", "`nc`: expected 2, the number of `names`, got 3"),
        ("train: t\nnames: {0: a, 2: b}", "0, 1, 2 ..."),
        ("train: t\nnames: {a: 0}", "0, 1, 2 ..."),
        ("train: t\nnames: []", "at least one class name"),
        ("train: t\nnames: [[a]]", "`names[0]`: expected a name, got a list"),
        ("train: t", "`names` is missing"),
        ("train: 3\nnames: [a]", "`train`: expected a text, got 3"),
        ("train: ''\nnames: [a]", "`train`: expected a folder"),
        ("train: t\nname: [a]\nnc: 1", "`name`: there is no such key; did you mean `names`?"),
    ] {
        let message = names(text).expect_err(text).to_string();
        assert!(message.contains(part), "{message}\n  should contain: {part}");
    }
}

#[test]
fn keys_without_use_are_said() {
    let spec = data("train: t\nval:\nnames: [a]\ndownload: https://example.org/x.zip\n").unwrap();
    assert_eq!((spec.notes.len(), spec.val.len()), (1, 0));
}

#[test]
fn a_missing_file_is_named() {
    let message = ModelSpec::load(Path::new("/no/such/file.yaml")).unwrap_err().to_string();
    assert!(message.contains("/no/such/file.yaml"), "{message}");
}

/// Lines that look like a configuration, with wrong values in places.
fn config_like() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "task", "backbone", "neck", "classes", "train", "names", "nc", "path", "val",
    ]);
    let value = prop_oneof![
        Just("detect".to_string()),
        Just("{name: efficientnet-b0, levels: [3, 4, 5]}".to_string()),
        Just("{scale: n}".to_string()),
        Just("{epochs: 1, imgsz: 33, freeze: 2}".to_string()),
        "-?[0-9]{1,20}",
        "[\\[\\]{},:&*!|>'\"a-z0-9 .-]{0,20}",
    ];
    prop::collection::vec((key, value), 0..8)
        .prop_map(|lines| lines.into_iter().map(|(key, value)| format!("{key}: {value}\n")).collect())
}

proptest! {
    #[test]
    fn reading_never_panics(text in any::<String>()) {
        let _ = model(&text);
        let _ = data(&text);
    }

    #[test]
    fn reading_something_like_a_configuration_never_panics(text in config_like()) {
        if let Ok(spec) = model(&text) {
            prop_assert_eq!(&model(&spec.to_yaml()).unwrap().train, &spec.train);
        }
        let _ = data(&text);
    }

    #[test]
    fn settings_never_panic(text in any::<String>(), value in any::<String>()) {
        let mut spec = model(MODEL).unwrap();
        let _ = spec.set(&[text], "--set");
        let _ = spec.set(&[format!("lr0={value}")], "--set");
    }

    #[test]
    fn numbers_are_written_back(lr0 in 1e-9f64..10.0, hsv in 0.0f32..1.0, seed in any::<u64>()) {
        let mut spec = model(MODEL).unwrap();
        (spec.train.lr0, spec.train.augmentation.hsv_h, spec.train.seed) = (lr0, hsv, seed);
        let again = model(&spec.to_yaml()).unwrap();
        // What is written back is resolved, and so states every convention.
        prop_assert_eq!(ModelSpec { stated: spec.stated.clone(), ..again }, spec);
    }
}
