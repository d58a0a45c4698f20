//! `cargo xtask scale` as a command.

use serde_json::{Value, json};
use std::process::{Command, Output};

fn scale(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("scale").args(arguments).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn json_of(arguments: &[&str]) -> Value {
    let output = scale(&[arguments, &["--json", "-"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).unwrap()
}

const PUBLISHED: [&str; 6] = ["--alpha", "1.2", "--beta", "1.1", "--gamma", "1.15"];

#[test]
fn the_family_stands_beside_the_published_one() {
    let result = json_of(&[&PUBLISHED[..], &["--phi", "0..7"]].concat());
    let family = result["family"].as_array().unwrap();
    assert_eq!(family.len(), 8);
    let base = &family[0];
    assert_eq!((&base["params"], &base["macs"]), (&json!(5_288_548), &json!(385_814_752)));
    // At phi 1 the network has B2's channels and repeats, and very nearly its resolution.
    let first = &family[1];
    assert_eq!((&first["resolution"], &first["params"]), (&json!(258), &json!(9_109_994)));
    assert!((first["cost_ratio"].as_f64().unwrap() - 2.57).abs() < 0.01);
    for (phi, member) in family.iter().enumerate() {
        assert_eq!(member["published"]["name"], format!("b{phi}"));
    }
    assert_eq!(family[7]["published"]["params"], 66_347_960);
    assert_eq!(family[7]["published"]["resolution"], 600);
}

#[test]
fn resolutions_round_to_the_divisor() {
    let result = json_of(&[&PUBLISHED[..], &["--phi", "1", "--resolution-divisor", "32"]].concat());
    assert_eq!(result["family"][0]["resolution"], 256);
    assert!((result["family"][0]["cost_ratio"].as_f64().unwrap() - 2.23).abs() < 0.01);
}

#[test]
fn a_detector_grows_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let configs = folder.path().display().to_string();
    let arguments = ["--baseline", "effyolo-n", "--phi", "0..3", "--configs", &configs];
    let result = json_of(&[&PUBLISHED[..], &arguments].concat());
    assert_eq!((&result["classes"], &result["resolution_divisor"]), (&json!(80), &json!(32)));
    let member = |phi: usize, key: &str| result["family"][phi][key].clone();
    assert_eq!(member(0, "params"), 5_692_220);
    // Seven stages, then three levels of the neck.
    assert_eq!(member(0, "channels"), json!([16, 24, 40, 80, 112, 192, 320, 64, 128, 256]));
    assert_eq!(member(1, "channels"), json!([16, 24, 48, 88, 120, 208, 352, 72, 144, 288]));
    let sides: Vec<_> = (0..4).map(|phi| member(phi, "resolution")).collect();
    assert_eq!(sides, [640, 736, 832, 960]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    let text = std::fs::read_to_string(folder.path().join("effyolo-n-phi1.yaml")).unwrap();
    assert!(text.contains("neck: {scale: n, width: 1.1, depth: 1.2}"), "{text}");
}

#[test]
fn single_dimensions_cost_about_the_same() {
    for baseline in ["efficientnet-b0", "mobilenet-v1", "mobilenet-v2", "resnet-50", "effyolo-n"] {
        let result = json_of(&[&PUBLISHED[..], &["--phi", "2", "--single", "--baseline", baseline]].concat());
        let member = &result["family"][0];
        for single in member["single"].as_array().unwrap() {
            let ratio = single["network"]["macs"].as_f64().unwrap() / member["macs"].as_f64().unwrap();
            assert!((0.9..1.1).contains(&ratio), "{baseline} {}: {ratio}", single["dimension"]);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let cases: [(&[&str], &str); 8] = [
        (
            &[
                "--alpha",
                "1",
                "--beta",
                "1",
                "--gamma",
                "1",
                "--baseline",
                "effyolo-n",
                "--resolution-divisor",
                "8",
            ],
            "multiples of 32, got 8",
        ),
        (&["--alpha", "0", "--beta", "1", "--gamma", "1"], "alpha: expected a finite number above 0"),
        (&["--alpha", "NaN", "--beta", "1", "--gamma", "1"], "alpha: expected"),
        (&["--alpha", "1.2", "--beta", "1.1", "--gamma", "1.15", "--phi", "7..0"], "smaller end first"),
        (&["--alpha", "1.2", "--beta", "1.1", "--gamma", "1.15", "--phi", "1000"], "at most 64"),
        (&["--alpha", "1", "--beta", "1", "--gamma", "1", "--baseline", "x"], "`x` is no baseline"),
        (&["--alpha", "1", "--beta", "1", "--gamma", "1", "--resolution-divisor", "0"], "at least 1"),
        (
            &["--alpha", "1", "--beta", "1", "--gamma", "1", "--baseline", "resnet-50", "--configs", "x"],
            "EfficientNets only",
        ),
    ];
    for (arguments, expected) in cases {
        let output = scale(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(expected), "{arguments:?}: {told}");
    }
}
