//! Tells files apart by what is in them.

use crate::{Archive, Averages, FormatError, safetensors_file, torch};
use std::path::Path;

/// Reads the arrays of a file in memory, whatever its format.
///
/// # Errors
/// When no format fits, or what its reader says.
pub fn read(bytes: &[u8], averages: Averages) -> Result<Archive, FormatError> {
    if torch::looks_like_legacy(bytes) || bytes.starts_with(b"PK\x03\x04") {
        torch::read(bytes, averages)
    } else if safetensors_file::looks_like(bytes) {
        safetensors_file::read(bytes)
    } else {
        let start = bytes.iter().take(16).flat_map(|byte| std::ascii::escape_default(*byte));
        let start: String = start.map(char::from).collect();
        Err(FormatError::UnknownFormat { start: format!("`{start}`") })
    }
}

/// Reads the arrays of a file.
///
/// # Errors
/// When it cannot be read, or what [`read`] says, with the path.
pub fn load(path: &Path, averages: Averages) -> Result<Archive, FormatError> {
    let bytes = std::fs::read(path).map_err(|source| FormatError::Io { path: path.to_path_buf(), source })?;
    read(&bytes, averages)
        .map_err(|source| FormatError::InFile { path: path.to_path_buf(), source: Box::new(source) })
}
