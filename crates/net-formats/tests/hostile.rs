//! Any bytes give arrays or an error, in bounded time and memory, and never a panic.

mod samples;

use net_formats::{Averages, read, tensor_bundle};
use proptest::prelude::*;
use samples::torch_writer::zip;
use samples::{golden, onnx, safetensors, small, torch_files};

#[test]
fn the_files_that_are_mutated_are_good_ones() {
    for sample in small() {
        let arrays = (sample.read)(&sample.bytes).unwrap().arrays;
        assert_eq!(
            arrays.len(),
            if ["safetensors", "ONNX"].contains(&sample.name) { 1 } else { 2 },
            "{}",
            sample.name
        );
    }
    let keras = zip(&[("model.weights.h5".into(), golden("toy.weights.h5"))]);
    assert_eq!(read(&keras, Averages::Prefer).unwrap().arrays.len(), 200);
    for file in ["toy.weights.h5", "toy_legacy_weights.h5"] {
        assert_eq!(read(&golden(file), Averages::Prefer).unwrap().arrays.len(), 200);
    }
}

/// Changes of a file: bytes overwritten, or 8 bytes replaced by an extreme number, and perhaps a shorter end.
fn mutated(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = original.len();
    let extreme = prop_oneof![Just(u64::MAX), Just(1u64 << 62), Just(0), any::<u64>()];
    // Heads are where lengths and offsets are.
    let place = prop_oneof![0..len.min(256), 0..len, len.saturating_sub(128)..len];
    let byte = (place.clone(), any::<u8>()).prop_map(|(at, byte)| (at, vec![byte]));
    let number = (place, extreme).prop_map(|(at, number)| (at, number.to_le_bytes().to_vec()));
    let changes = proptest::collection::vec(prop_oneof![byte, number], 1..6);
    (changes, prop_oneof![3 => Just(len), 1 => 0..len]).prop_map(move |(changes, end)| {
        let mut bytes = original.clone();
        for (at, new) in changes {
            let to = (at + new.len()).min(len);
            bytes[at..to].copy_from_slice(&new[..to - at]);
        }
        bytes.truncate(end);
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, Averages::Prefer);
    }

    #[test]
    fn any_pickle(opcodes in proptest::collection::vec(prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"(.0123NJKMIX)]}tldaesucRbqrhjQ\x85\x86\x87\x94\x93\x81".to_vec()),
    ], 0..200)) {
        let start = torch_files()[0][..21].to_vec();
        let _ = read(&[start.clone(), opcodes.clone()].concat(), Averages::Prefer);
        let machine = b"\x80\x02}.".to_vec();
        let _ = read(&[start, machine, opcodes].concat(), Averages::Prefer);
    }

    #[test]
    fn mutated_torch_files(legacy in mutated(torch_files()[0].clone()), zipped in mutated(torch_files()[1].clone())) {
        let _ = read(&legacy, Averages::Prefer);
        let _ = read(&zipped, Averages::Ignore);
    }

    #[test]
    fn mutated_safetensors_and_onnx(tensors in mutated(safetensors()), model in mutated(onnx())) {
        let _ = read(&tensors, Averages::Prefer);
        let _ = read(&model, Averages::Prefer);
    }

    #[test]
    fn mutated_keras_files(new in mutated(golden("toy.weights.h5")), old in mutated(golden("toy_legacy_weights.h5"))) {
        let _ = read(&new, Averages::Prefer);
        let _ = read(&old, Averages::Prefer);
    }

    #[test]
    fn mutated_checkpoints(
        index in mutated(golden("model.ckpt.index")),
        shard in mutated(golden("model.ckpt.data-00000-of-00001")),
    ) {
        let good_index = golden("model.ckpt.index");
        let _ = tensor_bundle::read(&index, Averages::Prefer, |_, _| Ok(shard.clone()));
        let _ = tensor_bundle::read(&good_index, Averages::Ignore, |_, _| Ok(shard.clone()));
    }
}

#[test]
fn a_safetensors_header_that_lies_is_an_error() {
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    };
    let cases = [
        file(r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}"#, 8),
        file(r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 8),
        file(r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#, 16),
        file(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8),
        file(r#"{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#, 4),
        [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        [&(1u64 << 31).to_le_bytes()[..], b"{}"].concat(),
    ];
    for bytes in cases {
        assert!(read(&bytes, Averages::Prefer).is_err());
    }
}
