//! Published weights by name, and the folder that they lie in.

use anyhow::{Context, Result, bail, ensure};
use effyolo_config::{FetchedFile, PublishedWeights, WeightsLock, WeightsManifest};
use std::path::{Path, PathBuf};

const MANIFEST: &str = include_str!("../../../weights/manifest.yaml");
/// Where the folder is, unless the command line says it.
const VARIABLE: &str = "EFFYOLO_WEIGHTS";
const DEFAULT: &str = "weights";
const LOCK: &str = "checksums.yaml";

/// The list of published weights.
pub(crate) fn manifest() -> Result<WeightsManifest> {
    Ok(WeightsManifest::from_yaml(MANIFEST, "weights/manifest.yaml")?)
}

/// The weights of a name that a person gave.
pub(crate) fn named<'a>(manifest: &'a WeightsManifest, name: &str) -> Result<&'a PublishedWeights> {
    manifest.find(name).with_context(|| format!("`{name}`: no such weights; {}", manifest.advice(name)))
}

/// A folder of weights in our form, with the checksums of what was fetched into it.
pub(crate) struct WeightsFolder(PathBuf);

/// What is known of a file.
#[derive(Debug, PartialEq)]
pub(crate) enum FileState {
    Absent,
    /// It is what was fetched, or what the list says.
    Verified,
    Changed {
        expected: String,
        got: String,
    },
    /// There is no sum to compare it with.
    Unknown,
}

impl WeightsFolder {
    /// The folder that was asked for, that of the variable `EFFYOLO_WEIGHTS`, or `weights` in the working folder.
    pub(crate) fn chosen(asked: Option<&Path>) -> Self {
        let variable = || std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = asked.map(Path::to_path_buf).or_else(variable);
        WeightsFolder(folder.unwrap_or_else(|| DEFAULT.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, weights: &PublishedWeights) -> PathBuf {
        self.0.join(&weights.file)
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.0.join(LOCK)
    }

    pub(crate) fn lock(&self) -> Result<WeightsLock> {
        Ok(WeightsLock::load(&self.lock_file())?)
    }

    /// Compares a file with what was fetched, or with the sum of the list where it was not fetched.
    pub(crate) fn state(&self, weights: &PublishedWeights, lock: &WeightsLock) -> Result<FileState> {
        let path = self.file(weights);
        if !path.exists() {
            return Ok(FileState::Absent);
        }
        let expected = match lock.0.get(&weights.file) {
            Some(FetchedFile { sha256, .. }) => sha256,
            None => match &weights.sha256 {
                Some(sha256) => sha256,
                None => return Ok(FileState::Unknown),
            },
        };
        let got = sha256(&path)?;
        Ok(match got == *expected {
            true => FileState::Verified,
            false => FileState::Changed { expected: expected.clone(), got },
        })
    }

    /// Notes what was fetched.
    pub(crate) fn record(&self, file: &str, fetched: FetchedFile) -> Result<()> {
        let mut lock = self.lock()?;
        lock.0.insert(file.into(), fetched);
        Ok(yolo_train::write_atomically(&self.lock_file(), lock.to_yaml().as_bytes())?)
    }
}

impl FileState {
    /// In a table.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            FileState::Absent => "absent",
            FileState::Verified => "verified",
            FileState::Changed { .. } => "changed",
            FileState::Unknown => "unknown",
        }
    }

    /// Fails unless the file is there and known to be right.
    pub(crate) fn require_verified(&self, path: &Path, name: &str) -> Result<()> {
        let path = path.display();
        match self {
            FileState::Verified => Ok(()),
            FileState::Absent => {
                bail!("{path}, the file of `{name}`, is absent; get it by `effyolo weights fetch {name}`")
            }
            FileState::Changed { expected, got } => bail!(
                "{path}: expected sha256 {expected}, got {got}; remove the file and run `effyolo weights fetch {name}`"
            ),
            FileState::Unknown => bail!(
                "{path}: nobody noted its checksum, so it cannot be told what it is; remove it and run \
                 `effyolo weights fetch {name}`, or use it by its path"
            ),
        }
    }
}

/// What `--weights` means: a file, or published weights by name, which have to be in the folder of weights unchanged.
pub(crate) fn resolve(weights: &Path) -> Result<PathBuf> {
    let name = weights.to_str().filter(|_| !weights.exists());
    let manifest = manifest()?;
    let Some(published) = name.and_then(|name| manifest.find(name)) else {
        let is_word = weights.components().count() == 1 && weights.extension().is_none();
        ensure!(
            weights.exists() || !is_word,
            "--weights {0}: there is no such file, and no published weights of that name; {1}",
            weights.display(),
            manifest.advice(&weights.to_string_lossy())
        );
        return Ok(weights.into());
    };
    let folder = WeightsFolder::chosen(None);
    let path = folder.file(published);
    match folder.state(published, &folder.lock()?)? {
        // A file that a person put there is theirs to know.
        FileState::Unknown => {}
        state => state.require_verified(&path, &published.name)?,
    }
    eprintln!("weights: {} is {}", published.name, path.display());
    Ok(path)
}

/// Checksum of a file as it lies on the disk.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    weight_sources::sha256(path).with_context(|| format!("reading {}", path.display()))
}
