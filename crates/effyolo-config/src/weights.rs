//! The list of published weights, and the checksums of those that were fetched.

use crate::document::{parse, read_text};
use crate::model_yaml::{NORMALIZATIONS, PADDINGS};
use crate::section::{Field, Section};
use crate::{ConfigError, Conventions, suggest};
use std::collections::BTreeMap;
use std::path::Path;

/// Letters of a SHA-256 sum.
const SUM_LETTERS: usize = 64;

/// Weights that somebody published.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedWeights {
    /// What they are asked for by.
    pub name: String,
    /// Their file in a folder of weights, in our form.
    pub file: String,
    /// What they are, in words.
    pub what: String,
    /// The network, such as `b0` or `lite3`.
    pub variant: String,
    /// Their licence; `None` where nobody noted it.
    pub licence: Option<String>,
    /// How they were trained.
    pub conventions: Conventions,
    /// Where they can be fetched.
    pub hub: Option<HubFile>,
    /// SHA-256 of [`Self::file`] as somebody made and noted it.
    pub sha256: Option<String>,
}

/// A file on the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Owner and name, such as `timm/efficientnet_b0.ra_in1k`.
    pub repository: String,
    /// Path in the repository.
    pub file: String,
    /// Branch, tag or commit.
    pub revision: String,
}

/// The list of published weights, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsManifest(pub Vec<PublishedWeights>);

impl WeightsManifest {
    /// Reads the list; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown or missing, a value does not fit, or a name or file occurs twice.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self, ConfigError> {
        let document = parse(text, file)?;
        let mut root = Field::new(file, "", &document).section("a map with `weights`")?;
        let list = root.require("weights", "a list of weights")?;
        let items = list.items().ok_or_else(|| list.wrong("a list of weights"))?;
        let weights = items.iter().map(read_entry).collect::<Result<Vec<_>, _>>()?;
        for (index, (entry, field)) in weights.iter().zip(&items).enumerate() {
            if weights[..index].iter().any(|other| other.name == entry.name || other.file == entry.file) {
                return Err(field.wrong("a name and a file that no entry before has"));
            }
        }
        root.finish()?;
        Ok(WeightsManifest(weights))
    }

    /// The weights of a name.
    pub fn find(&self, name: &str) -> Option<&PublishedWeights> {
        self.0.iter().find(|weights| weights.name == name)
    }

    /// "did you mean ...?", or all names where none is near.
    pub fn advice(&self, name: &str) -> String {
        suggest::advice(name, &self.0.iter().map(|weights| weights.name.as_str()).collect::<Vec<_>>())
    }
}

fn read_entry(field: &Field<'_>) -> Result<PublishedWeights, ConfigError> {
    let mut entry = field.section("a map with `name`, `file`, `what`, `variant` and how it was trained")?;
    let text =
        |entry: &mut Section<'_>, key, expected| entry.require(key, expected)?.text().map(str::to_string);
    let weights = PublishedWeights {
        name: text(&mut entry, "name", "a name")?,
        file: plain_file(&entry.require("file", "the name of a file")?)?,
        what: text(&mut entry, "what", "what the weights are")?,
        variant: text(&mut entry, "variant", "a network, such as b0")?,
        licence: entry.get("licence").map(|field| field.text().map(str::to_string)).transpose()?,
        conventions: Conventions {
            padding: entry.require("padding", "same or symmetric")?.choice(&PADDINGS)?,
            bn_eps: entry.require("bn_eps", "a number")?.number(f64::MIN_POSITIVE..=1.0)?,
            normalization: entry.require("normalize", "an input normalisation")?.choice(&NORMALIZATIONS)?,
        },
        hub: entry.get("hub").map(|field| read_hub(&field)).transpose()?,
        sha256: entry.get("sha256").map(|field| sum(&field)).transpose()?,
    };
    // For people; nothing depends on them.
    for key in ["source", "copyright", "names"] {
        entry.get(key).map(|field| field.text().map(drop)).transpose()?;
    }
    entry.finish()?;
    Ok(weights)
}

fn read_hub(field: &Field<'_>) -> Result<HubFile, ConfigError> {
    let mut hub = field.section("a map with `repository`, `file` and `revision`")?;
    let file = HubFile {
        repository: hub.require("repository", "owner/name")?.text()?.into(),
        file: hub.require("file", "a path in the repository")?.text()?.into(),
        revision: hub.require("revision", "a branch, tag or commit")?.text()?.into(),
    };
    hub.finish()?;
    Ok(file)
}

