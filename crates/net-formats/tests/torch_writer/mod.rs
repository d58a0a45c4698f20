//! Writes what `torch.save` writes, for tests: protocol 2 pickles in a zip archive or in the older bare form.
#![allow(dead_code, reason = "each test file uses a part of it")]

/// A value of a pickle.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Int(i32),
    Text(&'static str),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Ordered(Vec<(Value, Value)>),
    /// A function or class, called.
    Call(&'static str, &'static str, Vec<Value>),
    /// Storage type, key, elements.
    Storage(&'static str, &'static str, i32),
}

/// A tensor over a storage.
pub(crate) fn tensor(storage: Value, offset: i32, dims: &[i32], strides: &[i32]) -> Value {
    let tuple = |numbers: &[i32]| Value::Tuple(numbers.iter().map(|n| Value::Int(*n)).collect());
    let hooks = Value::Ordered(Vec::new());
    let arguments = vec![storage, Value::Int(offset), tuple(dims), tuple(strides), Value::None, hooks];
    Value::Call("torch._utils", "_rebuild_tensor_v2", arguments)
}

pub(crate) fn dict(items: Vec<(&'static str, Value)>) -> Value {
    Value::Dict(items.into_iter().map(|(key, value)| (Value::Text(key), value)).collect())
}

pub(crate) fn ordered(items: Vec<(&'static str, Value)>) -> Value {
    Value::Ordered(items.into_iter().map(|(key, value)| (Value::Text(key), value)).collect())
}

/// One pickle.
pub(crate) fn pickle(value: &Value) -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    put(value, &mut bytes);
    bytes.push(b'.');
    bytes
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn global(module: &str, name: &str, bytes: &mut Vec<u8>) {
    bytes.extend(format!("c{module}\n{name}\n").into_bytes());
}

fn items(pairs: &[(Value, Value)], bytes: &mut Vec<u8>) {
    bytes.push(b'(');
    for (key, value) in pairs {
        put(key, bytes);
        put(value, bytes);
    }
    bytes.push(b'u');
}

fn put(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::None => bytes.push(b'N'),
        Value::Int(number) => {
            bytes.push(b'J');
            bytes.extend(number.to_le_bytes());
        }
        Value::Text(content) => text(content, bytes),
        Value::Tuple(values) => {
            bytes.push(b'(');
            values.iter().for_each(|value| put(value, bytes));
            bytes.push(b't');
        }
        Value::List(values) => {
            bytes.extend(b"](");
            values.iter().for_each(|value| put(value, bytes));
            bytes.push(b'e');
        }
        Value::Dict(pairs) => {
            bytes.push(b'}');
            items(pairs, bytes);
        }
        Value::Ordered(pairs) => {
            global("collections", "OrderedDict", bytes);
            bytes.extend(b")R");
            items(pairs, bytes);
        }
        Value::Call(module, name, arguments) => {
            global(module, name, bytes);
            put(&Value::Tuple(arguments.clone()), bytes);
            bytes.push(b'R');
        }
        Value::Storage(kind, key, len) => {
            bytes.push(b'(');
            text("storage", bytes);
            global("torch", kind, bytes);
            text(key, bytes);
            text("cpu", bytes);
            put(&Value::Int(*len), bytes);
            bytes.extend(b"tQ");
        }
    }
}

/// The form before PyTorch 1.6; storages as key, elements and bytes.
pub(crate) fn legacy(value: &Value, storages: &[(&'static str, u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02\x4d\xe9\x03\x2e".to_vec();
    bytes.extend(pickle(&dict(vec![("protocol_version", Value::Int(1001))])));
    bytes.extend(pickle(value));
    bytes.extend(pickle(&Value::List(storages.iter().map(|(key, ..)| Value::Text(key)).collect())));
    for (_, count, data) in storages {
        bytes.extend(count.to_le_bytes());
        bytes.extend(data);
    }
    bytes
}

/// The zip archive of later versions.
pub(crate) fn zipped(value: &Value, storages: &[(&'static str, u64, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![("archive/data.pkl".to_string(), pickle(value))];
    entries.extend(storages.iter().map(|(key, _, data)| (format!("archive/data/{key}"), data.clone())));
    zip(&entries)
}

/// A zip archive of uncompressed entries.
pub(crate) fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32fast::hash(data).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        directory.extend(b"PK\x01\x02\x0a\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(data);
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// Little-endian floats.
pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
