//! Small good files of every format, to be damaged.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../torch_writer/mod.rs"]
pub(crate) mod torch_writer;

use hdf5_pure::{AttrValue, FileBuilder};
use net_formats::{Archive, Averages, FormatError, read, safetensors_file, tensor_bundle};
use std::collections::BTreeMap;
use torch_writer::{Value, floats, legacy, ordered, tensor, zip, zipped};

type Reader = dyn Fn(&[u8]) -> Result<Archive, FormatError>;

/// A file and how it is read.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) read: Box<Reader>,
}

impl Sample {
    fn alone(name: &'static str, bytes: Vec<u8>) -> Self {
        Sample { name, bytes, read: Box::new(|bytes| read(bytes, Averages::Prefer)) }
    }
}

/// Files of some hundred bytes.
pub(crate) fn small() -> Vec<Sample> {
    let [legacy, zipped] = torch_files();
    let keras = keras();
    let archive = zip(&[("model.weights.h5".into(), keras.clone())]);
    let alone = [
        ("legacy torch", legacy),
        ("zipped torch", zipped),
        ("safetensors", safetensors()),
        ("ONNX", onnx()),
        ("Keras", keras),
        ("Keras archive", archive),
    ];
    alone.into_iter().map(|(name, bytes)| Sample::alone(name, bytes)).collect()
}

/// The files that TensorFlow and Keras wrote.
pub(crate) fn real() -> Vec<Sample> {
    let (index, shard) = (golden("model.ckpt.index"), golden("model.ckpt.data-00000-of-00001"));
    let whole_shard = shard.clone();
    let read_index =
        move |index: &[u8]| tensor_bundle::read(index, Averages::Prefer, |_, _| Ok(whole_shard.clone()));
    let whole_index = index.clone();
    let read_shard =
        move |shard: &[u8]| tensor_bundle::read(&whole_index, Averages::Prefer, |_, _| Ok(shard.to_vec()));
    vec![
        Sample { name: "TensorFlow index", bytes: index, read: Box::new(read_index) },
        Sample { name: "TensorFlow shard", bytes: shard, read: Box::new(read_shard) },
        Sample::alone("Keras 3", golden("toy.weights.h5")),
        Sample::alone("legacy Keras", golden("toy_legacy_weights.h5")),
    ]
}

pub(crate) fn golden(file: &str) -> Vec<u8> {
    let entry = &test_support::entries("weight_conversion")[0];
    let path = entry.path().with_extension("").join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn torch_files() -> [Vec<u8>; 2] {
    let storage = Value::Storage("FloatStorage", "0", 6);
    let state = ordered(vec![
        ("a.weight", tensor(storage.clone(), 0, &[2, 3], &[3, 1])),
        ("a.bias", tensor(storage, 1, &[2, 2], &[1, 2])),
    ]);
    let storages = vec![("0", 6, floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))];
    [legacy(&state, &storages), zipped(&state, &storages)]
}

pub(crate) fn safetensors() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let array = safetensors_file::ArrayRef { dims: &[2, 2], values: &[1.0, 2.0, 3.0, 4.0] };
    safetensors_file::write(file.path(), &BTreeMap::from([("w".to_string(), array)]), Some(("k", "v")))
        .unwrap();
    std::fs::read(file.path()).unwrap()
}

/// `ModelProto { ir_version: 8, graph: { initializer: { dims: [2], data_type: 1, name: "w", raw_data: .. } } }`.
pub(crate) fn onnx() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let raw = floats(&[1.5, -2.0]);
    let tensor = [&[0x08, 2, 0x10, 1][..], &field(8, b"w"), &field(9, &raw)].concat();
    [&[0x08, 8][..], &field(7, &field(5, &tensor))].concat()
}

/// Keras 3's layout, with a compressed array in chunks.
pub(crate) fn keras() -> Vec<u8> {
    let mut file = FileBuilder::new();
    let mut layers = file.create_group("layers");
    let mut layer = layers.create_group("conv2d");
    let mut vars = layer.create_group("vars");
    vars.set_attr("name", AttrValue::String("stem_conv".into()));
    let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
    vars.create_dataset("0").with_f32_data(&values).with_shape(&[4, 6]).with_chunks(&[2, 6]).with_deflate(6);
    vars.create_dataset("1").with_f32_data(&[0.5, -0.5]).with_shape(&[2]);
    let vars = vars.finish();
    layer.add_group(vars);
    let layer = layer.finish();
    layers.add_group(layer);
    let layers = layers.finish();
    file.add_group(layers);
    file.finish().unwrap()
}
