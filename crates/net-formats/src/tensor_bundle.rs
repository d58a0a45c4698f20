//! TensorFlow checkpoints of the second format: an index (`.index`) and shards of raw numbers
//! (`.data-00000-of-00001`).

use crate::archive::{Archive, Averages, Budget, Format, MAX_ENTRIES, NamedArray};
use crate::bytes::Bytes;
use crate::crc32c;
use crate::string_table::{self, FORMAT};
use crate::wire::{Message, Value};
use crate::{ElementType, FormatError, MAX_DIMS};
use std::collections::{BTreeMap, BTreeSet};

/// What TensorFlow's `ExponentialMovingAverage` appends to the name of a variable.
const AVERAGE: &str = "/ExponentialMovingAverage";
/// What optimisers append to the names of their variables.
const SLOTS: [&str; 8] =
    ["/RMSProp", "/RMSProp_1", "/Momentum", "/Adam", "/Adam_1", "/Adagrad", "/Ftrl", "/Ftrl_1"];
/// Files that one checkpoint may be split into.
const MAX_SHARDS: u64 = 10_000;

/// Name of a shard's file beside the index.
pub fn shard_suffix(shard: u32, shards: u32) -> String {
    format!(".data-{shard:05}-of-{shards:05}")
}

/// Reads a checkpoint: `index` is the `.index` file, and `shard` gives the bytes of a shard by its number and their
/// count. Every shard that is needed is asked for once.
///
/// With [`Averages::Prefer`] a variable that has a moving average is handed out with its values.
///
/// # Errors
/// When a file is damaged, a checksum differs, or a variable is stored in slices; what `shard` says.
pub fn read(
    index: &[u8],
    averages: Averages,
    mut shard: impl FnMut(u32, u32) -> Result<Vec<u8>, FormatError>,
) -> Result<Archive, FormatError> {
    let entries = string_table::read(index)?;
    let header = entries.first().filter(|(key, _)| key.is_empty());
    let (_, header) =
        header.ok_or_else(|| FormatError::damaged(FORMAT, "index", "starts without its header"))?;
    let shards = read_header(header)?;
    let mut archive = Archive::new(Format::TensorFlow);
    let wanted = select(&entries[1..], averages, &mut archive)?;
    for number in 0..shards {
        let of_shard: Vec<_> = wanted.iter().filter(|(_, entry)| entry.shard == number).collect();
        if of_shard.is_empty() {
            continue;
        }
        let data = shard(number, shards)?;
        let mut budget = Budget::for_file(FORMAT, data.len() as u64);
        for (name, entry) in of_shard {
            archive.arrays.insert(name.clone(), entry.array(name, &data, &mut budget)?);
        }
    }
    let missing = wanted.keys().find(|name| !archive.arrays.contains_key(*name));
    if let Some(name) = missing {
        let problem = format!("lies in a shard beyond the {shards} of the checkpoint");
        return Err(FormatError::damaged(FORMAT, format!("variable `{name}`"), problem));
    }
    archive.ignored.sort();
    Ok(archive)
}

/// Number of shards.
fn read_header(header: &[u8]) -> Result<u32, FormatError> {
    let mut message = Message::new(FORMAT, header);
    let mut shards = 0;
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Varint(count)) => shards = count,
            (2, Value::Varint(1)) => {
                return Err(FormatError::unsupported(
                    FORMAT,
                    "header",
                    "was written on a big-endian machine",
                ));
            }
            _ => {}
        }
    }
    if shards > MAX_SHARDS {
        return Err(FormatError::damaged(FORMAT, "header", format!("{shards} shards")));
    }
    Ok(shards as u32)
}

/// The entries to read, by the name under which they are handed out.
fn select(
    entries: &[(Vec<u8>, Vec<u8>)],
    averages: Averages,
    archive: &mut Archive,
) -> Result<BTreeMap<String, Entry>, FormatError> {
    if entries.len() > MAX_ENTRIES {
        let (place, limit) = ("index".into(), MAX_ENTRIES as u64);
        return Err(FormatError::Limit { format: FORMAT, place, what: "entries", limit });
    }
    let mut names = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let name = std::str::from_utf8(key);
        let name = name.map_err(|_| FormatError::damaged(FORMAT, "index", "a name that is no UTF-8 text"))?;
        names.push((name, value));
    }
    let averaged: BTreeSet<&str> = names.iter().filter_map(|(name, _)| name.strip_suffix(AVERAGE)).collect();
    let mut wanted = BTreeMap::new();
    for (name, value) in names {
        let base = name.strip_suffix(AVERAGE);
        match (base, averages) {
            (Some(_), Averages::Ignore) => {
                archive.ignore(name, "moving average; the trained values were taken")
            }
            (None, Averages::Prefer) if averaged.contains(name) => {
                archive.ignore(name, "trained values; their moving average was taken");
            }
            _ if SLOTS.iter().any(|slot| name.ends_with(slot)) => {
                archive.ignore(name, "state of an optimiser")
            }
            _ if name == "global_step" => archive.ignore(name, "counts steps"),
            _ => match Entry::parse(name, value)? {
                Some(entry) => drop(wanted.insert(base.unwrap_or(name).to_string(), entry)),
                None => archive.ignore(name, "not an array of numbers"),
            },
        }
    }
    Ok(wanted)
}

