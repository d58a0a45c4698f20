//! Where results go: JSON and text.

use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// Writes an object to a file, or as one line to standard output for `-`.
pub(crate) fn write_json(target: &Path, value: &impl Serialize) -> Result<()> {
    if is_standard_output(Some(target)) {
        println!("{}", serde_json::to_string(value)?);
        return Ok(());
    }
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(yolo_train::write_atomically(target, text.as_bytes())?)
}

/// True if JSON goes to standard output, which then holds nothing else.
pub(crate) fn is_standard_output(target: Option<&Path>) -> bool {
    target.is_some_and(|target| target.as_os_str() == "-")
}
