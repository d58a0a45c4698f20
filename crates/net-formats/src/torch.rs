//! Files of `torch.save`: the zip archive of PyTorch 1.6 and later, and the bare pickle before it.
//!
//! Nothing of a file is run. Entries of the archive are slices of the given bytes (`torch.save` never compresses), so
//! an archive cannot unpack to more than itself.

use crate::archive::{Archive, Averages, Budget, Format, MAX_ENTRIES, NamedArray};
use crate::bytes::Bytes;
use crate::pickle::{self, FORMAT, Node, NodeId, Pickle, TensorSpec};
use crate::{ElementType, FormatError};
use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// First pickle of a file without archive: the number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
/// Pickle of the version number of that form, 1001.
const LEGACY_VERSION: &[u8] = b"\x80\x02\x4d\xe9\x03\x2e";
/// Dicts around the state dict that are looked into.
const MAX_DEPTH: usize = 4;
/// Keys of training checkpoints under which the weights lie.
const AVERAGED: [&str; 5] = ["ema", "state_dict_ema", "model_ema", "ema_state_dict", "module_ema"];
const TRAINED: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights", "module"];

pub(crate) fn looks_like_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(LEGACY_MAGIC)
}

/// Reads a file of `torch.save` that holds a state dict, or a dict in which one lies under a usual key (`ema`,
/// `state_dict`, `model`, `model_state_dict` ...).
///
/// # Errors
/// When the file is damaged, names anything but dicts, tensors and a few harmless classes, or holds no tensors.
pub fn read(bytes: &[u8], averages: Averages) -> Result<Archive, FormatError> {
    let (pickle, storages) = if looks_like_legacy(bytes) { legacy(bytes)? } else { zipped(bytes)? };
    let mut archive = Archive::new(Format::Torch);
    let (dict, origin) = state_dict(&pickle, averages)?;
    if dict.len() > MAX_ENTRIES {
        let (limit, place) = (MAX_ENTRIES as u64, "state dict".to_string());
        return Err(FormatError::Limit { format: FORMAT, place, what: "entries", limit });
    }
    archive.origin = (!origin.is_empty()).then_some(origin);
    if let Node::Dict(items) = pickle.node(pickle.root) {
        note_architecture(&pickle, items, &mut archive);
    }
    let mut budget = Budget::for_file(FORMAT, bytes.len() as u64);
    for (key, value) in dict {
        let name = pickle.text(*key).unwrap_or("(key that is no text)");
        match pickle.node(*value) {
            Node::Tensor(spec) => {
                let array = array(name, spec, &storages, &mut budget)?;
                if archive.arrays.insert(name.to_string(), array).is_some() {
                    return Err(FormatError::damaged(FORMAT, format!("tensor `{name}`"), "occurs twice"));
                }
            }
            _ => archive.ignore(name, "not a tensor"),
        }
    }
    archive.ignored.sort();
    Ok(archive)
}

/// timm's checkpoints name the model that they are of.
fn note_architecture(pickle: &Pickle, items: Items<'_>, archive: &mut Archive) {
    let architecture = items.iter().find(|(key, _)| pickle.text(*key) == Some("arch"));
    if let Some(text) = architecture.and_then(|(_, value)| pickle.text(*value)) {
        archive.metadata.insert("architecture".into(), text.chars().take(200).collect());
    }
}

/// Keys and values of a dict.
type Items<'a> = &'a [(NodeId, NodeId)];

/// Finds the dict of tensors and the keys that lead to it.
fn state_dict(pickle: &Pickle, averages: Averages) -> Result<(Items<'_>, String), FormatError> {
    let mut at = pickle.root;
    let mut path = Vec::new();
    for _ in 0..MAX_DEPTH {
        let Node::Dict(items) = pickle.node(at) else { break };
        if items.iter().any(|(_, value)| matches!(pickle.node(*value), Node::Tensor(_))) {
            return Ok((items, path.join(".")));
        }
        let Some((key, inner)) = inner_dict(pickle, items, averages) else { break };
        path.push(key);
        at = inner;
    }
    let found = match pickle.node(at) {
        Node::Dict(items) => {
            let keys: Vec<_> = items.iter().filter_map(|(key, _)| pickle.text(*key)).take(12).collect();
            format!("a dict with the keys {keys:?}")
        }
        Node::Tensor(_) => "a single tensor".into(),
        Node::List(_) | Node::Tuple(_) => "a list".into(),
        _ => "something else".into(),
    };
    let problem =
        format!("expected tensors by name, or a dict with `state_dict`, `model` or `ema`, got {found}");
    let place = if path.is_empty() { "pickle".into() } else { format!("`{}`", path.join(".")) };
    Err(FormatError::unsupported(FORMAT, place, problem))
}

