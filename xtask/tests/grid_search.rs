//! The search as a command, with a script in place of the worker.
#![cfg(unix)]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A folder with a little data, and where the fake worker logs its calls.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["train/a", "train/b", "val/a", "val/b"] {
            let path = folder.path().join("data").join(part);
            std::fs::create_dir_all(&path).unwrap();
            (0..4).for_each(|i| std::fs::write(path.join(format!("{i}.jpg")), [i]).unwrap());
        }
        Site { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A search over the 21 candidates of a step of 0.1, with one thread a trial.
    fn search(&self, out: &str, more: &[&str]) -> Command {
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_worker.sh");
        let mut command = self.bare(&["--step", "0.1"]);
        if !more.contains(&"--threads") {
            command.args(["--threads", "1"]);
        }
        if !more.contains(&"--proxy") {
            command.args(["--proxy", "epochs=9"]);
        }
        if !more.contains(&"--worker") {
            command.arg("--worker").arg(worker);
        }
        command.arg("--data").arg(self.path("data"));
        command
            .arg("--out")
            .arg(self.path(out))
            .arg("--json")
            .arg(self.path(&format!("{out}.json")))
            .args(more);
        command
    }

    fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("grid-search").args(arguments).env("FAKE_LOG", self.path("log"));
        command.env_remove("FAKE_BREAK").env_remove("FAKE_SLEEP").env("RUST_BACKTRACE", "0");
        command
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    fn result(&self, out: &str) -> Value {
        let text = std::fs::read_to_string(self.path(&format!("{out}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

fn length(value: &Value) -> usize {
    value.as_array().unwrap().len()
}

#[test]
fn every_candidate_is_trained_with_every_seed() {
    let site = Site::new();
    let told = succeed(&mut site.search("run", &["--seeds", "3", "--jobs", "2"]));
    let result = site.result("run");
    assert_eq!((&result["candidates"], length(&result["trials"])), (&json!(21), 21));
    // Candidates that round to one network share their trials.
    let calls = site.calls();
    assert!(calls.len() <= 63 && calls.len().is_multiple_of(3), "{}", calls.len());
    assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len());
    let best = &result["trials"][0];
    assert_eq!((&best["alpha"], &best["runs"]), (&result["best"]["alpha"], &json!(3)));
    let error = best["standard_error"].as_f64().unwrap();
    assert!((error - 0.001 / 3f64.sqrt()).abs() < 1e-6, "{error}");
    assert!(told.contains("left") && told.contains("best: alpha"), "{told}");
    assert!(told.contains("within two standard errors") && !told.contains("hardly more"), "{told}");
}

#[test]
fn broken_trials_are_told_and_the_rest_goes_on() {
    let site = Site::new();
    let told = succeed(site.search("run", &["--tolerance", "0.2"]).env("FAKE_BREAK", "yes"));
    let result = site.result("run");
    let reasons: Vec<&str> =
        result["broken"].as_array().unwrap().iter().map(|b| b["reason"].as_str().unwrap()).collect();
    for expected in ["warming up | out of memory", "got 1.5", "expected value", "No such file"] {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
    }
    assert!(told.contains("BROKEN"), "{told}");
    assert_eq!(length(&result["trials"]) + reasons.len(), 37);
    let before = site.calls().len();
    succeed(&mut site.search("run", &["--tolerance", "0.2", "--resume"]));
    assert_eq!(site.calls().len(), before, "a broken trial is finished too");
    succeed(&mut site.search("run", &["--tolerance", "0.2", "--resume", "--retry-broken"]));
    assert_eq!(length(&site.result("run")["broken"]), 0);
}

#[test]
fn a_trial_that_hangs_is_ended() {
    let site = Site::new();
    let start = Instant::now();
    succeed(site.search("run", &["--trial-timeout", "1", "--jobs", "2"]).env("FAKE_BREAK", "hang"));
    assert!(start.elapsed() < Duration::from_secs(50));
    let broken = &site.result("run")["broken"];
    assert!(length(broken) > 0 && broken[0]["reason"].as_str().unwrap().contains("--trial-timeout"));
}

#[test]
fn a_killed_search_goes_on_and_repeats_nothing() {
    let site = Site::new();
    succeed(&mut site.search("whole", &[]));
    let whole = site.calls();
    std::fs::remove_file(site.path("log")).unwrap();
    let mut child = site.search("killed", &[]).env("FAKE_SLEEP", "0.1").spawn().unwrap();
    let start = Instant::now();
    while site.calls().len() < 5 {
        assert!(start.elapsed() < Duration::from_secs(30), "no trials are run");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = fail(&mut site.search("killed", &[]));
    assert!(refused.contains("--resume"), "{refused}");
    succeed(&mut site.search("killed", &["--resume"]));
    let calls = site.calls();
    assert!(calls.len() <= whole.len() + 1, "at most the one that ran is repeated: {calls:?}");
    assert_eq!(site.result("killed")["trials"], site.result("whole")["trials"]);
    let before = calls.len();
    succeed(&mut site.search("killed", &["--resume"]));
    assert_eq!(site.calls().len(), before);
    let other = fail(&mut site.search("killed", &["--resume", "--seeds", "2"]));
    assert!(other.contains("another search") && other.contains("training.seeds"), "{other}");
}

#[test]
fn joined_shards_equal_one_run() {
    let site = Site::new();
    succeed(&mut site.search("whole", &["--seeds", "2"]));
    for (shard, out) in [("0/2", "first"), ("1/2", "second")] {
        succeed(&mut site.search(out, &["--seeds", "2", "--shard", shard]));
        assert!(length(&site.result(out)["trials"]) < 21);
        assert_eq!(site.result(out)["candidates"], 21);
    }
    let folders = ["first", "second", "joined"].map(|name| site.path(name).display().to_string());
    let json = site.path("joined.json").display().to_string();
    let [first, second, joined] = &folders;
    succeed(&mut site.bare(&["--merge", first, second, "--out", joined, "--json", &json]));
    assert_eq!(site.result("joined"), site.result("whole"));
    let told = fail(&mut site.bare(&["--merge", first, second, "--out", second]));
    assert!(told.contains("one of the folders"), "{told}");
    let half = site.path("half").display().to_string();
    succeed(&mut site.bare(&["--merge", first, "--out", &half, "--json", &json]));
    assert!(length(&site.result("joined")["unknown"]) > 0);
    succeed(&mut site.search("other", &["--seeds", "1"]));
    let other = site.path("other").display().to_string();
    let told = fail(&mut site.bare(&["--merge", first, &other, "--out", joined, "--resume"]));
    assert!(told.contains("another search"), "{told}");
}

/// What the two ways to many machines share: their shards joined equal one run.
fn joined_equals_whole(site: &Site, folders: impl Iterator<Item = PathBuf>) {
    succeed(&mut site.search("whole", &["--threads", "8"]));
    let mut merge = site.bare(&["--merge"]);
    merge.args(folders).arg("--out").arg(site.path("joined")).arg("--json").arg(site.path("joined.json"));
    succeed(&mut merge);
    assert_eq!(site.result("joined"), site.result("whole"));
}

/// The documented line as it stands, but for the hosts; without GNU parallel, xargs hands out the shards.
#[test]
fn the_documented_line_of_gnu_parallel_runs_all_shards() {
    let site = Site::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/scaling.md")).unwrap();
    let (_, line) = page.split_once("    seq 0 7 | ").unwrap();
    let line = line.split_once("--resume").unwrap().0.replace("\\\n", " ");
    let hosts = "parallel --jobs 1 --sshlogin host1,host2 --workdir \"$PWD\"";
    assert!(line.contains(hosts), "{line}");
    let has_parallel = Command::new("parallel").arg("--version").output().is_ok_and(|it| it.status.success());
    let here = if has_parallel { "parallel --jobs 2" } else { "xargs -P 2 -I{}" };
    let worker = root.join("tests/fake_worker.sh").display().to_string();
    let line = line
        .replace(hosts, here)
        .replace("cargo xtask", env!("CARGO_BIN_EXE_xtask"))
        .replace("/data/flowers", &site.path("data").display().to_string())
        .replace("runs/shard-", &site.path("shard-").display().to_string());
    let line = format!("seq 0 7 | {line} --resume --step 0.1 --proxy epochs=9 --worker {worker}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env("FAKE_LOG", site.path("log"));
    succeed(&mut shell);
    joined_equals_whole(&site, (0..8).map(|shard| site.path(&format!("shard-{shard}"))));
}

#[test]
fn the_slurm_script_runs_its_shard() {
    let site = Site::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let release = site.path("target/release");
    std::fs::create_dir_all(&release).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xtask"), release.join("xtask")).unwrap();
    for task in ["0", "1"] {
        let mut script = Command::new("bash");
        script.arg(root.join("slurm-grid-search.sh")).current_dir(site.folder.path());
        script.args(["--step", "0.1", "--proxy", "epochs=9", "--data", "data", "--worker"]);
        script.arg(root.join("tests/fake_worker.sh")).env("FAKE_LOG", site.path("log"));
        script
            .env("SLURM_ARRAY_TASK_ID", task)
            .env("SLURM_ARRAY_TASK_COUNT", "2")
            .env("SLURM_CPUS_PER_TASK", "8");
        succeed(&mut script);
    }
    joined_equals_whole(&site, (0..2).map(|task| site.path(&format!("runs/grid-search/shard-{task}"))));
}

#[test]
fn halving_trains_few_candidates_for_long() {
    let site = Site::new();
    succeed(&mut site.search("run", &["--halving"]));
    let result = site.result("run");
    let epochs = |epochs: &str| site.calls().iter().filter(|call| call.ends_with(epochs)).count();
    let (short, middle, long) = (epochs(" 1"), epochs(" 3"), epochs(" 9"));
    assert!(short > middle && middle > long && long > 0, "{short} {middle} {long}");
    assert_eq!(length(&result["trials"]) + length(&result["eliminated"]), 21);
    succeed(&mut site.search("full", &[]));
    assert_eq!(result["best"], site.result("full")["best"]);
}

#[test]
fn a_part_of_the_data_is_trained_on_and_all_is_validated_on() {
    let site = Site::new();
    succeed(&mut site.search(
        "run",
        &["--proxy", "epochs=1,subset=0.5,width=0.5,imgsz=96", "--max", "1.2", "--tolerance", "0.3"],
    ));
    let subset = std::fs::read_dir(site.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let subset =
        subset.into_iter().find(|path| path.is_dir() && path.to_string_lossy().contains("subset")).unwrap();
    let count = |part: &str| std::fs::read_dir(subset.join(part)).unwrap().count();
    assert_eq!((count("train/a"), count("val/a")), (2, 4));
}

#[test]
fn a_detector_is_judged_by_its_map_and_scaled_from_its_own_file() {
    let site = Site::new();
    let (data, json) = (site.path("data.yaml"), site.path("run.json"));
    std::fs::write(&data, "train: images/train\nval: images/val\nnames: [a]\n").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let search = |with_model: bool| {
        let mut command = site.bare(&["--step", "0.1", "--resolution-divisor", "32", "--threads", "1"]);
        command.arg("--worker").arg(root.join("tests/fake_worker.sh")).arg("--data").arg(&data);
        command.arg("--out").arg(site.path("run")).arg("--json").arg(&json);
        if with_model {
            command.arg("--model").arg(root.join("../configs/detect/effnet-b0-n.yaml"));
        }
        command
    };
    assert!(fail(&mut search(false)).contains("needs a detector: --baseline effyolo-n"));
    succeed(&mut search(true));
    assert!(length(&site.result("run")["trials"]) > 0);
    assert!(site.calls().iter().any(|call| call.contains(" 640 ")), "{:?}", site.calls());
    let model = std::fs::read_to_string(site.path("run/configs/b0-phi0.yaml")).unwrap();
    assert!(model.contains("task: detect") && model.contains("imgsz: 640"), "{model}");
}

#[test]
fn a_detector_baseline_needs_no_model_and_grows_with_its_neck() {
    let site = Site::new();
    let data = site.path("data.yaml");
    std::fs::write(&data, "train: images/train\nval: images/val\nnames: [a]\n").unwrap();
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_worker.sh");
    let mut command = site.bare(&["--baseline", "effyolo-n", "--step", "0.1", "--threads", "1"]);
    command.arg("--worker").arg(worker).arg("--data").arg(&data).arg("--out").arg(site.path("run"));
    succeed(command.arg("--json").arg(site.path("run.json")));
    assert_eq!(site.result("run")["definition"]["resolution_divisor"], 32);
    assert_eq!(site.result("run")["trials"][0]["resolution"].as_u64().unwrap() % 32, 0);
    let best = site.result("run")["best"].clone();
    let model = std::fs::read_to_string(site.path("run/configs/effyolo-n-phi1.yaml")).unwrap();
    let neck = format!("neck: {{scale: n, width: {}, depth: {}}}", best["beta"], best["alpha"]);
    assert!(model.contains(&neck.replace(".0,", ",").replace(".0}", "}")), "{model} {neck}");
    let told = fail(&mut site.search("other", &["--baseline", "effyolo-n"]));
    assert!(told.contains("the model is a detector"), "{told}");
}

#[test]
fn a_finished_search_leaves_plots_a_report_and_models_for_every_phi() {
    let site = Site::new();
    succeed(&mut site.search("run", &["--curves", "2,4", "--seeds", "2", "--resolution-divisor", "32"]));
    let read = |name: &str| std::fs::read_to_string(site.path("run").join(name)).unwrap();
    for plot in ["accuracy-cost", "heat-map", "coefficients", "curves"] {
        assert!(read(&format!("plots/{plot}.svg")).contains("</svg>"), "{plot}");
    }
    let page = read("report.html");
    assert_eq!(page.matches("</svg>").count(), 4);
    assert!(
        page.contains("Ranking") && !page.contains("src=") && !page.contains("<link"),
        "needs no other file"
    );
    let curves = site.result("run")["curves"].as_array().unwrap().clone();
    assert_eq!(curves.len(), 12);
    assert!(curves.iter().all(|point| point["accuracy"].is_f64() && point["standard_error"].is_f64()));
    let ratios: Vec<f64> = curves.iter().map(|point| point["cost_ratio"].as_f64().unwrap()).collect();
    assert!(ratios[..4].iter().all(|&ratio| ratio == 1.0) && ratios[8..].iter().all(|&ratio| ratio > 3.0));
    for phi in 0..=4 {
        let model = read(&format!("configs/b0-phi{phi}.yaml"));
        assert!(model.contains("task: classify") && model.contains("classes: 2"), "{model}");
    }
}

/// A table whose best entry is the published triple.
fn table(site: &Site, keep: impl Fn(usize) -> bool) -> String {
    let at = |i: usize| 1.0 + 0.05 * i as f64;
    let points = (0..21 * 21 * 21).filter(|&i| keep(i)).map(|i| (at(i / 441), at(i / 21 % 21), at(i % 21)));
    let row = |(a, b, g): (f64, f64, f64)| {
        let accuracy = 0.8 - (a - 1.2).powi(2) - (b - 1.1).powi(2) - (g - 1.15).powi(2);
        json!({"alpha": a, "beta": b, "gamma": g, "accuracy": accuracy.max(0.0)})
    };
    let path = site.path("table.json");
    std::fs::write(&path, serde_json::to_string(&points.map(row).collect::<Vec<_>>()).unwrap()).unwrap();
    path.display().to_string()
}

#[test]
fn a_table_whose_optimum_is_the_published_triple_gives_it_back() {
    let site = Site::new();
    let file = table(&site, |_| true);
    let output = site.bare(&["--oracle", "table", &file, "--json", "-"]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1);
    let result: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(result["candidates"], 109);
    let best = [&result["best"]["alpha"], &result["best"]["beta"], &result["best"]["gamma"]];
    assert_eq!(best, [&json!(1.2), &json!(1.1), &json!(1.15)]);
    let sizes = [("0.05", 54), ("0.2", 217)].map(|(tolerance, want)| {
        let output =
            site.bare(&["--oracle", "table", &file, "--json", "-", "--tolerance", tolerance]).output();
        (serde_json::from_slice::<Value>(&output.unwrap().stdout).unwrap()["candidates"].clone(), json!(want))
    });
    sizes.iter().for_each(|(got, want)| assert_eq!(got, want));
}

#[test]
fn memory_bounds_candidates_too() {
    let site = Site::new();
    let file = table(&site, |_| true);
    let search = |limit: &[&str]| {
        let output = site.bare(&["--oracle", "table", &file, "--json", "-"]).args(limit).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let few = search(&["--max-params", "9e6", "--max-activation-mb", "12"]);
    assert!(few["candidates"].as_u64().unwrap() < 109);
    for trial in few["trials"].as_array().unwrap() {
        assert!(trial["params"].as_u64().unwrap() <= 9_000_000, "{trial}");
        assert!(trial["activation_bytes"]["peak"].as_u64().unwrap() <= 12_000_000, "{trial}");
    }
    let told = fail(&mut site.bare(&["--oracle", "table", &file, "--max-params", "1"]));
    assert!(told.contains("--max-params"), "{told}");
}

/// What the stopwatch says differs from run to run, but not what it admits.
#[test]
fn latency_on_this_cpu_bounds_candidates() {
    let site = Site::new();
    let file = table(&site, |_| true);
    let json = site.path("run.json").display().to_string();
    let mut search =
        site.bare(&["--oracle", "table", &file, "--json", &json, "--baseline", "efficientnet-lite0"]);
    search.args(["--constraint", "latency", "--step", "0.5", "--max", "1.5", "--tolerance", "0.8"]);
    let told = succeed(&mut search);
    assert!(told.contains("timing the networks of"), "{told}");
    let result = site.result("run");
    let trials = result["trials"].as_array().unwrap();
    // The baseline itself is one, at about half the target.
    assert!(trials.len() > 1);
    for trial in trials {
        let (cost, ratio) = (trial["cost"].as_f64().unwrap(), trial["cost_ratio"].as_f64().unwrap());
        assert!(cost > 0.0 && cost < 1e5 && (0.4..=3.6).contains(&ratio), "{trial}");
    }
}

#[test]
fn what_a_table_lacks_is_told_and_passed_over() {
    let site = Site::new();
    let file = table(&site, |i| i % 2 == 0);
    let json = site.path("run.json").display().to_string();
    let told = succeed(&mut site.bare(&["--oracle", "table", &file, "--json", &json]));
    assert!(told.contains("passed over, no accuracy known: alpha"), "{told}");
    let result = site.result("run");
    assert!(length(&result["unknown"]) > 0);
    assert_eq!(length(&result["unknown"]) + length(&result["trials"]), 109);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let site = Site::new();
    let file = table(&site, |_| true);
    let cases: &[(&[&str], &str)] = &[
        (&["--step", "0"], "step: expected a finite number above 0"),
        (&["--step", "-0.1"], "step: expected"),
        (&["--step", "NaN"], "step: expected"),
        (&["--tolerance", "-1"], "tolerance: expected"),
        (&["--max", "0.5"], "largest coefficient: expected"),
        (&["--phi", "0"], "phi: expected"),
        (&["--target", "100"], "no coefficients meet the constraint"),
        (&["--constraint", "real", "--tolerance", "0.000001", "--step", "0.5"], "no coefficients meet"),
        (&["--budget", "1"], "no judged candidate fits the budget"),
        (&["--budget", "1", "--objective", "reward"], "--budget needs --objective accuracy"),
        (&["--reward-exponent", "-0.1"], "need --objective reward"),
        (&["--shard", "5/4"], "--shard: expected"),
        (&["--shard", "0/2", "--halving"], "cannot go with --shard"),
        (&["--shard", "0/2", "--constraint", "latency"], "shards would disagree"),
        (&["--resume"], "--resume needs --out"),
        (&["--baseline", "vgg"], "`vgg` is no baseline"),
        (&["--resolution-divisor", "0"], "at least 1"),
    ];
    for (arguments, expected) in cases {
        let told = fail(site.bare(&["--oracle", "table", &file]).args(*arguments));
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    let told = fail(&mut site.bare(&["--oracle", "table"]));
    assert!(told.contains("table FILE"), "{told}");
    let told = fail(&mut site.bare(&["--out", "x"]));
    assert!(told.contains("--data"), "{told}");
    let told = fail(&mut site.search("run", &["--baseline", "resnet-50"]));
    assert!(told.contains("--oracle table"), "{told}");
    for (more, expected) in [
        (["--proxy", "epochs=0"], "at least 1"),
        (["--seeds", "0"], "--seeds: expected"),
        (["--seeds", "1,1"], "--seeds: expected"),
        (["--worker", "nowhere"], "--worker nowhere"),
        (["--target", "100"], "no coefficients"),
    ] {
        let told = fail(&mut site.search("run", &more));
        assert!(told.contains(expected), "{more:?}: {told}");
    }
    let told = succeed(site.search("poor", &[]).env("FAKE_BREAK", "poor"));
    assert!(told.contains("hardly more than always answering the most frequent class (0.5000)"), "{told}");
    // What could not begin leaves nothing that is in the way.
    succeed(&mut site.search("run", &["--seeds", "7,8", "--max", "1.3", "--tolerance", "0.3"]));
    assert_eq!(site.result("run")["trials"][0]["runs"], 2);
}
