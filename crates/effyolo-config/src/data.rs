use crate::ConfigError;
use crate::section::{Field, Section, parse};
use std::path::{Path, PathBuf};

/// Where a data set's images are and what its classes are called: a `data.yaml` in Ultralytics' form.
///
/// An entry of a split is a folder of images or a text file that lists images; which of them is for the reader of the
/// images to see. Relative entries are joined with `path`, a relative `path` with the folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSpec {
    /// Name that the file was read under.
    pub file: String,
    /// Images to train on.
    pub train: Vec<PathBuf>,
    /// Images to validate on.
    pub val: Vec<PathBuf>,
    /// Images to test on.
    pub test: Vec<PathBuf>,
    /// Names of the classes.
    pub names: Vec<String>,
    /// What was left aside and should be said.
    pub notes: Vec<String>,
}

impl DataSpec {
    /// Reads a data file that lies in `folder`; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown or missing, or a value does not fit.
    pub fn from_yaml(text: &str, file: &str, folder: &Path) -> Result<Self, ConfigError> {
        let document = parse(text, file)?;
        let root = Field::new(file, "", &document);
        let mut section = root.section("a map with `path`, `train`, `val` and `names`")?;
        let base = match section.get("path") {
            Some(field) => folder.join(field.text()?),
            None => folder.to_path_buf(),
        };
        let mut split = |key| section.get(key).map_or(Ok(Vec::new()), |field| read_split(&field, &base));
        let (train, val, test) = (split("train")?, split("val")?, split("test")?);
        let names = read_names(&mut section)?;
        let mut notes = Vec::new();
        for key in ["download", "roboflow"] {
            if section.get(key).is_some() {
                notes.push(format!("`{key}` of {file} is not used"));
            }
        }
        section.finish()?;
        Ok(DataSpec { file: file.into(), train, val, test, names, notes })
    }

    /// Reads the data file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or as [`DataSpec::from_yaml`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_yaml(&text, &path.display().to_string(), folder)
    }

    /// Entries of the split of that name: `train`, `val` or `test`.
    ///
    /// # Errors
    /// When there is no such split, or the file does not name it.
    pub fn split(&self, name: &str) -> Result<&[PathBuf], ConfigError> {
        let entries = match name {
            "train" => &self.train,
            "val" => &self.val,
            "test" => &self.test,
            _ => {
                let advice = "expected one of train, val, test".into();
                return Err(ConfigError::UnknownKey { file: self.file.clone(), path: name.into(), advice });
            }
        };
        if entries.is_empty() {
            let expected = "a folder of images, a text file that lists images, or a list of those".into();
            return Err(ConfigError::Missing { file: self.file.clone(), path: name.into(), expected });
        }
        Ok(entries)
    }
}

/// One entry, or a list of entries; nothing where the value is empty.
fn read_split(field: &Field<'_>, base: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if field.is_null() {
        return Ok(Vec::new());
    }
    let entry = |field: &Field<'_>| match field.text()? {
        "" => Err(field.wrong("a folder of images or a text file that lists images")),
        text => Ok(base.join(text)),
    };
    match field.items() {
        Some(items) => items.iter().map(entry).collect(),
        None => Ok(vec![entry(field)?]),
    }
}

/// `names` as a list or a map from index to name, and `nc`, which must agree with it. Without names the classes are
/// called by number.
fn read_names(section: &mut Section<'_>) -> Result<Vec<String>, ConfigError> {
    let count = section.get("nc");
    let number = count.as_ref().map(|field| field.integer(1..=100_000)).transpose()?;
    let names = match (section.get("names"), number) {
        (Some(field), _) => names_of(&field)?,
        (None, Some(number)) => (0..number).map(|index| format!("class {index}")).collect(),
        (None, None) => return Err(section.missing("names", "a list of class names")),
    };
    match (count, number) {
        (Some(field), Some(number)) if number != names.len() => {
            Err(field.wrong(format!("{}, the number of `names`", names.len())))
        }
        _ => Ok(names),
    }
}

fn names_of(field: &Field<'_>) -> Result<Vec<String>, ConfigError> {
    let wrong = || field.wrong("at least one class name: a list, or a map from 0, 1, 2 ... to names");
    let names = match (field.items(), field.entries()) {
        (Some(items), _) => items.iter().map(Field::scalar_text).collect::<Result<Vec<_>, _>>()?,
        (None, Some(entries)) => names_by_index(entries)?.ok_or_else(wrong)?,
        (None, None) => return Err(wrong()),
    };
    if names.is_empty() { Err(wrong()) } else { Ok(names) }
}

/// Names in the order of their indices; `None` unless these are 0, 1, 2 ...
fn names_by_index(entries: Vec<(&serde_yaml::Value, Field<'_>)>) -> Result<Option<Vec<String>>, ConfigError> {
    let mut indexed = Vec::with_capacity(entries.len());
    for (key, field) in entries {
        let index = key.as_u64().or_else(|| key.as_str().and_then(|text| text.parse().ok()));
        let Some(index) = index else { return Ok(None) };
        indexed.push((index, field.scalar_text()?));
    }
    indexed.sort();
    let complete = indexed.iter().enumerate().all(|(position, (index, _))| *index == position as u64);
    Ok(complete.then(|| indexed.into_iter().map(|(_, name)| name).collect()))
}