/// Where a variable lies.
#[derive(Debug)]
struct Entry {
    element: ElementType,
    dims: Vec<usize>,
    shard: u32,
    offset: u64,
    size: u64,
    checksum: Option<u32>,
}

impl Entry {
    /// `None` for strings and other types that are no numbers.
    fn parse(name: &str, bytes: &[u8]) -> Result<Option<Self>, FormatError> {
        let damaged = |problem: &str| FormatError::damaged(FORMAT, format!("variable `{name}`"), problem);
        let mut message = Message::new(FORMAT, bytes);
        let (mut kind, mut dims, mut shard, mut offset, mut size, mut checksum) =
            (0, Vec::new(), 0, 0, 0, None);
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Varint(code)) => kind = code,
                (2, Value::Bytes(shape)) => {
                    dims = read_shape(shape).map_err(|_| damaged("a senseless shape"))?
                }
                (3, Value::Varint(number)) => shard = number,
                (4, Value::Varint(number)) => offset = number,
                (5, Value::Varint(number)) => size = number,
                (6, Value::Fixed32(number)) => checksum = Some(number),
                (7, _) => {
                    let problem = "is stored in slices (a partitioned variable); save it unpartitioned";
                    return Err(FormatError::unsupported(FORMAT, format!("variable `{name}`"), problem));
                }
                _ => {}
            }
        }
        let Some(element) = element(kind) else { return Ok(None) };
        let shard = u32::try_from(shard).map_err(|_| damaged("a senseless shard number"))?;
        Ok(Some(Entry { element, dims, shard, offset, size, checksum }))
    }

    fn array(&self, name: &str, shard: &[u8], budget: &mut Budget) -> Result<NamedArray, FormatError> {
        let damaged = |problem: String| FormatError::damaged(FORMAT, format!("variable `{name}`"), problem);
        let count = budget.elements(name, &self.dims)?;
        if self.size != count as u64 * self.element.size() as u64 {
            return Err(damaged(format!("{:?} of {} in {} bytes", self.dims, self.element, self.size)));
        }
        let data = Bytes::new(FORMAT, shard).at(self.offset)?.take(self.size)?;
        if self.checksum.is_some_and(|checksum| checksum != crc32c::masked(data)) {
            return Err(damaged("does not have its checksum".into()));
        }
        let values = self.element.decode_all(data);
        Ok(NamedArray { dims: self.dims.clone(), values, stored_as: self.element })
    }
}

/// A shape is a list of dimensions (field 2), each with its size (field 1).
fn read_shape(bytes: &[u8]) -> Result<Vec<usize>, FormatError> {
    let mut message = Message::new(FORMAT, bytes);
    let mut dims = Vec::new();
    while let Some((field, value)) = message.next()? {
        let (2, Value::Bytes(dim)) = (field, value) else { continue };
        let mut size = 0;
        let mut dim = Message::new(FORMAT, dim);
        while let Some((field, value)) = dim.next()? {
            if let (1, Value::Varint(number)) = (field, value) {
                size = number;
            }
        }
        let size = usize::try_from(size).ok().filter(|_| dims.len() < MAX_DIMS);
        dims.push(
            size.ok_or_else(|| FormatError::damaged(FORMAT, "shape", "too many or too large dimensions"))?,
        );
    }
    Ok(dims)
}

