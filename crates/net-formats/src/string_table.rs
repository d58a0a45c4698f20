//! Sorted tables of strings: the index of a TensorFlow checkpoint, in LevelDB's table format.

use crate::FormatError;
use crate::bytes::Bytes;
use crate::crc32c;
use crate::wire::varint;

pub(crate) const FORMAT: &str = "TensorFlow checkpoint";
/// Last eight bytes of a table.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Two block handles, padding, the magic number.
const FOOTER: usize = 48;
/// Bytes behind a block: kind of compression, checksum.
const TRAILER: u64 = 5;
/// What the blocks of a table may unpack to; an index takes about a hundred bytes a variable.
const MAX_UNPACKED: u64 = 64 << 20;

/// Keys and values in order.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    bytes.len() >= FOOTER && bytes.ends_with(&MAGIC.to_le_bytes())
}

/// All entries of a table.
pub(crate) fn read(bytes: &[u8]) -> Result<Entries, FormatError> {
    if !looks_like(bytes) {
        return Err(FormatError::damaged(FORMAT, "index", "does not end in a table's magic number"));
    }
    let mut footer = Bytes::new(FORMAT, bytes).at((bytes.len() - FOOTER) as u64)?;
    let _meta_index = handle(&mut footer)?;
    let index = handle(&mut footer)?;
    let mut unpacked = 0;
    let mut all = Entries::new();
    let mut blocks = Entries::new();
    read_block(bytes, index, &mut unpacked, &mut blocks)?;
    for (_, place) in blocks {
        let place = handle(&mut Bytes::new(FORMAT, &place))?;
        read_block(bytes, place, &mut unpacked, &mut all)?;
    }
    // A block that is named twice would stand for more than the file holds.
    match all.is_sorted_by(|(a, _), (b, _)| a < b) {
        true => Ok(all),
        false => Err(FormatError::damaged(FORMAT, "index", "keys are not in order, or occur twice")),
    }
}

/// Offset and size of a block.
fn handle(bytes: &mut Bytes<'_>) -> Result<(u64, u64), FormatError> {
    Ok((varint(bytes)?, varint(bytes)?))
}

/// `unpacked` counts the bytes of keys, values and blocks so far.
fn read_block(
    bytes: &[u8],
    (offset, size): (u64, u64),
    unpacked: &mut u64,
    entries: &mut Entries,
) -> Result<(), FormatError> {
    let mut file = Bytes::new(FORMAT, bytes).at(offset)?;
    let damaged = |problem: &str| FormatError::damaged(FORMAT, format!("index block at {offset}"), problem);
    let whole = size.checked_add(1).ok_or_else(|| damaged("a block of impossible size"))?;
    let stored = file.take(whole)?;
    if file.u32()? != crc32c::masked(stored) {
        return Err(damaged("does not have its checksum"));
    }
    let (kind, data) = stored.split_last().expect("at least the byte of the compression");
    count(unpacked, size + TRAILER)?;
    match kind {
        0 => block_entries(data, unpacked, entries),
        1 => {
            let size = snap::raw::decompress_len(data).map_err(|e| damaged(&e.to_string()))?;
            count(unpacked, size as u64)?;
            let data = snap::raw::Decoder::new().decompress_vec(data).map_err(|e| damaged(&e.to_string()))?;
            block_entries(&data, unpacked, entries)
        }
        kind => Err(damaged(&format!("is compressed in an unknown way ({kind})"))),
    }
}

fn count(unpacked: &mut u64, more: u64) -> Result<(), FormatError> {
    *unpacked = unpacked.saturating_add(more);
    if *unpacked <= MAX_UNPACKED {
        return Ok(());
    }
    Err(FormatError::Limit {
        format: FORMAT,
        place: "index".into(),
        what: "unpacked bytes",
        limit: MAX_UNPACKED,
    })
}

/// Entries share the beginning of their key with the one before; the offsets at the block's end are for searching.
fn block_entries(data: &[u8], unpacked: &mut u64, entries: &mut Entries) -> Result<(), FormatError> {
    let block = Bytes::new(FORMAT, data);
    let tail = data.len().checked_sub(4).ok_or_else(|| block.damaged("a block without its end"))?;
    let restarts = block.at(tail as u64)?.u32()?;
    let end = (tail as u64).checked_sub(u64::from(restarts) * 4);
    let end = end.ok_or_else(|| block.damaged(format!("{restarts} restart offsets do not fit")))?;
    let mut rest = Bytes::new(FORMAT, &data[..end as usize]);
    let mut key = Vec::new();
    while !rest.is_at_end() {
        let (shared, own, value) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        if shared > key.len() as u64 {
            return Err(rest.damaged("a key shares more than there is"));
        }
        key.truncate(shared as usize);
        key.extend_from_slice(rest.take(own)?);
        let value = rest.take(value)?.to_vec();
        count(unpacked, (key.len() + value.len()) as u64 + 48)?;
        entries.push((key.clone(), value));
    }
    Ok(())
}
