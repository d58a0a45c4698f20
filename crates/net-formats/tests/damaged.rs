//! Files that were cut off, changed or lie about lengths, at every place: an error or the whole, never other arrays after
//! a cut, never a panic, in bounded time and memory.

mod samples;

use net_formats::{Archive, FormatError};
use samples::{Sample, real, small};
use std::time::{Duration, Instant};

/// For one damaged file; a good one takes milliseconds.
const LONGEST: Duration = Duration::from_secs(2);
/// Peak memory of this whole process, which also holds the samples, in KB.
const MOST_MEMORY: u64 = 512 * 1024;

/// Reads damaged bytes within the bounds.
fn read(sample: &Sample, bytes: &[u8], damage: &str) -> Result<Archive, FormatError> {
    let started = Instant::now();
    let result = (sample.read)(bytes);
    assert!(started.elapsed() < LONGEST, "{}, {damage}: took {:?}", sample.name, started.elapsed());
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.len() < 4000, "{}, {damage}: a message of {} letters", sample.name, text.len());
    }
    result
}

/// Peak memory so far, where the system tells it in a file.
#[cfg(target_os = "linux")]
fn assert_memory_is_bounded() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    let peak: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MOST_MEMORY, "{peak} KB");
}

#[cfg(not(target_os = "linux"))]
fn assert_memory_is_bounded() {}

fn cut_at(sample: &Sample, places: impl Iterator<Item = usize>) {
    let whole = (sample.read)(&sample.bytes).unwrap();
    for end in places {
        if let Ok(archive) = read(sample, &sample.bytes[..end], &format!("cut at {end}")) {
            assert_eq!(archive, whole, "{}, cut at {end}", sample.name);
        }
    }
}

/// Bytes changed, and fields of every width replaced by what a length or offset must not be.
fn change_at(sample: &Sample, places: impl Iterator<Item = usize>) {
    let mut bytes = sample.bytes.clone();
    for at in places {
        let byte = sample.bytes[at];
        for new in [byte ^ 1, byte ^ 0x80, 0, 0xff] {
            bytes[at] = new;
            let _ = read(sample, &bytes, &format!("byte {at} is {new}"));
        }
        bytes[at] = byte;
        for width in [2, 4, 8].into_iter().filter(|width| at + width <= sample.bytes.len()) {
            let bits = 8 * width as u32;
            for number in [u64::MAX, 1 << (bits - 1), (1 << (bits - 2)) + 1, 1 << (bits / 2)] {
                bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
                let _ = read(sample, &bytes, &format!("{width} bytes at {at} are {number:#x}"));
            }
            bytes[at..at + width].copy_from_slice(&sample.bytes[at..at + width]);
        }
    }
}

#[test]
fn small_files_cut_at_every_place() {
    for sample in small() {
        let len = sample.bytes.len();
        cut_at(&sample, 0..len);
    }
    assert_memory_is_bounded();
}

#[test]
fn small_files_changed_at_every_place() {
    for sample in small() {
        let len = sample.bytes.len();
        change_at(&sample, 0..len);
    }
    assert_memory_is_bounded();
}

#[test]
fn real_files_cut_at_many_places() {
    for sample in real() {
        let len = sample.bytes.len();
        let step = (len / 150).max(1);
        cut_at(&sample, (0..len).step_by(step).chain(len - 60..len));
    }
    assert_memory_is_bounded();
}

/// Where HDF5 keeps what is no data: the start of the file, and behind some of the signatures of its structures.
fn structures(bytes: &[u8]) -> Vec<usize> {
    let signatures: [&[u8]; 4] = [b"TREE", b"SNOD", b"HEAP", b"GCOL"];
    let is_marked = |at: &usize| signatures.iter().any(|mark| bytes[*at..].starts_with(mark));
    let marked: Vec<usize> = (0..bytes.len()).filter(is_marked).collect();
    let some = marked.iter().step_by((marked.len() / 5).max(1));
    let behind = some.flat_map(|at| (*at..at + 48).step_by(5));
    (0..96).step_by(3).chain(behind).filter(|at| *at < bytes.len()).collect()
}

#[test]
fn structures_of_real_keras_files_changed() {
    for sample in real().iter().filter(|sample| sample.name.contains("Keras")) {
        change_at(sample, structures(&sample.bytes).into_iter());
    }
    assert_memory_is_bounded();
}