/// TensorFlow's numbers of element types.
fn element(code: u64) -> Option<ElementType> {
    Some(match code {
        1 => ElementType::F32,
        2 => ElementType::F64,
        3 => ElementType::I32,
        4 => ElementType::U8,
        5 => ElementType::I16,
        6 => ElementType::I8,
        9 => ElementType::I64,
        10 => ElementType::Bool,
        14 => ElementType::BF16,
        19 => ElementType::F16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn field(number: u8, value: u64) -> Vec<u8> {
        [vec![number << 3], varint(value)].concat()
    }

    fn nested(number: u8, content: &[u8]) -> Vec<u8> {
        [vec![number << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
    }

    /// Appends a block and gives its handle.
    fn block(table: &mut Vec<u8>, entries: &[(&str, Vec<u8>)], snappy: bool) -> Vec<u8> {
        let mut data = Vec::new();
        let mut last = "";
        for (key, value) in entries {
            let shared = key.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
            data.extend([varint(shared as u64), varint((key.len() - shared) as u64)].concat());
            data.extend(varint(value.len() as u64));
            data.extend(&key.as_bytes()[shared..]);
            data.extend(value);
            last = key;
        }
        data.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        if snappy {
            data = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        }
        let handle = [varint(table.len() as u64), varint(data.len() as u64)].concat();
        data.push(snappy.into());
        let checksum = crc32c::masked(&data);
        table.extend(data);
        table.extend(checksum.to_le_bytes());
        handle
    }

    fn table(entries: &[(&str, Vec<u8>)], snappy: bool) -> Vec<u8> {
        let mut table = Vec::new();
        let (first, second) = entries.split_at(entries.len() / 2);
        let handles = [first, second].map(|part| block(&mut table, part, snappy));
        let index = handles.map(|handle| ("k", handle));
        let index = block(&mut table, &index, false);
        let mut footer = [vec![0, 0], index].concat();
        footer.resize(40, 0);
        table.extend(footer);
        table.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
        table
    }

    fn entry(kind: u64, dims: &[u64], shard: u64, offset: u64, data: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| nested(2, &field(1, *dim))).collect();
        let mut bytes = [field(1, kind), nested(2, &dims), field(3, shard), field(4, offset)].concat();
        bytes.extend(field(5, data.len() as u64));
        bytes.push(6 << 3 | 5);
        bytes.extend(crc32c::masked(data).to_le_bytes());
        bytes
    }

    fn read_table(table: &[u8], shards: &[Vec<u8>]) -> Result<Archive, FormatError> {
        read(table, Averages::Prefer, |shard, _| Ok(shards[shard as usize].clone()))
    }

    #[test]
    fn compressed_blocks_several_shards_and_half_precision() {
        let (floats, halves) = ([1f32, -2.0].map(f32::to_le_bytes).concat(), [0x00, 0x3c, 0x00, 0xc0]);
        let entries = [
            ("", field(1, 2)),
            ("block/bias", entry(1, &[2], 0, 4, &floats)),
            ("block/bias/Momentum", entry(1, &[2], 0, 4, &floats)),
            ("block/kernel", entry(19, &[1, 2], 1, 0, &halves)),
            ("label", entry(7, &[1], 1, 0, b"text")),
        ];
        let shards = [[vec![9; 4], floats].concat(), halves.to_vec()];
        for snappy in [false, true] {
            let archive = read_table(&table(&entries, snappy), &shards).unwrap();
            assert_eq!(archive.arrays["block/bias"].values, [1.0, -2.0]);
            assert_eq!(archive.arrays["block/kernel"].dims, [1, 2]);
            assert_eq!(archive.arrays["block/kernel"].values, [1.0, -2.0]);
            let ignored: Vec<_> = archive.ignored.iter().map(|ignored| ignored.name.as_str()).collect();
            assert_eq!(ignored, ["block/bias/Momentum", "label"]);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let data = 1f32.to_le_bytes();
        let cases = [
            ("bytes", entry(1, &[2], 0, 0, &data)),
            ("expected 4 bytes", entry(1, &[1], 0, 2, &data)),
            ("checksum", entry(1, &[1], 0, 0, &2f32.to_le_bytes())),
            ("beyond the 1", entry(1, &[1], 3, 0, &data)),
            ("slices", [entry(1, &[1], 0, 0, &data), nested(7, b"")].concat()),
            ("elements", entry(1, &[1 << 40, 1 << 40], 0, 0, &data)),
        ];
        for (want, entry) in cases {
            let table = table(&[("", field(1, 1)), ("w", entry)], false);
            let error = read_table(&table, &[data.to_vec()]).unwrap_err().to_string();
            assert!(error.contains(want), "{want}: {error}");
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_an_error() {
        let data = 1f32.to_le_bytes();
        for names in [["w", "w"], ["x", "w"]] {
            let entries = names.map(|name| (name, entry(1, &[1], 0, 0, &data)));
            let table = table(&[&[("", field(1, 1))][..], &entries].concat(), false);
            let error = read_table(&table, &[data.to_vec()]).unwrap_err().to_string();
            assert!(error.contains("in order"), "{error}");
        }
    }

    proptest::proptest! {
        /// Checksums are of the changed bytes, so that they keep nothing from the readers behind them.
        #[test]
        fn entries_with_good_checksums_may_say_anything(
            header in proptest::collection::vec(proptest::num::u8::ANY, 0..12),
            changes in proptest::collection::vec((0..60usize, proptest::num::u8::ANY), 0..4),
            cut in 0..60usize,
        ) {
            let data = [1f32, 2.0].map(f32::to_le_bytes).concat();
            let mut value = entry(1, &[2, 1], 0, 0, &data);
            for (at, byte) in changes {
                let len = value.len();
                value[at % len] = byte;
            }
            value.truncate(cut);
            let entries = |header: Vec<u8>| [("", header), ("w", value.clone())];
            let _ = read(&table(&entries(header), true), Averages::Prefer, |_, _| Ok(data.clone()));
            let _ = read(&table(&entries(field(1, 1)), false), Averages::Ignore, |_, _| Ok(data.clone()));
        }
    }

    #[test]
    fn a_damaged_index_is_an_error() {
        let good = table(&[("", field(1, 1)), ("w", entry(1, &[1], 0, 0, &1f32.to_le_bytes()))], true);
        for at in 0..good.len() - 48 {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(read_table(&bytes, &[1f32.to_le_bytes().to_vec()]).is_err(), "byte {at}");
        }
    }
}