fn inner_dict<'a>(pickle: &'a Pickle, items: Items<'a>, averages: Averages) -> Option<(&'a str, NodeId)> {
    let averaged = AVERAGED.into_iter().filter(|_| averages == Averages::Prefer);
    let find = |wanted: &str| {
        let entry = items.iter().find(|(key, _)| pickle.text(*key) == Some(wanted))?;
        let filled = matches!(pickle.node(entry.1), Node::Dict(inner) if !inner.is_empty());
        filled.then(|| (pickle.text(entry.0).expect("found by its text"), entry.1))
    };
    averaged.chain(TRAINED).find_map(find)
}

/// Storages by key, little-endian.
type Storages<'a> = HashMap<String, &'a [u8]>;

fn array(
    name: &str,
    spec: &TensorSpec,
    storages: &Storages<'_>,
    budget: &mut Budget,
) -> Result<NamedArray, FormatError> {
    let damaged = |problem: String| FormatError::damaged(FORMAT, format!("tensor `{name}`"), problem);
    let count = budget.elements(name, &spec.dims)?;
    let key = &spec.storage.key;
    let data = storages.get(key).ok_or_else(|| damaged(format!("there is no storage `{key}`")))?;
    let element = spec.storage.element;
    let available = (data.len() / element.size()) as u64;
    let needed = needed_elements(spec, count)
        .ok_or_else(|| damaged("offset and strides lie outside of all memory".into()))?;
    if needed > available {
        return Err(damaged(format!("needs {needed} elements of storage `{key}`, which has {available}")));
    }
    let values = if is_contiguous(spec) {
        let start = spec.offset as usize * element.size();
        element.decode_all(data.get(start..start + count * element.size()).unwrap_or_default())
    } else {
        strided(spec, element, data, count)
    };
    Ok(NamedArray { dims: spec.dims.clone(), values, stored_as: element })
}

/// One more than the largest index that the tensor reads, 0 if it reads none; `None` on overflow.
fn needed_elements(spec: &TensorSpec, count: usize) -> Option<u64> {
    if count == 0 {
        return Some(0);
    }
    let spans =
        spec.dims.iter().zip(&spec.strides).map(|(dim, stride)| (*dim as u64 - 1).checked_mul(*stride));
    spans.into_iter().try_fold(spec.offset, |sum, span| sum.checked_add(span?))?.checked_add(1)
}

fn is_contiguous(spec: &TensorSpec) -> bool {
    let mut expected = 1u64;
    spec.dims.iter().zip(&spec.strides).rev().all(|(dim, stride)| {
        let fits = *dim == 1 || *stride == expected;
        expected = expected.saturating_mul(*dim as u64);
        fits
    })
}

