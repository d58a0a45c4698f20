//! Files of `torch.save`: what is read, and what is refused and why.

mod torch_writer;

use net_formats::{Archive, Averages, ElementType, FormatError, read};
use torch_writer::{Value, dict, floats, legacy, ordered, pickle, tensor, zip, zipped};

type Storages = Vec<(&'static str, u64, Vec<u8>)>;

/// Reads the value in both containers, which have to give the same.
fn read_both(value: &Value, storages: &Storages, averages: Averages) -> Result<Archive, FormatError> {
    let new = read(&zipped(value, storages), averages);
    let old = read(&legacy(value, storages), averages);
    match (&new, &old) {
        (Ok(new), Ok(old)) => assert_eq!(new, old),
        // Places differ.
        (Err(new), Err(old)) if std::mem::discriminant(new) == std::mem::discriminant(old) => {}
        _ => panic!("the two containers differ: {new:?} {old:?}"),
    }
    new
}

fn six() -> (Value, Storages) {
    let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
    (Value::Storage("FloatStorage", "7", 6), vec![("7", 6, floats(&values))])
}

#[test]
fn strided_transposed_offset_and_expanded_tensors() {
    let (storage, storages) = six();
    let state = ordered(vec![
        ("rows", tensor(storage.clone(), 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(storage.clone(), 0, &[3, 2], &[1, 3])),
        ("offset", tensor(storage.clone(), 4, &[2], &[1])),
        ("every_second", tensor(storage.clone(), 1, &[3], &[2])),
        ("expanded", tensor(storage.clone(), 5, &[3], &[0])),
        ("number", tensor(storage.clone(), 2, &[], &[])),
        ("empty", tensor(storage, 0, &[0, 3], &[3, 1])),
    ]);
    let archive = read_both(&state, &storages, Averages::Prefer).unwrap();
    let values = |name: &str| archive.arrays[name].values.clone();
    assert_eq!(values("rows"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(values("transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(archive.arrays["transposed"].dims, [3, 2]);
    assert_eq!((values("offset"), values("every_second")), (vec![4.0, 5.0], vec![1.0, 3.0, 5.0]));
    assert_eq!((values("expanded"), values("number")), (vec![5.0; 3], vec![2.0]));
    assert!(values("empty").is_empty() && archive.arrays["number"].dims.is_empty());
}

#[test]
fn every_storage_type_is_converted() {
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes().to_vec();
    let brain = |value: f32| half::bf16::from_f32(value).to_le_bytes().to_vec();
    let cases: [(&'static str, Vec<u8>, ElementType, f32); 8] = [
        ("HalfStorage", half(-1.5), ElementType::F16, -1.5),
        ("BFloat16Storage", brain(-1.5), ElementType::BF16, -1.5),
        ("DoubleStorage", (-1.5f64).to_le_bytes().into(), ElementType::F64, -1.5),
        ("LongStorage", (-3i64).to_le_bytes().into(), ElementType::I64, -3.0),
        ("IntStorage", (-3i32).to_le_bytes().into(), ElementType::I32, -3.0),
        ("ShortStorage", (-3i16).to_le_bytes().into(), ElementType::I16, -3.0),
        ("ByteStorage", vec![200], ElementType::U8, 200.0),
        ("BoolStorage", vec![1], ElementType::Bool, 1.0),
    ];
    for (kind, data, stored_as, want) in cases {
        let state = ordered(vec![("x", tensor(Value::Storage(kind, "0", 1), 0, &[1], &[1]))]);
        let archive = read_both(&state, &vec![("0", 1, data)], Averages::Prefer).unwrap();
        assert_eq!((archive.arrays["x"].stored_as, archive.arrays["x"].values[0]), (stored_as, want));
    }
}

#[test]
fn whole_checkpoints_give_their_average_or_their_weights() {
    let (storage, storages) = six();
    let at = |offset| ordered(vec![("w", tensor(storage.clone(), offset, &[1], &[1]))]);
    let checkpoint = dict(vec![
        ("epoch", Value::Int(3)),
        ("arch", Value::Text("tf_efficientnet_b0")),
        ("args", Value::Call("argparse", "Namespace", Vec::new())),
        ("state_dict", at(1)),
        ("ema", dict(vec![("module", at(2))])),
    ]);
    let averaged = read_both(&checkpoint, &storages, Averages::Prefer).unwrap();
    assert_eq!((averaged.arrays["w"].values[0], averaged.origin.as_deref()), (2.0, Some("ema.module")));
    assert_eq!(averaged.metadata["architecture"], "tf_efficientnet_b0");
    let raw = read_both(&checkpoint, &storages, Averages::Ignore).unwrap();
    assert_eq!((raw.arrays["w"].values[0], raw.origin.as_deref()), (1.0, Some("state_dict")));
    for key in ["model", "model_state_dict"] {
        let checkpoint = dict(vec![("ema", Value::None), (key, at(4))]);
        let archive = read_both(&checkpoint, &storages, Averages::Prefer).unwrap();
        assert_eq!((archive.arrays["w"].values[0], archive.origin.as_deref()), (4.0, Some(key)));
    }
}

#[test]
fn parameters_are_their_data_and_other_values_are_named() {
    let (storage, storages) = six();
    let data = tensor(storage, 0, &[2], &[1]);
    let hooks = Value::Ordered(Vec::new());
    let parameter = Value::Call("torch._utils", "_rebuild_parameter", vec![data, Value::None, hooks]);
    let state = ordered(vec![("w", parameter), ("version", Value::Int(2))]);
    let archive = read_both(&state, &storages, Averages::Prefer).unwrap();
    assert_eq!(archive.arrays["w"].values, [0.0, 1.0]);
    assert_eq!((archive.ignored.len(), archive.ignored[0].name.as_str()), (1, "version"));
}

#[test]
fn names_outside_the_list_are_refused_and_said() {
    for (module, name) in [("os", "system"), ("builtins", "eval"), ("torch.storage", "_load_from_bytes")] {
        let call = Value::Call(module, name, vec![Value::Text("touch /tmp/harm")]);
        let error = read_both(&dict(vec![("model", call)]), &Vec::new(), Averages::Prefer).unwrap_err();
        assert!(error.to_string().contains(&format!("`{module}.{name}`")), "{error}");
        assert!(matches!(error, FormatError::RefusedGlobal { .. }));
    }
    let whole = Value::Call("ultralytics.nn.tasks", "DetectionModel", Vec::new());
    let error = read_both(&dict(vec![("model", whole)]), &Vec::new(), Averages::Prefer).unwrap_err();
    assert!(error.to_string().contains("AGPL-3.0"), "{error}");
}

#[test]
fn tensors_outside_their_storage_are_errors() {
    let (storage, storages) = six();
    let cases: [(i32, &[i32], &[i32]); 7] = [
        (1, &[2, 3], &[3, 1]),
        (6, &[1], &[1]),
        (0, &[2], &[6]),
        (-1, &[1], &[1]),
        (0, &[-2], &[1]),
        (0, &[2], &[i32::MAX]),
        (0, &[2, 3], &[1]),
    ];
    for (offset, dims, strides) in cases {
        let state = ordered(vec![("w", tensor(storage.clone(), offset, dims, strides))]);
        let error = read_both(&state, &storages, Averages::Prefer).unwrap_err();
        assert!(matches!(error, FormatError::Damaged { .. }), "{dims:?} {strides:?}: {error}");
    }
    let huge = ordered(vec![("w", tensor(storage.clone(), 0, &[i32::MAX, i32::MAX], &[0, 0]))]);
    let error = read_both(&huge, &storages, Averages::Prefer).unwrap_err();
    assert!(matches!(error, FormatError::Limit { .. }), "{error}");
    let lost = ordered(vec![("w", tensor(Value::Storage("FloatStorage", "8", 6), 0, &[1], &[1]))]);
    let error = read(&zipped(&lost, &storages), Averages::Prefer).unwrap_err();
    assert!(error.to_string().contains("there is no storage `8`"), "{error}");
}

#[test]
fn nesting_without_end_costs_no_stack() {
    let mut deep = vec![0x80, 2];
    deep.extend(std::iter::repeat_n(b']', 400_000));
    deep.extend(std::iter::repeat_n(b'a', 399_999));
    deep.push(b'.');
    let file = zip(&[("archive/data.pkl".into(), deep)]);
    assert!(read(&file, Averages::Prefer).unwrap_err().to_string().contains("a list"));
    // A dict that holds itself.
    let cycle = b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.".to_vec();
    let file = zip(&[("archive/data.pkl".into(), cycle)]);
    assert!(read(&file, Averages::Prefer).is_err());
}

#[test]
fn one_long_name_repeated_costs_no_memory() {
    let (storage, storages) = six();
    let long: &'static str = "k".repeat(1 << 20).leak();
    let mut file = pickle(&ordered(vec![("w", tensor(storage, 0, &[1], &[1]))]));
    file.pop();
    // `key`, memoised, then the same key again and again with None.
    file.extend(b"(X");
    file.extend((long.len() as u32).to_le_bytes());
    file.extend(long.as_bytes());
    file.extend(b"q\x01N");
    file.extend(b"h\x01N".repeat(200_000));
    file.extend(b"u.");
    let data = storages[0].2.clone();
    let file = zip(&[("archive/data.pkl".into(), file), ("archive/data/7".into(), data)]);
    let error = read(&file, Averages::Prefer).unwrap_err();
    assert!(matches!(error, FormatError::Limit { .. }), "{error}");
}

#[test]
fn archives_that_lie_are_errors() {
    let (storage, storages) = six();
    let state = ordered(vec![("w", tensor(storage, 0, &[6], &[1]))]);
    let good = zipped(&state, &storages);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        read(&bytes, Averages::Prefer)
    };
    let data = good.windows(24).position(|window| window == floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])).unwrap();
    assert!(flipped(data).unwrap_err().to_string().contains("checksum"));
    let twice = zip(&[("a/data.pkl".into(), pickle(&state)), ("b/data.pkl".into(), pickle(&state))]);
    assert!(read(&twice, Averages::Prefer).unwrap_err().to_string().contains("got 2"));
    // Two entries of the directory over the same bytes.
    let mut bytes =
        zip(&[("archive/data.pkl".into(), pickle(&state)), ("archive/data/7".into(), Vec::new())]);
    let second = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let first = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes.copy_within(first + 16..first + 28, second + 16);
    bytes.copy_within(first + 42..first + 46, second + 42);
    assert!(read(&bytes, Averages::Prefer).is_err());
}
