//! Reading files that strangers made: of any kind, any length and any name.

use std::fmt;
use std::fs::{File, FileType};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// There is none of that name, or a link leads nowhere.
    #[error("there is no such file")]
    Missing,
    /// It is something else, which is not opened: reading a pipe could wait for ever.
    #[error("expected a file, found a {0}")]
    NotAFile(&'static str),
    /// The system refuses.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is longer than any file of its kind should be.
    #[error("the file has {bytes} bytes; expected at most {limit}")]
    TooLong {
        /// Length of the file.
        bytes: u64,
        /// Longest that is read.
        limit: u64,
    },
}

impl From<std::io::Error> for FileProblem {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => FileProblem::Missing,
            _ => FileProblem::Unreadable(error.to_string()),
        }
    }
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, FileProblem> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(FileProblem::NotAFile(kind_name(metadata.file_type())));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let read = bytes.len() as u64;
    if read > limit {
        return Err(FileProblem::TooLong { bytes: metadata.len().max(read), limit });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn kind_name(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if kind.is_dir() => "folder",
        () if kind.is_fifo() => "named pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

#[cfg(not(unix))]
fn kind_name(kind: FileType) -> &'static str {
    if kind.is_dir() { "folder" } else { "special file" }
}

/// A path as a message shows it: on one line, whatever the name contains.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.display().to_string().chars() {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?
            } else {
                write!(f, "{letter}")?
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"12345").unwrap();
        assert_eq!(read_regular(file.path(), 5).unwrap(), b"12345");
        assert_eq!(read_regular(file.path(), 4), Err(FileProblem::TooLong { bytes: 5, limit: 4 }));
    }

    #[test]
    fn names_stay_on_one_line() {
        assert_eq!(Shown(Path::new("a b\nc\u{1b}é.jpg")).to_string(), "a b\\nc\\u{1b}é.jpg");
    }
}