/// Walks the indices in row-major order; the largest was checked to lie inside.
fn strided(spec: &TensorSpec, element: ElementType, data: &[u8], count: usize) -> Vec<f32> {
    let mut index = vec![0usize; spec.dims.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let steps = index.iter().zip(&spec.strides).map(|(i, stride)| *i as u64 * stride);
        let start = (spec.offset + steps.sum::<u64>()) as usize * element.size();
        values.push(element.decode(&data[start..start + element.size()]));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < spec.dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    values
}

/// Magic number, version, facts of the writing machine, the object, the keys of its storages; then each storage as a
/// count and its bytes.
fn legacy(bytes: &[u8]) -> Result<(Pickle, Storages<'_>), FormatError> {
    let mut rest = Bytes::new(FORMAT, bytes);
    rest.take(LEGACY_MAGIC.len() as u64)?;
    if rest.take(LEGACY_VERSION.len() as u64)? != LEGACY_VERSION {
        return Err(rest.damaged("expected version 1001 of the file format"));
    }
    let machine = pickle::read(&mut rest)?;
    refuse_big_endian(&machine, bytes)?;
    let object = pickle::read(&mut rest)?;
    let keys = pickle::read(&mut rest)?;
    let Node::List(keys_list) = keys.node(keys.root) else {
        return Err(rest.damaged("expected a list of storage keys"));
    };
    let elements = elements_by_key(&object);
    let mut storages = Storages::new();
    for key in keys_list {
        let key = keys.text(*key).ok_or_else(|| rest.damaged("a storage key that is no text"))?;
        let element = elements.get(key).ok_or_else(|| {
            rest.damaged(format!(
                "storage `{}` belongs to no tensor",
                key.chars().take(64).collect::<String>()
            ))
        })?;
        let count = rest.u64()?;
        let size = count.checked_mul(element.size() as u64);
        let size = size.ok_or_else(|| rest.damaged(format!("a storage of {count} elements")))?;
        storages.insert(key.to_string(), rest.take(size)?);
    }
    Ok((object, storages))
}

fn elements_by_key(pickle: &Pickle) -> HashMap<&str, ElementType> {
    let storages = pickle.nodes.iter().filter_map(|node| match node {
        Node::Storage(storage) => Some((storage.key.as_str(), storage.element)),
        _ => None,
    });
    storages.collect()
}

/// The dict of the machine says `little_endian: False`. Booleans are inert to the interpreter, so the bytes are asked.
fn refuse_big_endian(machine: &Pickle, bytes: &[u8]) -> Result<(), FormatError> {
    let Node::Dict(_) = machine.node(machine.root) else {
        return Err(FormatError::damaged(FORMAT, "head", "expected facts of the writing machine"));
    };
    let head = &bytes[..bytes.len().min(256)];
    let key = b"little_endian";
    let value = head.windows(key.len()).position(|window| window == key).map(|at| &head[at + key.len()..]);
    match value.and_then(|rest| rest.iter().find(|byte| matches!(byte, 0x88 | 0x89))) {
        Some(0x89) => Err(big_endian()),
        _ => Ok(()),
    }
}

fn big_endian() -> FormatError {
    let problem = "was written on a big-endian machine; save it again on an ordinary one";
    FormatError::unsupported(FORMAT, "head", problem)
}

/// `<folder>/data.pkl` and `<folder>/data/<key>`.
fn zipped(bytes: &[u8]) -> Result<(Pickle, Storages<'_>), FormatError> {
    let entries = entries(bytes)?;
    let folder = |name: &String| {
        let folder =
            name.strip_suffix("data.pkl").filter(|folder| folder.is_empty() || folder.ends_with('/'));
        folder.map(str::to_string)
    };
    let found: Vec<String> = entries.keys().filter_map(folder).collect();
    let [folder] = &found[..] else {
        let names: Vec<_> = entries.keys().take(8).collect();
        let problem = format!("expected one `data.pkl`, got {} among {names:?}", found.len());
        return Err(FormatError::unsupported(FORMAT, "archive", problem));
    };
    if entries.get(&format!("{folder}byteorder")).is_some_and(|order| order.trim_ascii() == b"big") {
        return Err(big_endian());
    }
    let pickle = pickle::read(&mut Bytes::new(FORMAT, entries[&format!("{folder}data.pkl")]))?;
    let prefix = format!("{folder}data/");
    let storages =
        entries.into_iter().filter_map(|(name, data)| Some((name.strip_prefix(&prefix)?.to_string(), data)));
    Ok((pickle, storages.collect()))
}

/// The entries of a zip archive as slices of it, checksums compared.
pub(crate) fn entries(bytes: &[u8]) -> Result<HashMap<String, &[u8]>, FormatError> {
    let damaged = |e: zip::result::ZipError| FormatError::damaged(FORMAT, "archive", e.to_string());
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut entries = HashMap::new();
    let mut starts = HashSet::new();
    let mut total = 0u64;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let place = || format!("archive entry `{}`", name.chars().take(100).collect::<String>());
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            let problem = match name.contains("/code/") {
                true => "is part of a TorchScript program; save `model.state_dict()` instead",
                false => "is compressed or encrypted, which torch.save never does; save the weights again",
            };
            return Err(FormatError::unsupported(FORMAT, place(), problem));
        }
        let start =
            entry.data_start().ok_or_else(|| FormatError::damaged(FORMAT, place(), "has no start"))?;
        let mut from = Bytes::new(FORMAT, bytes).at(start)?;
        let data = from.take(entry.size())?;
        total += data.len() as u64;
        if total > bytes.len() as u64 || (!data.is_empty() && !starts.insert(start)) {
            return Err(FormatError::damaged(FORMAT, place(), "overlaps another entry"));
        }
        if crc32fast::hash(data) != entry.crc32() {
            return Err(FormatError::damaged(FORMAT, place(), "does not have its checksum"));
        }
        entries.insert(name, data);
    }
    Ok(entries)
}
