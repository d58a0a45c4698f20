//! Files of a run, written so that a crash never costs the previous version.

use crate::TrainError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How the names of half-written files begin and end.
const TEMPORARY_START: &str = ".";
const TEMPORARY_END: &str = ".tmp";

/// Writes a whole file: into a temporary file of the same folder, synced, then renamed over `path`.
///
/// # Errors
/// When the folder cannot be written; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let failed = |source| TrainError::Write { path: path.to_path_buf(), source };
    let temporary = temporary_beside(path).map_err(failed)?;
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The reason of the first failure is what the caller needs to know.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_folder(path)).map_err(failed)
}

/// Reads a whole file.
///
/// # Errors
/// When it cannot be read, or is no regular file: a pipe would be waited for, a device never ends.
pub fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    let failed = |source| TrainError::Read { path: path.to_path_buf(), source };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file")));
    }
    fs::read(path).map_err(failed)
}

/// Makes a new folder `parent/name`, or `name2`, `name3` ... if that is taken: an earlier run is never overwritten.
/// The folder appears with everything that `fill` writes into it, or not at all.
///
/// # Errors
/// When the folder cannot be made, or as `fill`.
pub fn new_run_folder<E: From<TrainError>>(
    parent: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let failed = |path: &Path, source| TrainError::Write { path: path.to_path_buf(), source };
    fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    let hidden = parent.join(format!("{TEMPORARY_START}{name}.{}{TEMPORARY_END}", std::process::id()));
    fs::create_dir(&hidden).map_err(|source| failed(&hidden, source))?;
    let filled = fill(&hidden).and_then(|()| Ok(move_to_free_name(&hidden, parent, name)?));
    if filled.is_err() {
        // The reason of the first failure is what the caller needs to know.
        let _ = fs::remove_dir_all(&hidden);
    }
    filled
}

fn move_to_free_name(hidden: &Path, parent: &Path, name: &str) -> Result<PathBuf, TrainError> {
    for number in 1u32.. {
        let path = parent.join(if number == 1 { name.to_string() } else { format!("{name}{number}") });
        // A rename never replaces a folder that holds something, but it would replace an empty one.
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match fs::rename(hidden, &path) {
            Ok(()) => return Ok(path),
            Err(_) if path.symlink_metadata().is_ok() => {}
            Err(source) => return Err(TrainError::Write { path, source }),
        }
    }
    unreachable!("a folder of four billion runs")
}

/// Removes what a killed process left half-written in a folder.
///
/// # Errors
/// When the folder cannot be read or a file cannot be removed.
pub(crate) fn remove_temporaries(folder: &Path) -> Result<(), TrainError> {
    let failed = |source| TrainError::Write { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_temporary = name
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY_START) && name.ends_with(TEMPORARY_END));
        if is_temporary && entry.file_type().map_err(failed)?.is_file() {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "expected a file name"))?;
    let mut temporary = std::ffi::OsString::from(TEMPORARY_START);
    temporary.push(name);
    temporary.push(format!(".{}{TEMPORARY_END}", std::process::id()));
    Ok(path.with_file_name(temporary))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the rename itself survive a power cut, where the system can sync a folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn run_folders_are_never_reused() {
        fn fill(folder: &Path) -> Result<(), TrainError> {
            write_atomically(&folder.join("args.yaml"), b"{}")
        }
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> =
            (0..3).map(|_| new_run_folder(&folder.path().join("runs"), "exp", fill).unwrap()).collect();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["exp", "exp2", "exp3"]);
    }
}