/// The name of a file without a folder.
fn plain_file(field: &Field<'_>) -> Result<String, ConfigError> {
    let name = field.text()?;
    let is_plain = Path::new(name).file_name().is_some_and(|file| file == name);
    is_plain.then(|| name.to_string()).ok_or_else(|| field.wrong("the name of a file, without a folder"))
}

fn sum(field: &Field<'_>) -> Result<String, ConfigError> {
    let text = field.text()?;
    let is_sum =
        text.len() == SUM_LETTERS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_sum.then(|| text.to_string()).ok_or_else(|| field.wrong("64 hexadecimal digits"))
}

/// What is known of a file in a folder of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// SHA-256 of the file, in our form.
    pub sha256: String,
    /// SHA-256 of what it was made from.
    pub source_sha256: String,
    /// Where that came from: repository and commit, or the name of a file.
    pub source: String,
}

/// The lock of a folder of weights: by file name, what was fetched into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsLock(pub BTreeMap<String, FetchedFile>);

impl WeightsLock {
    /// Reads the lock at `path`; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or as [`WeightsLock::from_yaml`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        if !path.exists() {
            return Ok(WeightsLock::default());
        }
        Self::from_yaml(&read_text(path)?, &path.display().to_string())
    }

    /// Reads a lock; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown or missing, or a value is no checksum.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self, ConfigError> {
        let document = parse(text, file)?;
        let root = Field::new(file, "", &document);
        let entries = root.entries().ok_or_else(|| root.wrong("a map from files to their checksums"))?;
        let read = |(key, field): (&serde_yaml::Value, Field<'_>)| {
            let name = Field::new(file, "", key).scalar_text()?;
            let mut entry = field.section("a map with `sha256`, `source_sha256` and `source`")?;
            let fetched = FetchedFile {
                sha256: sum(&entry.require("sha256", "a checksum")?)?,
                source_sha256: sum(&entry.require("source_sha256", "a checksum")?)?,
                source: entry.require("source", "where it came from")?.text()?.into(),
            };
            entry.finish()?;
            Ok((name, fetched))
        };
        entries.into_iter().map(read).collect::<Result<_, _>>().map(WeightsLock)
    }

    /// The lock as it is written.
    pub fn to_yaml(&self) -> String {
        let text = |text: &str| serde_yaml::Value::String(text.into());
        let entry = |(name, fetched): (&String, &FetchedFile)| {
            let values = [
                ("sha256", &fetched.sha256),
                ("source_sha256", &fetched.source_sha256),
                ("source", &fetched.source),
            ];
            let map: serde_yaml::Mapping =
                values.into_iter().map(|(key, value)| (text(key), text(value))).collect();
            (text(name), serde_yaml::Value::Mapping(map))
        };
        let map: serde_yaml::Mapping = self.0.iter().map(entry).collect();
        let body = serde_yaml::to_string(&map).expect("a map of texts always serialises");
        format!("# Written by `effyolo weights fetch`, which compares every later download with it.\n{body}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "weights:\n  - {name: a, file: a.safetensors, what: A, variant: b0, padding: same, bn_eps: 1e-3, \
                         normalize: imagenet}\n";

    #[test]
    fn an_entry_has_what_running_the_weights_needs() {
        let manifest = WeightsManifest::from_yaml(ENTRY, "m").unwrap();
        assert_eq!(manifest.find("a").unwrap().conventions.bn_eps, 1e-3);
        for (from, to, words) in [
            ("bn_eps: 1e-3, ", "", "bn_eps"),
            ("file: a.", "file: ../a.", "without a folder"),
            ("padding: same", "padding: valid", "symmetric, same"),
            ("what: A", "what: A, sha256: 12", "sha256"),
            ("what: A", "what: A, licnce: MIT", "licence"),
        ] {
            let error = WeightsManifest::from_yaml(&ENTRY.replace(from, to), "m").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let twice = format!("{ENTRY}{}", ENTRY.trim_start_matches("weights:\n"));
        assert!(WeightsManifest::from_yaml(&twice, "m").unwrap_err().to_string().contains("weights[1]"));
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let fetched = FetchedFile {
            sha256: "a1".repeat(32),
            source_sha256: "0".repeat(64),
            source: "timm/efficientnet_b0.ra_in1k, commit: 12".into(),
        };
        let lock = WeightsLock(BTreeMap::from([("b0: x.safetensors".into(), fetched)]));
        assert_eq!(WeightsLock::from_yaml(&lock.to_yaml(), "lock").unwrap(), lock);
        let damaged = lock.to_yaml().replacen("a1a1", "", 1);
        assert!(WeightsLock::from_yaml(&damaged, "lock").unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
