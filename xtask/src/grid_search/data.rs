//! The data of the trials: which task it is for, a fingerprint for the keys of trials, and a part of it.

use super::proxy::Proxy;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    /// A folder with train/CLASS and val/CLASS.
    Classify,
    /// A data.yaml.
    Detect,
}

/// A data set as it was found.
#[derive(Debug, Clone)]
pub(super) struct TrialData {
    pub(super) task: Task,
    pub(super) path: PathBuf,
    /// The same for the same files, wherever they lie.
    pub(super) fingerprint: String,
    /// Class folders; `None` of a detection set.
    pub(super) classes: Option<usize>,
    /// Accuracy of always answering the most frequent class of the validation images; `None` of a detection set.
    pub(super) chance: Option<f64>,
}

impl TrialData {
    /// Looks at the data: a folder is for classification, a file for detection.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let place = || format!("--data {}", path.display());
        let path = std::fs::canonicalize(path).with_context(place)?;
        if path.is_file() {
            let text = std::fs::read(&path).with_context(place)?;
            let fingerprint = format!("{:016x}", fnv(FNV_START, &text));
            return Ok(TrialData { task: Task::Detect, path, fingerprint, classes: None, chance: None });
        }
        let train = files_by_class(&path.join("train")).with_context(place)?;
        let val = files_by_class(&path.join("val")).with_context(place)?;
        let mut state = FNV_START;
        for file in train.iter().chain(&val).flat_map(|(_, files)| files) {
            let relative = file.strip_prefix(&path).unwrap_or(file);
            state = fnv(state, relative.to_string_lossy().as_bytes());
            state = fnv(state, &file.metadata().with_context(place)?.len().to_le_bytes());
        }
        let classes = Some(train.len());
        let sizes = || val.iter().map(|(_, files)| files.len());
        let chance = sizes().max().map(|most| most as f64 / sizes().sum::<usize>() as f64);
        Ok(TrialData { task: Task::Classify, path, fingerprint: format!("{state:016x}"), classes, chance })
    }

    /// The folder that trials train on: the data itself, or a part of each class's training images under `out`, evenly
    /// taken; validation images all stay.
    pub(super) fn for_proxy(&self, proxy: &Proxy, out: &Path) -> Result<PathBuf> {
        if proxy.subset >= 1.0 {
            return Ok(self.path.clone());
        }
        ensure!(
            self.task == Task::Classify,
            "--proxy subset= works on class folders; of a detection set list a part of the images in a .txt file and \
             name that as `train` in data.yaml"
        );
        let target = out.join(format!("subset-{}-{}", self.fingerprint, proxy.subset));
        for part in ["train", "val"] {
            let share = if part == "train" { proxy.subset } else { 1.0 };
            for (class, files) in files_by_class(&self.path.join(part))? {
                let folder = target.join(part).join(class);
                std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                evenly(&files, share).try_for_each(|file| place_beside(file, &folder))?;
            }
        }
        Ok(target)
    }
}

/// `share` of the files, at least one, spread over all.
fn evenly(files: &[PathBuf], share: f64) -> impl Iterator<Item = &PathBuf> {
    let kept = ((files.len() as f64 * share).round() as usize).clamp(1, files.len());
    (0..kept).map(move |i| &files[i * files.len() / kept])
}

/// Links the file into the folder, or copies it where links do not reach.
fn place_beside(file: &Path, folder: &Path) -> Result<()> {
    let place = || format!("cannot place {} in {}", file.display(), folder.display());
    let target = folder.join(file.file_name().with_context(place)?);
    if target.exists() {
        return Ok(());
    }
    match std::fs::hard_link(file, &target) {
        Ok(()) => Ok(()),
        Err(_) => std::fs::copy(file, &target).map(|_| ()).with_context(place),
    }
}

/// Class folders in order of name, each with its files in order of path.
fn files_by_class(folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut classes = Vec::new();
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let files: Vec<_> = entries(&class)?.into_iter().filter(|path| path.is_file()).collect();
        ensure!(!files.is_empty(), "the class folder {} is empty", class.display());
        classes.push((class.file_name().unwrap_or_default().to_string_lossy().into_owned(), files));
    }
    ensure!(!classes.is_empty(), "{}: expected a folder a class, found none", folder.display());
    Ok(classes)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || format!("cannot read {}", folder.display());
    let paths = std::fs::read_dir(folder).with_context(read)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().with_context(read)?;
    paths.sort();
    Ok(paths)
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: a fingerprint that does not change with the compiler.
fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(images: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for part in ["train", "val"] {
            for class in ["a", "b"] {
                let path = folder.path().join(part).join(class);
                std::fs::create_dir_all(&path).unwrap();
                for i in 0..images {
                    std::fs::write(path.join(format!("{i}.jpg")), vec![0; i]).unwrap();
                }
            }
        }
        folder
    }

    #[test]
    fn equal_files_have_one_fingerprint_wherever_they_lie() {
        let [a, b, c] = [10, 10, 11].map(folder_with);
        let fingerprint = |folder: &tempfile::TempDir| TrialData::find(folder.path()).unwrap().fingerprint;
        assert_eq!(fingerprint(&a), fingerprint(&b));
        assert_ne!(fingerprint(&a), fingerprint(&c));
        let data = TrialData::find(a.path()).unwrap();
        assert_eq!((data.classes, data.chance), (Some(2), Some(0.5)));
    }

    #[test]
    fn a_subset_has_some_of_each_class_and_all_of_val() {
        let (folder, out) = (folder_with(10), tempfile::tempdir().unwrap());
        let data = TrialData::find(folder.path()).unwrap();
        let path = data.for_proxy(&Proxy::parse("subset=0.3", 224).unwrap(), out.path()).unwrap();
        let count = |part: &str| entries(&path.join(part).join("b")).unwrap().len();
        assert_eq!((count("train"), count("val")), (3, 10));
        assert_eq!(data.for_proxy(&Proxy::parse("", 224).unwrap(), out.path()).unwrap(), data.path);
    }

    #[test]
    fn a_folder_without_classes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("train")).unwrap();
        let message = format!("{:#}", TrialData::find(folder.path()).unwrap_err());
        assert!(message.contains("expected a folder a class"), "{message}");
    }
}
