//! Configurations as strangers write them, one table entry a case: each is refused with file, key and advice, or accepted
//! with a note, in bounded time.

use effyolo_config::{ConfigError, DataSpec, ModelSpec};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// No case may take longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more where the answer came too late.
    std::thread::spawn(move || sender.send(work()).ok());
    receiver.recv_timeout(PATIENCE).expect("an answer in time")
}

fn data(text: String) -> Result<DataSpec, ConfigError> {
    in_time(move || DataSpec::from_yaml(&text, "data.yaml", Path::new("/set")))
}

fn model_with(train: &str) -> Result<ModelSpec, ConfigError> {
    let text = format!(
        "task: detect\nbackbone: {{name: efficientnet-b0}}\nneck: {{scale: n}}\nclasses: 80\ntrain: {{{train}}}\n"
    );
    in_time(move || ModelSpec::from_yaml(&text, "model.yaml"))
}

/// What is wrong, the file, and a part of the message.
fn data_cases() -> Vec<(&'static str, String, &'static str)> {
    let good = "train: t\nval: v\nnames: [a]\n";
    let bomb: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_string())
        .chain((1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 8].join(", "))))
        .collect();
    vec![
        ("empty", String::new(), "expected a map with `path`"),
        ("a list", "- a\n".into(), "expected a map with `path`"),
        ("half a bracket", "names: [a".into(), "no valid YAML"),
        ("a tab", "\tnames: [a]".into(), "no valid YAML"),
        ("two documents", format!("{good}---\n{good}"), "no valid YAML"),
        ("a key twice", format!("{good}train: u\n"), "`train` comes twice"),
        ("no names", "train: t\n".into(), "`names` is missing"),
        ("a misspelt key", format!("{good}tets: t\n"), "`tets`: there is no such key; did you mean `test`?"),
        ("a key in another case", format!("{good}Test: t\n"), "did you mean `test`?"),
        ("an unknown key", format!("{good}kpt_shape: [17, 3]\n"), "`kpt_shape`: there is no such key"),
        ("a key that is a list", format!("{good}? [a, b]\n: c\n"), "there is no such key"),
        ("path as a number", format!("{good}path: 3\n"), "`path`: expected a text, got 3"),
        ("a split as a map", "train: {a: b}\nnames: [a]\n".into(), "`train`: expected a text, got a map"),
        ("a split of lists", "train: [[a]]\nnames: [a]\n".into(), "`train[0]`: expected a text"),
        ("names as text", "train: t\nnames: cat\n".into(), "`names`: expected at least one class name"),
        ("names with a gap", "train: t\nnames: {0: a, 2: b}\n".into(), "0, 1, 2 ..."),
        ("another nc", format!("{good}nc: 3\n"), "`nc`: expected 1, the number of `names`"),
        ("a negative nc", "train: t\nnc: -1\n".into(), "`nc`: expected a whole number from 1"),
        ("a huge nc", "train: t\nnc: 1e18\n".into(), "`nc`: expected a whole number from 1 to 100000"),
        ("no pixels", format!("{good}max_pixels: 0\n"), "`max_pixels`: expected a whole number from 1"),
        ("a Python tag", format!("{good}x: !!python/name:os.system\n"), "nothing is executed"),
        ("another tag", format!("{good}x: !env HOME\n"), "the tag !env is not known"),
        ("an alias of itself", "train: &a [*a]\nnames: [a]\n".into(), "data.yaml"),
        ("an unknown alias", "train: *a\nnames: [a]\n".into(), "unknown anchor"),
        ("a merge key", format!("{good}<<: {{nc: 1}}\n"), "merge keys are not read"),
        ("an alias bomb", format!("{good}{bomb}"), "data.yaml"),
        ("brackets", "[".repeat(900_000), "brackets nested deeper than 1000"),
        ("dashes", "- ".repeat(400_000), "data.yaml"),
        ("2 MB", "#\n".repeat(1 << 20), "longer than the 1048576 bytes"),
        ("control letters", "train: \u{7}\u{1b}\nnames: [a]\n".into(), "data.yaml"),
    ]
}

#[test]
fn data_files_are_refused_with_their_key() {
    for (what, text, part) in data_cases() {
        let message = data(text).expect_err(what).to_string();
        assert!(message.starts_with("data.yaml: ") && message.contains(part), "{what}: {message}");
        assert!(message.len() < 500, "{what}: {message:.500}");
    }
}

#[test]
fn what_other_tools_would_execute_is_not_used_and_said() {
    let text = "train: t\nnames: [a]\ndownload: |\n  import os\n  os.system('x')\n";
    let notes = data(text.into()).unwrap().notes;
    assert!(
        notes[0].contains("`download`") && notes[0].contains("nothing is downloaded or executed"),
        "{notes:?}"
    );
}

