//! Fields of protocol-buffer messages, as far as weights need them.
//!
//! Source: the Protocol Buffers encoding guide.

use crate::FormatError;
use crate::bytes::Bytes;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

/// A message; yields its fields in order. Nothing nests here: a caller descends by making another message.
#[derive(Debug)]
pub(crate) struct Message<'a>(Bytes<'a>);

impl<'a> Message<'a> {
    pub(crate) fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Message(Bytes::new(format, bytes))
    }

    /// The next field and its number, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, FormatError> {
        if self.0.is_at_end() {
            return Ok(None);
        }
        let tag = varint(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => {
                self.0.take(8)?;
                Value::Fixed64
            }
            2 => {
                let len = varint(&mut self.0)?;
                Value::Bytes(self.0.take(len)?)
            }
            5 => Value::Fixed32(self.0.u32()?),
            kind => return Err(self.0.damaged(format!("a protocol-buffer field of kind {kind}"))),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// A number of up to 64 bits, seven a byte, lowest first.
pub(crate) fn varint(bytes: &mut Bytes<'_>) -> Result<u64, FormatError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(bytes.damaged("a number of more than ten bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_kind() {
        let bytes =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut message = Message::new("test", &bytes);
        let fields: Vec<_> = std::iter::from_fn(|| message.next().unwrap()).collect();
        let want =
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed32(1)), (4, Value::Fixed64)];
        assert_eq!(fields, want);
    }

    #[test]
    fn an_endless_number_and_a_short_field_are_errors() {
        assert!(Message::new("test", &[0xff; 20]).next().is_err());
        assert!(Message::new("test", &[0x12, 0x05, 1]).next().is_err());
    }
}
