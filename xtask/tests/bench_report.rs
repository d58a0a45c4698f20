//! `cargo xtask bench-report` as a command, with a binary that invents its numbers.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DOCUMENT: &str = "# Title \r\n<!-- bench-report:begin -->\nold\n<!-- bench-report:end -->\n\tthe rest";

/// A folder with a document of that text.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(text: &str) -> Self {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::write(site.document(), text).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn document(&self) -> PathBuf {
        self.path("README.md")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.document()).unwrap()
    }

    /// The calls of the binary.
    fn calls(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(String::from).collect()
    }

    fn command(&self, more: &[&str]) -> Command {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_bench.sh");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("bench-report").arg("--binary").arg(binary).args(more);
        command.env("FAKE_LOG", self.path("log")).current_dir(self.folder.path());
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_table_comes_between_the_markers_and_nothing_else_changes() {
    let site = Site::new(DOCUMENT);
    stdout(site.run(&["--out", "README.md"]));
    let text = site.text();
    let (before, after) =
        ("# Title \r\n<!-- bench-report:begin -->\n", "<!-- bench-report:end -->\n\tthe rest");
    let table = text.strip_prefix(before).and_then(|text| text.strip_suffix(after)).expect(&text);
    assert!(table.contains("Fake CPU, 2 threads, avx2, fp32, effyolo 0.1.0"), "{table}");
    assert!(table.contains("200.0 GFLOP/s"), "the better peak counts: {table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.contains("`configs/")).collect();
    assert_eq!(rows.len(), 10, "{table}");
    assert!(rows[0].ends_with("| 224 | 1 | 224 | 50.0 | 25 % | unknown |"), "{}", rows[0]);
    assert!(rows[9].ends_with("| 224 | 16 | 3584 | 50.0 | 25 % | 300 |"), "{}", rows[9]);
    let left: Vec<_> =
        std::fs::read_dir(site.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a document and a log, no temporary file: {left:?}");
}

#[test]
fn options_reach_the_binary() {
    let site = Site::new(DOCUMENT);
    let options =
        ["--out", "-", "--threads", "3", "--runs", "7", "--only", "yolov8n,train-b0", "--json", "all.json"];
    let table = stdout(site.run(&options));
    assert_eq!(table.lines().filter(|line| line.contains("`configs/")).count(), 2, "{table}");
    assert!(table.starts_with("Fake CPU, 3 threads") && table.contains("Medians of 7 runs."), "{table}");
    assert_eq!(site.text(), DOCUMENT);
    let calls = site.calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    let yolov8n =
        "bench --model configs/detect/yolov8n.yaml --imgsz 640 --batch 1 --runs 7 --json - --threads 3";
    let b0 = "bench --model configs/classify/effnet-b0.yaml --imgsz 224 --batch 16 --runs 7 --train --json - --threads 3";
    assert_eq!(calls[1..3], [yolov8n, b0]);

    let report: Value = serde_json::from_slice(&std::fs::read(site.path("all.json")).unwrap()).unwrap();
    let machine = ["cpu", "isa", "version", "threads", "peak_gflops", "runs"].map(|key| report[key].clone());
    assert_eq!(json!(machine), json!(["Fake CPU", "avx2", "0.1.0", 3, 200.0, 7]));
    let expected = json!({
        "name": "yolov8n", "title": "YOLOv8n", "model": "configs/detect/yolov8n.yaml", "imgsz": 640, "batch": 1, "train": false,
        "median_ms": 640.5, "min_ms": 7.0, "gflops": 50.0, "peak_share": 0.25, "peak_rss_mb": null,
    });
    assert_eq!(report["works"][0], expected);
}

#[test]
fn a_document_without_markers_is_refused_before_anything_is_measured() {
    let site = Site::new("# Title\n");
    let message = complaint(&site.run(&["--out", "README.md"]));
    assert!(
        message.contains("README.md: there is no line `<!-- bench-report:begin -->`; add these two lines"),
        "{message}"
    );
    assert!(complaint(&site.run(&["--out", "absent.md"])).contains("cannot read absent.md"));
    assert!(site.calls().is_empty() && site.text() == "# Title\n");
}

#[test]
fn a_measurement_that_fails_leaves_the_document_as_it_was() {
    let site = Site::new(DOCUMENT);
    let output = site.command(&["--out", "README.md"]).env("FAKE_BREAK", "yes").output().unwrap();
    let message = complaint(&output);
    assert!(message.contains("--imgsz 320 --batch 8") && message.contains("out of memory"), "{message}");
    assert_eq!(site.text(), DOCUMENT);
}

#[test]
fn options_that_make_no_sense_are_named() {
    let site = Site::new(DOCUMENT);
    let message = complaint(&site.run(&["--only", "b9"]));
    assert!(message.contains("expected one of b0, b0-batch8, b4, effyolo"), "{message}");
    assert!(complaint(&site.run(&["--runs", "0"])).contains("--runs"));
    assert!(complaint(&site.run(&["--threads", "0"])).contains("--threads"));
}

#[cfg(unix)]
#[test]
fn a_link_to_the_document_stays_a_link() {
    let site = Site::new(DOCUMENT);
    let link = site.path("link.md");
    std::os::unix::fs::symlink(site.document(), &link).unwrap();
    stdout(site.run(&["--out", "link.md", "--only", "b0"]));
    assert!(link.is_symlink() && site.text().contains("EfficientNet-B0"));
}

/// The file that the command writes to unless told otherwise.
#[test]
fn the_projects_readme_has_the_markers_once() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    for marker in ["<!-- bench-report:begin -->", "<!-- bench-report:end -->"] {
        assert_eq!(text.lines().filter(|line| *line == marker).count(), 1, "{marker}");
    }
}