/// A setting and values that it may not have.
fn setting_cases() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("epochs", vec!["0", "-1", "1.5", ".nan", "1e9", "x", "null", "[1]"]),
        ("imgsz", vec!["0", "-32", "16385", "99999999999999999999", "640.5", "[640, 640]"]),
        ("batch", vec!["0", "-1", "65537", "0.5"]),
        ("nbs", vec!["0", "-1"]),
        ("seed", vec!["-1", "1.5", "99999999999999999999"]),
        ("lr0", vec!["0", "-0.01", ".nan", ".inf", "1e300", "fast"]),
        ("lrf", vec!["-0.1", "1.1", ".nan"]),
        ("momentum", vec!["-0.1", "1", ".nan"]),
        ("weight_decay", vec!["-1e-9", "2", ".nan"]),
        ("warmup_epochs", vec!["-1", ".inf"]),
        ("clip_norm", vec!["0", "-1", ".nan"]),
        ("ema_decay", vec!["-1", "1.01", ".nan"]),
        ("box", vec!["-1", ".nan", ".inf"]),
        ("hsv_h", vec!["-0.1", "1.1", ".nan"]),
        ("degrees", vec!["-1", "181"]),
        ("scale", vec!["-0.1", "1"]),
        ("perspective", vec!["-0.1", "0.1"]),
        ("mosaic", vec!["-0.1", "1.1", ".nan"]),
        ("freeze", vec!["-1", "9", "1e9"]),
        ("unfreeze_every", vec!["-1", "0.5", "often"]),
        ("layer_decay", vec!["0", "1.1", "-1", ".nan"]),
        ("lr_steps", vec!["0.97", "[0.97]", "[0, 2.4]", "[0.97, 0]", "[1.1, 2]", "[0.9, 2, 3]", "[a, 2]"]),
        ("ema_ramp", vec!["linear", "1"]),
        ("workers", vec!["0", "-1", "100000"]),
        ("optimizer", vec!["Adamm", "3", "null"]),
        ("cos_lr", vec!["1", "maybe"]),
    ]
}

#[test]
fn settings_out_of_range_are_refused_with_their_key() {
    for (key, values) in setting_cases() {
        for value in values {
            let message = model_with(&format!("{key}: {value}")).expect_err(key).to_string();
            assert!(
                message.starts_with("model.yaml: ") && message.contains("expected "),
                "{key}: {value}: {message}"
            );
            assert!(message.contains(key), "{key}: {value}: {message}");
        }
    }
}

#[test]
fn a_side_that_is_no_multiple_of_the_stride_is_rounded_and_said() {
    for (asked, got) in [(1, 32), (33, 64), (639, 640), (16_383, 16_384)] {
        let spec = model_with(&format!("imgsz: {asked}")).unwrap();
        assert_eq!((spec.train.image_size, spec.notes.len()), (got, 1));
        assert!(spec.notes[0].contains(&asked.to_string()) && spec.notes[0].contains(&got.to_string()));
    }
}

#[test]
fn coco_files_name_the_classes_and_their_splits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = r#"{"images": [], "annotations": [{"id": 1}], "categories": [{"id": 9, "name": "b"}, {"id": 2, "name": "a"}]}"#;
    for name in ["instances_train2017.json", "instances_val2017.json", "all.json"] {
        std::fs::write(at(name), text).unwrap();
    }
    for given in ["instances_train2017.json", "instances_val2017.json"] {
        let spec = DataSpec::load(&at(given)).unwrap();
        assert_eq!(spec.names, ["a", "b"]);
        assert_eq!(
            (&spec.train[..], &spec.val[..]),
            (&[at("instances_train2017.json")][..], &[at("instances_val2017.json")][..])
        );
        assert!(spec.test.is_empty());
    }
    let alone = DataSpec::load(&at("all.json")).unwrap();
    assert_eq!((alone.train.len(), alone.val), (0, vec![at("all.json")]));

    std::fs::write(
        at("data.yaml"),
        "path: .\ntrain: instances_train2017.json\nval: all.json\nimages: pictures\nmax_pixels: 5\n",
    )
    .unwrap();
    let spec = DataSpec::load(&at("data.yaml")).unwrap();
    assert_eq!((&spec.names[..], spec.max_pixels), (&["a".to_string(), "b".to_string()][..], 5));
    assert_eq!((spec.images, spec.base), (Some(at("./pictures")), at(".")));

    for (text, part) in [
        ("", "expected a COCO instances file"),
        ("[]", "expected a COCO instances file"),
        (r#"{"categories": []}"#, "1 to 100000 categories"),
        (r#"{"categories": [{"id": "1", "name": "a"}]}"#, "expected a COCO instances file"),
    ] {
        std::fs::write(at("all.json"), text).unwrap();
        let message = DataSpec::load(&at("all.json")).unwrap_err().to_string();
        assert!(message.contains("all.json") && message.contains(part), "{message}");
    }
}

#[test]
fn the_documentation_counts_these_cases() {
    let page = include_str!("../../../docs/datasets.md");
    let counts = format!(
        "{} data files and {} settings",
        data_cases().len(),
        setting_cases().iter().map(|(_, values)| values.len()).sum::<usize>()
    );
    assert!(page.contains(&counts), "{counts}");
}
