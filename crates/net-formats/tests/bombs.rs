//! Files that stand for much more than they hold: an error, before the memory is taken.
#![cfg(target_os = "linux")] // Where the system tells peak memory in a file.

mod samples;

use hdf5_pure::FileBuilder;
use net_formats::{Averages, FormatError, read};
use samples::torch_writer::zip;

/// Peak memory of this whole process, which also makes the files, in KB.
const MOST_MEMORY: u64 = 320 * 1024;

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A legacy file of `torch.save` whose object is this pickle.
fn torch(opcodes: &[u8]) -> Vec<u8> {
    let start = &samples::torch_files()[0][..21];
    [start, b"\x80\x02}.\x80\x02", opcodes, b"."].concat()
}

/// Calls of a function with arguments that are named again and again.
fn calls(function: &str, arguments: &[u8], times: usize) -> Vec<u8> {
    let memoised = [format!("c{function}\nq\x00").as_bytes(), arguments, b"q\x01"].concat();
    torch(&[memoised, b"h\x00h\x01R".repeat(times)].concat())
}

/// `(storage, offset, dimensions, strides)` of a tensor with as many and as long parts as there may be.
fn tensor_arguments() -> Vec<u8> {
    let numbers = [&b"("[..], &b"K\x01".repeat(8), b"t"].concat();
    let storage =
        [b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x40\x00\x00\x00", &[b'k'; 64][..], b"NK\x01tQ"];
    [&b"("[..], &storage.concat(), b"K\x00", &numbers, &numbers, b"t"].concat()
}

fn onnx_of_empty_initialisers(count: usize) -> Vec<u8> {
    let graph = b"\x2a\x00".repeat(count);
    let mut len = graph.len();
    let mut head = vec![0x08, 8, 0x3a];
    while len > 0x7f {
        head.push(len as u8 | 0x80);
        len >>= 7;
    }
    head.push(len as u8);
    [head, graph].concat()
}

fn safetensors_of_empty_arrays(count: usize) -> Vec<u8> {
    let array = |index| format!(r#""{index}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let header = format!("{{{}}}", (0..count).map(array).collect::<Vec<_>>().join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// Six numbers in one compressed piece of a quarter of a gigabyte.
fn keras_of_one_huge_piece() -> Vec<u8> {
    let mut file = FileBuilder::new();
    file.create_dataset("kernel")
        .with_f32_data(&[1.0; 6])
        .with_shape(&[6])
        .with_chunks(&[1 << 24])
        .with_deflate(9);
    file.finish().unwrap()
}

/// Zeros, compressed a thousandfold.
fn keras_of_zeros() -> Vec<u8> {
    let (mut file, zeros) = (FileBuilder::new(), vec![0.0; 1 << 21]);
    file.create_dataset("kernel")
        .with_f32_data(&zeros)
        .with_shape(&[1 << 21])
        .with_chunks(&[1 << 18])
        .with_deflate(9);
    file.finish().unwrap()
}

#[test]
fn what_would_unpack_to_too_much_is_an_error() {
    let long = 1_200_000;
    let cases = [
        ("opcodes", torch(&[&b"N"[..], &b"\x94".repeat(long)].concat())),
        ("opcodes", torch(&b"]".repeat(long))),
        ("tensors", calls("torch._utils\n_rebuild_tensor_v2", &tensor_arguments(), 200_000)),
        ("entries", onnx_of_empty_initialisers(4_000_000)),
        ("entries", safetensors_of_empty_arrays(150_000)),
        ("elements", keras_of_one_huge_piece()),
        ("elements", keras_of_zeros()),
    ];
    for (what, bytes) in cases {
        let error = read(&bytes, Averages::Prefer).unwrap_err();
        let FormatError::Limit { what: got, .. } = error else { panic!("{what}: {error}") };
        assert_eq!(got, what);
    }
    let entries: Vec<(String, Vec<u8>)> =
        (0..60_000).map(|index| (format!("a/{index}"), Vec::new())).collect();
    assert!(read(&zip(&entries), Averages::Prefer).is_err());
    assert!(peak_memory() < MOST_MEMORY, "{} KB", peak_memory());
}
