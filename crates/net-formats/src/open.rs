//! Tells files apart by what is in them.

use crate::{Archive, Averages, FormatError};
use crate::{keras, onnx, safetensors_file, string_table, tensor_bundle, torch};
use std::path::{Path, PathBuf};

/// The HDF5 file inside a `.keras` archive.
const KERAS_WEIGHTS: &str = "model.weights.h5";

/// Reads the arrays of a file in memory, whatever its format.
///
/// A TensorFlow checkpoint is several files: see [`load`] and [`tensor_bundle::read`].
///
/// # Errors
/// When no format fits, or what its reader says.
pub fn read(bytes: &[u8], averages: Averages) -> Result<Archive, FormatError> {
    if bytes.starts_with(b"PK\x03\x04") {
        read_archive(bytes, averages)
    } else if torch::looks_like_legacy(bytes) {
        torch::read(bytes, averages)
    } else if keras::looks_like(bytes) {
        keras::read(bytes)
    } else if safetensors_file::looks_like(bytes) {
        safetensors_file::read(bytes)
    } else if string_table::looks_like(bytes) {
        let problem = "is only the index of a checkpoint; give it as a file, with its shards beside it";
        Err(FormatError::unsupported(string_table::FORMAT, "index", problem))
    } else if onnx::looks_like(bytes) {
        onnx::read(bytes)
    } else {
        Err(unknown(bytes))
    }
}

/// A zip archive of `torch.save` or of Keras 3.
fn read_archive(bytes: &[u8], averages: Averages) -> Result<Archive, FormatError> {
    match torch::entries(bytes)?.get(KERAS_WEIGHTS) {
        Some(weights) => keras::read(weights),
        None => torch::read(bytes, averages),
    }
}

fn unknown(bytes: &[u8]) -> FormatError {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    if text.starts_with("version https://git-lfs") {
        return FormatError::UnknownFormat { start: "a pointer of git-lfs; run `git lfs pull`".into() };
    }
    if bytes.is_empty() {
        return FormatError::UnknownFormat { start: "nothing: it is empty".into() };
    }
    let start = bytes.iter().take(16).flat_map(|byte| std::ascii::escape_default(*byte));
    FormatError::UnknownFormat { start: format!("`{}`", start.map(char::from).collect::<String>()) }
}

/// Reads the arrays of a file.
///
/// A TensorFlow checkpoint may be given as its prefix (`model.ckpt`), its index, one of its shards, or the folder that
/// holds it.
///
/// # Errors
/// When it cannot be read, or what [`read`] says, with the path.
pub fn load(path: &Path, averages: Averages) -> Result<Archive, FormatError> {
    let index = index_of(path)?;
    let main = index.as_deref().unwrap_or(path);
    let in_file = |reason| FormatError::InFile { path: main.to_path_buf(), reason: Box::new(reason) };
    let bytes = read_file(main)?;
    if !string_table::looks_like(&bytes) {
        return read(&bytes, averages).map_err(in_file);
    }
    let prefix = main.to_string_lossy();
    let prefix = prefix.strip_suffix(".index").unwrap_or(&prefix);
    tensor_bundle::read(&bytes, averages, |shard, shards| {
        read_file(Path::new(&format!("{prefix}{}", tensor_bundle::shard_suffix(shard, shards))))
    })
    .map_err(|error| if matches!(error, FormatError::Io { .. }) { error } else { in_file(error) })
}

fn read_file(path: &Path) -> Result<Vec<u8>, FormatError> {
    let failed = |reason| FormatError::Io { path: path.to_path_buf(), reason };
    // A pipe could wait for ever, a device never end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        let problem = "expected a file, found a folder, pipe or device";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, problem)));
    }
    std::fs::read(path).map_err(failed)
}

/// The index of a TensorFlow checkpoint, if the path leads to one in another way than by its own name.
fn index_of(path: &Path) -> Result<Option<PathBuf>, FormatError> {
    if path.is_dir() {
        return index_in(path).map(Some);
    }
    let text = path.to_string_lossy();
    let prefix = text.rsplit_once(".data-").map_or(&*text, |(prefix, _)| prefix);
    let index = PathBuf::from(format!("{prefix}.index"));
    let is_shard = prefix.len() < text.len();
    Ok(((is_shard || !path.exists()) && index.exists()).then_some(index))
}

/// The checkpoint that the file `checkpoint` of a folder names, or the only one.
fn index_in(folder: &Path) -> Result<PathBuf, FormatError> {
    let failed = |reason| FormatError::Io { path: folder.to_path_buf(), reason };
    let problem = |problem: String| FormatError::InFile {
        path: folder.to_path_buf(),
        reason: Box::new(FormatError::unsupported(string_table::FORMAT, "folder", problem)),
    };
    if let Some(index) = std::fs::read_to_string(folder.join("checkpoint")).ok().as_deref().and_then(named) {
        return Ok(folder.join(index));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "index") {
            found.push(path);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(problem(format!("expected one `.index` file, got {count}; name the checkpoint"))),
    }
}

/// File name of the index in a `checkpoint` file; folders in it are those of the machine that wrote it.
fn named(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("model_checkpoint_path:"))?;
    let prefix = line.trim().trim_matches('"').rsplit(['/', '\\']).next()?;
    (!prefix.is_empty()).then(|| format!("{prefix}.index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_file_names_its_index() {
        let text = "model_checkpoint_path: \"/far/away/model.ckpt-7\"\nall_model_checkpoint_paths: \"x\"\n";
        assert_eq!(named(text).as_deref(), Some("model.ckpt-7.index"));
        assert_eq!(named("nothing"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        let error = load(Path::new("/dev/zero"), Averages::Prefer).unwrap_err().to_string();
        assert!(error.contains("/dev/zero: expected a file"), "{error}");
    }

    #[test]
    fn what_is_no_weights_file_is_said_to_be_none() {
        for (bytes, want) in
            [(&b"GIF89a.."[..], "GIF89a"), (b"", "empty"), (b"version https://git-lfs..", "lfs")]
        {
            let error = read(bytes, Averages::Prefer).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
