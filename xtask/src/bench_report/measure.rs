//! Measurements by processes of the effyolo binary: each work starts with cold caches and has a peak of memory of its own.

use super::root;
use super::works::Work;
use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A binary to measure.
#[derive(Debug)]
pub(super) struct Effyolo {
    binary: PathBuf,
    threads: Option<u16>,
}

/// What measures.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) version: String,
    /// `None` where the system does not tell.
    pub(super) cpu: Option<String>,
    pub(super) isa: String,
    pub(super) threads: usize,
    /// What a loop of multiply-adds reaches on all of `threads`.
    pub(super) peak_gflops: f64,
}

/// What `effyolo info --peak --json` says of it.
#[derive(Deserialize)]
struct Info {
    version: String,
    cpu: Option<String>,
    isa: String,
    threads: usize,
    peak_gflops: Peak,
}

#[derive(Deserialize)]
struct Peak {
    all_threads: f64,
}

/// What `effyolo bench --json` says of a work.
#[derive(Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) median_ms: f64,
    pub(super) min_ms: f64,
    pub(super) gflops: f64,
    pub(super) peak_rss_mb: Option<f64>,
}

impl Effyolo {
    /// The given binary, or the project's own, built in release mode where sources changed.
    pub(super) fn find(given: Option<&Path>, threads: Option<u16>) -> Result<Self> {
        let binary = match given {
            Some(path) => {
                std::fs::canonicalize(path).with_context(|| format!("--binary {}", path.display()))?
            }
            None => build()?,
        };
        Ok(Effyolo { binary, threads })
    }

    /// The machine and its peak.
    pub(super) fn machine(&self) -> Result<Machine> {
        let Info { version, cpu, isa, threads, peak_gflops } = self.answer(&["info", "--peak"])?;
        let peak_gflops = peak_gflops.all_threads;
        ensure!(peak_gflops > 0.0, "effyolo info --peak: expected GFLOP/s above 0, got {peak_gflops}");
        Ok(Machine { version, cpu, isa, threads, peak_gflops })
    }

    /// Times a work.
    pub(super) fn bench(&self, work: &Work, runs: u32) -> Result<Measured> {
        let numbers = [work.imgsz, work.batch, runs as usize].map(|number| number.to_string());
        let [side, batch, runs] = &numbers;
        let mut arguments =
            vec!["bench", "--model", work.model, "--imgsz", side, "--batch", batch, "--runs", runs];
        arguments.extend(work.train.then_some("--train"));
        self.answer(&arguments)
    }

    /// The object that a command prints.
    fn answer<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).args(["--json", "-"]).current_dir(root());
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let what = || format!("{} {}", self.binary.display(), arguments.join(" "));
        let output = command.output().with_context(what)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}: {}", what(), output.status, complaint.trim());
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: its JSON", what()))
    }
}

/// Builds the binary, which does nothing where no source changed, and says where it is.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args([
        "build",
        "--release",
        "--package",
        "effyolo",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let output = command.current_dir(root()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {cargo}"))?;
    ensure!(
        output.status.success(),
        "effyolo could not be built; build it, or name a binary by --binary FILE"
    );
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    executable(&messages).context("cargo's messages name no effyolo binary; name one by --binary FILE")
}

/// The path of the effyolo binary in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ours = messages.filter(|message| message["target"]["name"] == "effyolo");
    ours.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_binary_is() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"serde\"},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"effyolo\"},\"executable\":\"/t/release/effyolo\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/effyolo")));
        assert_eq!(executable("{\"reason\":\"build-finished\",\"success\":true}\n"), None);
    }
}
