//! Runs that are killed, interrupted, or meet a full disk.
#![cfg(unix)]

mod support;

use detect_data::Generator;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{effyolo, succeed, write_data};

const LAST: &str = "runs/exp/weights/last.safetensors";
const STATE: &str = "runs/exp/weights/last-state.safetensors";
const TRAIN: [&str; 9] =
    ["train", "--model", "model.yaml", "--data", "data.yaml", "--epochs", "4", "--seed", "7"];
/// Kills of the test, at moments spread over the run.
const KILLS: usize = 24;

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_effyolo"))
        .args(arguments)
        .args(["--threads", "2"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The command that begins the run, or goes on with it where it has a folder.
fn next_command(folder: &Path) -> Vec<&'static str> {
    if folder.join("runs/exp").exists() { vec!["train", "--resume", "runs/exp"] } else { TRAIN.to_vec() }
}

/// The last weights of a run that nobody disturbed, and the time it took.
fn undisturbed(folder: &Path) -> (Vec<u8>, Duration) {
    write_data(folder);
    let started = Instant::now();
    succeed(folder, &TRAIN);
    (fs::read(folder.join(LAST)).unwrap(), started.elapsed())
}

#[test]
fn a_run_that_is_killed_at_any_moment_ends_with_the_same_bits() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, time) = undisturbed(whole.path());
    write_data(killed.path());
    let mut generator = Generator::for_sample(1, 0, 0);
    let (mut kills, mut ends) = (0, 0);
    while kills < KILLS {
        let mut child = spawn(killed.path(), &next_command(killed.path()));
        sleep(time.mul_f64(generator.uniform(0.0, 1.0)));
        // It may have ended before: then the next one begins anew.
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
            child.wait().unwrap();
            continue;
        }
        assert!(fs::read(killed.path().join(LAST)).unwrap() == expected, "after {kills} kills");
        ends += 1;
        fs::remove_dir_all(killed.path().join("runs")).unwrap();
    }
    succeed(killed.path(), &next_command(killed.path()));
    assert!(fs::read(killed.path().join(LAST)).unwrap() == expected, "after {kills} kills and {ends} ends");
    let left: Vec<_> = fs::read_dir(killed.path().join("runs/exp/weights"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, time) = undisturbed(whole.path());
    write_data(stopped.path());
    let child = spawn(stopped.path(), &TRAIN);
    while !stopped.path().join("runs/exp").exists() {
        sleep(Duration::from_millis(2));
    }
    sleep(time / 4);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(errors.contains("to go on: effyolo train --resume runs/exp"), "{errors}");
    assert!(stopped.path().join(STATE).is_file());
    succeed(stopped.path(), &["train", "--resume", "runs/exp"]);
    assert!(fs::read(stopped.path().join(LAST)).unwrap() == expected);
}

#[test]
fn a_full_disk_leaves_whole_files_and_a_run_that_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    let (expected, _) = undisturbed(whole.path());
    let size = |name: &str| fs::metadata(whole.path().join(name)).unwrap().len() / 512;
    // No room for weights; room for weights and not for the state.
    for blocks in [size(LAST) / 2, (size(LAST) + size(STATE)) / 2] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_data(folder);
        let script = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\" --threads 2");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_effyolo")])
            .args(TRAIN)
            .current_dir(folder)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("cannot be written"), "{errors}");
        assert!(errors.contains("safetensors") && errors.contains("too large"), "{errors}");
        for entry in fs::read_dir(folder.join("runs/exp/weights")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name == "last.safetensors" || name == "best.safetensors", "{name}");
            let path = path.to_str().unwrap();
            assert!(effyolo(folder, &["val", "--weights", path, "--data", "data.yaml"]).status.success());
        }
        succeed(folder, &["train", "--resume", "runs/exp"]);
        assert!(fs::read(folder.join(LAST)).unwrap() == expected, "{blocks} blocks");
    }
}
