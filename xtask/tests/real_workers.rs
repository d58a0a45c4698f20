//! The search with the effyolo binary as worker: kills, shards, and a detector, on pictures made here.
#![cfg(unix)]

use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The effyolo binary of the same profile as this test, built if it is not.
fn worker() -> &'static Path {
    static WORKER: OnceLock<PathBuf> = OnceLock::new();
    WORKER.get_or_init(|| {
        let own = Path::new(env!("CARGO_BIN_EXE_xtask"));
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "effyolo"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if own.parent().unwrap().ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "effyolo does not build");
        own.with_file_name("effyolo")
    })
}

/// Pictures of two colours, which even the smallest network tells apart.
fn picture(class: usize, index: usize) -> image::RgbImage {
    image::RgbImage::from_fn(64, 64, |x, y| {
        let inside = (16..48).contains(&x) && (16..48).contains(&y);
        let shade = ((x * 7 + y * 3) as usize + 31 * index) as u8 / 4;
        match (inside, class) {
            (true, 0) => image::Rgb([200, shade, shade]),
            (true, _) => image::Rgb([shade, shade, 200]),
            (false, _) => image::Rgb([shade, shade, shade]),
        }
    })
}

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Site(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keep(&self, name: &str, class: usize, index: usize) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture(class, index).save(path).unwrap();
    }

    fn classes(&self) -> PathBuf {
        for index in 0..16 {
            let part = if index < 12 { "train" } else { "val" };
            for class in 0..2 {
                self.keep(&format!("data/{part}/{class}/{index}.png"), class, index);
            }
        }
        self.path("data")
    }

    fn boxes(&self) -> PathBuf {
        for index in 0..8 {
            let part = if index < 6 { "train" } else { "val" };
            self.keep(&format!("images/{part}/{index}.png"), index % 2, index);
            let label = self.path(&format!("labels/{part}/{index}.txt"));
            std::fs::create_dir_all(label.parent().unwrap()).unwrap();
            std::fs::write(label, format!("{} 0.5 0.5 0.5 0.5\n", index % 2)).unwrap();
        }
        let yaml = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
        std::fs::write(self.path("data.yaml"), yaml).unwrap();
        self.path("data.yaml")
    }

    fn search(&self, data: &Path, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("grid-search").arg("--worker").arg(worker()).arg("--data").arg(data);
        command.args(["--step", "0.2", "--tolerance", "0.2", "--threads", "1"]);
        command.args(more).arg("--out").arg(self.path(out));
        command
    }

    fn result(&self, out: &str) -> Value {
        let text = std::fs::read_to_string(self.path(out).join("results.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Finished trials: accuracy and seconds by key; none where the search ended before its store had tables.
    fn finished(&self, out: &str) -> BTreeMap<String, (f64, f64)> {
        let file = self.path(out).join("trials.sqlite");
        if !file.is_file() {
            return BTreeMap::new();
        }
        let connection = Connection::open(file).unwrap();
        let tables = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'trials'";
        if connection.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            return BTreeMap::new();
        }
        let mut query = connection.prepare("SELECT key, accuracy, seconds FROM trials").unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

const TINY: [&str; 4] =
    ["--proxy", "epochs=1,imgsz=32,width=0.1,batch=8", "--baseline", "efficientnet-lite0"];

/// Starts the search, and after `delay` ends it as the kernel would.
fn kill_after(mut command: Command, delay: Duration) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < delay && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts the search, and ends it at once when it tells of its second trial.
fn kill_after_two_trials(mut command: Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("[2/")), "two trials");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn kills_lose_no_finished_trial_and_shards_join_to_one_run() {
    let site = Site::new();
    let data = site.classes();
    succeed(site.search(&data, "whole", &TINY));
    let whole = site.finished("whole");
    assert!(whole.len() >= 5, "{whole:?}");
    assert!(site.result("whole")["broken"].as_array().unwrap().is_empty());

    let resumed = [&TINY[..], &["--resume", "--jobs", "2"]].concat();
    kill_after_two_trials(site.search(&data, "killed", &resumed));
    let mut kept = site.finished("killed");
    assert!(kept.len() >= 2, "{kept:?}");
    for milliseconds in [1, 40, 150, 333, 600, 900] {
        kill_after(site.search(&data, "killed", &resumed), Duration::from_millis(milliseconds));
        let now = site.finished("killed");
        // The seconds of a trial that was repeated would differ.
        assert!(kept.iter().all(|(key, trial)| now.get(key) == Some(trial)), "after {milliseconds} ms");
        kept = now;
    }
    succeed(site.search(&data, "killed", &resumed));
    let now = site.finished("killed");
    assert!(kept.iter().all(|(key, trial)| now.get(key) == Some(trial)));
    assert_eq!(site.result("killed")["trials"], site.result("whole")["trials"]);

    for shard in ["0/2", "1/2"] {
        let more = [&TINY[..], &["--shard", shard]].concat();
        succeed(site.search(&data, &format!("shard-{}", &shard[..1]), &more));
    }
    let mut merge = Command::new(env!("CARGO_BIN_EXE_xtask"));
    merge.args(["grid-search", "--merge"]).args([site.path("shard-0"), site.path("shard-1")]);
    merge.arg("--out").arg(site.path("joined"));
    succeed(merge);
    assert_eq!(site.result("joined"), site.result("whole"));
}

#[test]
fn a_detector_is_searched_and_its_answer_trains() {
    let site = Site::new();
    let data = site.boxes();
    let proxy = "epochs=1,imgsz=64,width=0.1,batch=4";
    let told = succeed(site.search(&data, "run", &["--baseline", "effyolo-lite0-n", "--proxy", proxy]));
    assert!(told.contains("left"), "{told}");
    let result = site.result("run");
    assert!(result["broken"].as_array().unwrap().is_empty(), "{}", result["broken"]);
    assert!(!result["trials"].as_array().unwrap().is_empty());
    let model = site.path("run/configs/effyolo-lite0-n-phi1.yaml");
    let mut train = Command::new(worker());
    train.arg("train").arg("--model").arg(model).arg("--data").arg(&data);
    train.args(["--epochs", "1", "--imgsz", "64", "--batch", "2", "--threads", "1"]);
    train.arg("--project").arg(site.path("runs"));
    succeed(train);
}
