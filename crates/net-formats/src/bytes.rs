use crate::FormatError;

/// A position in bytes whose end is an error and never a panic.
#[derive(Debug, Clone)]
pub(crate) struct Bytes<'a> {
    format: &'static str,
    data: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(format: &'static str, data: &'a [u8]) -> Self {
        Bytes { format, data, at: 0 }
    }

    /// A reader of the same bytes at an offset.
    pub(crate) fn at(&self, offset: u64) -> Result<Self, FormatError> {
        match usize::try_from(offset) {
            Ok(at) if at <= self.data.len() => Ok(Bytes { at, ..self.clone() }),
            _ => {
                let problem = format!("an offset of {offset} in {} bytes", self.data.len());
                Err(self.damaged(problem))
            }
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.data.len()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.data.len() - self.at
    }

    pub(crate) fn damaged(&self, problem: impl Into<String>) -> FormatError {
        FormatError::damaged(self.format, format!("byte {}", self.at), problem)
    }

    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], FormatError> {
        if len > self.remaining() as u64 {
            return Err(self.damaged(format!("expected {len} bytes, got {}", self.remaining())));
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.data[start..self.at])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.take(N as u64)?.try_into().expect("as many bytes as asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text up to a line feed, which is skipped.
    pub(crate) fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = &self.data[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n');
        let len = len.ok_or_else(|| self.damaged("expected a line, got no line feed"))?;
        let text = self.text(len as u64)?;
        self.at += 1;
        Ok(text)
    }

    pub(crate) fn text(&mut self, len: u64) -> Result<&'a str, FormatError> {
        let place = self.clone();
        std::str::from_utf8(self.take(len)?).map_err(|_| place.damaged("expected UTF-8 text"))
    }
}
