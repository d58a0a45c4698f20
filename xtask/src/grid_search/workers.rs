//! Trials as processes of the effyolo binary.

use super::data::Task;
use super::store::Ending;
use super::trial::{Settings, Trial};
use crate::json_file::write_text;
use crate::model_file::ModelTemplate;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Lines of a broken trial's standard error that are kept.
const LAST_LINES: usize = 5;
const LONGEST_LINE: usize = 500;
const POLL: Duration = Duration::from_millis(20);

/// What all trials share.
pub(super) struct Workers<'a> {
    pub(super) binary: PathBuf,
    pub(super) template: &'a ModelTemplate,
    pub(super) settings: &'a Settings,
    pub(super) data: PathBuf,
    /// Folder of the trials' own folders.
    pub(super) folder: PathBuf,
    pub(super) jobs: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) keep_runs: bool,
}

/// A trial that ended.
pub(super) struct Finished {
    pub(super) trial: Trial,
    pub(super) ending: Ending,
    pub(super) seconds: f64,
}

impl Workers<'_> {
    /// Runs all trials, `jobs` at a time, and hands each to `finished` as it ends.
    ///
    /// # Errors
    /// When `finished` fails; trials that are running then are ended.
    pub(super) fn run(
        &self,
        trials: Vec<Trial>,
        mut finished: impl FnMut(Finished) -> Result<()>,
    ) -> Result<()> {
        let queue = Mutex::new(VecDeque::from(trials));
        let stop = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (sender, queue, stop) = (sender.clone(), &queue, &stop);
                scope.spawn(move || {
                    while let Some(trial) = next(queue, stop) {
                        let start = Instant::now();
                        let ending = self.trial(&trial, stop).map_err(|error| format!("{error:#}"));
                        let seconds = start.elapsed().as_secs_f64();
                        let (kept, wait_until_kept) = mpsc::channel();
                        // The next trial begins when this one is kept, so that a kill repeats at most one a job.
                        let told = sender.send((Finished { trial, ending, seconds }, kept)).is_ok();
                        if !told || wait_until_kept.recv().is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let result = receiver.iter().try_for_each(|(trial, kept): (Finished, mpsc::Sender<()>)| {
                finished(trial)?;
                // A job that is gone does not wait.
                let _ = kept.send(());
                Ok(())
            });
            stop.store(true, Ordering::Relaxed);
            drop(receiver);
            result
        })
    }

    /// One trial from its folder to its accuracy.
    fn trial(&self, trial: &Trial, stop: &AtomicBool) -> Result<f64> {
        let folder = self.folder.join(trial.name());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let model = folder.join("model.yaml");
        write_text(&model, &self.template.scaled(trial.scaling, trial.side)?)?;
        let result = folder.join("result.json");
        let mut command = self.command(trial, &folder, &model, &result);
        let child =
            command.spawn().with_context(|| format!("cannot start the worker {}", self.binary.display()))?;
        let (status, last_lines) = self.wait(child, stop)?;
        ensure!(status.success(), "the worker ended with {status}; its last words: {last_lines}");
        let accuracy = read_accuracy(&result, self.settings.task)?;
        if !self.keep_runs {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(accuracy)
    }

    fn command(&self, trial: &Trial, folder: &Path, model: &Path, result: &Path) -> Command {
        let Settings { task, proxy, threads, set, .. } = self.settings;
        let mut command = Command::new(&self.binary);
        command.arg("train");
        if *task == Task::Classify {
            command.args(["--task", "classify"]);
        }
        command.arg("--model").arg(model).arg("--data").arg(&self.data);
        let numbers = [
            ("--epochs", trial.epochs as u64),
            ("--imgsz", trial.side as u64),
            ("--batch", proxy.batch as u64),
            ("--seed", trial.seed),
            ("--threads", *threads as u64),
        ];
        for (name, number) in numbers {
            command.arg(name).arg(number.to_string());
        }
        command.arg("--project").arg(folder).args(["--name", "run"]).arg("--json").arg(result);
        set.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Waits for the end, or ends it when the time is over or the search stops.
    fn wait(&self, mut child: Child, stop: &AtomicBool) -> Result<(ExitStatus, String)> {
        let stderr = child.stderr.take().context("the worker's standard error")?;
        let reader = std::thread::spawn(move || last_lines(stderr));
        let start = Instant::now();
        let mut ended = None;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let late = self.timeout.is_some_and(|timeout| start.elapsed() > timeout);
            if late || stop.load(Ordering::Relaxed) {
                child.kill()?;
                ended = Some(if late { "the trial took longer than --trial-timeout" } else { "stopped" });
                break child.wait()?;
            }
            std::thread::sleep(POLL);
        };
        if let Some(reason) = ended {
            // A child of the worker may hold the pipe open: its words are not waited for.
            anyhow::bail!("{reason}");
        }
        let lines = reader.join().unwrap_or_default();
        Ok((status, if lines.is_empty() { "none".into() } else { lines.join(" | ") }))
    }
}

fn next(queue: &Mutex<VecDeque<Trial>>, stop: &AtomicBool) -> Option<Trial> {
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
}

fn last_lines(stderr: ChildStderr) -> Vec<String> {
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(stderr);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&bytes);
        // A progress bar writes many states into one line; the last one counts.
        let line: String =
            text.trim().rsplit('\r').next().unwrap_or_default().chars().take(LONGEST_LINE).collect();
        bytes.clear();
        if !line.is_empty() {
            lines.push_back(line);
        }
        if lines.len() > LAST_LINES {
            lines.pop_front();
        }
    }
    lines.into()
}

/// Top-1 accuracy of a classifier, mAP50-95 of a detector.
fn read_accuracy(result: &Path, task: Task) -> Result<f64> {
    let place = || format!("the worker's {}", result.display());
    let text = std::fs::read_to_string(result).with_context(place)?;
    let value: Value = serde_json::from_str(&text).with_context(place)?;
    let key = match task {
        Task::Classify => "top1",
        Task::Detect => "map50_95",
    };
    let got = &value[key];
    let accuracy = got.as_f64().filter(|accuracy| (0.0..=1.0).contains(accuracy));
    accuracy.with_context(|| format!("{key}: expected a number in 0 ..= 1, got {got}"))
}

/// The given binary; else, of an xtask built in release mode, the effyolo beside it; else that of target/release, which is
/// built if it is missing. Trials train for hours: what was built to be debugged is no worker unless it is asked for.
pub(super) fn find_binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return std::fs::canonicalize(path).with_context(|| format!("--worker {}", path.display()));
    }
    let name = format!("effyolo{}", std::env::consts::EXE_SUFFIX);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project's folder");
    let release = root.join("target").join("release").join(&name);
    let own = std::env::current_exe().ok().filter(|_| !cfg!(debug_assertions));
    let beside = own.map(|own| own.with_file_name(&name));
    if let Some(found) = beside.into_iter().chain([release.clone()]).find(|path| path.is_file()) {
        return Ok(found);
    }
    eprintln!("there is no effyolo binary yet; building it once: cargo build --release --package effyolo");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status =
        Command::new(cargo).args(["build", "--release", "--package", "effyolo"]).current_dir(root).status();
    let built = status.is_ok_and(|status| status.success()) && release.is_file();
    ensure!(built, "effyolo could not be built; build it, or name a binary by --worker FILE");
    Ok(release)
}
