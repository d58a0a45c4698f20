//! Files that appear whole or not at all, and `--json FILE`.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes an object to a file, or as one line to standard output for `-`.
pub(crate) fn write_json(target: &Path, value: &impl Serialize) -> Result<()> {
    if is_standard_output(Some(target)) {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        return Ok(std::io::stdout().write_all(&line)?);
    }
    write_atomically(target, |file| {
        serde_json::to_writer(&mut *file, value)?;
        Ok(writeln!(file)?)
    })
}

/// True if JSON goes to standard output, which then holds nothing else.
pub(crate) fn is_standard_output(target: Option<&Path>) -> bool {
    target.is_some_and(|target| target.as_os_str() == "-")
}

/// Writes beside the target, syncs and renames; makes the folder.
pub(crate) fn write_atomically(
    target: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let place = || format!("cannot write {}", target.display());
    let name = target.file_name().with_context(place)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(place)?;
    let temporary = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let mut file = BufWriter::new(File::create(&temporary).with_context(place)?);
    write(&mut file).with_context(place)?;
    let file = file.into_inner().map_err(|error| error.into_error()).with_context(place)?;
    file.sync_all().with_context(place)?;
    std::fs::rename(&temporary, target).with_context(place)
}

/// Writes text.
pub(crate) fn write_text(target: &Path, text: &str) -> Result<()> {
    write_atomically(target, |file| Ok(file.write_all(text.as_bytes())?))
}
