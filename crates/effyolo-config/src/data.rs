use crate::ConfigError;
use crate::coco_names::coco_names;
use crate::document::{parse, read_text};
use crate::section::{Field, Section};
use std::path::{Path, PathBuf};

/// Where a data set's images are and what its classes are called: a `data.yaml` in Ultralytics' form.
///
/// An entry of a split is a folder of images, a text file that lists images, or (ending in `.json`) a COCO instances
/// file; which of them is for the reader of the images to see. Relative entries are joined with `path`, a relative
/// `path` with the folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSpec {
    /// Name that the file was read under.
    pub file: String,
    /// Folder that relative entries were joined with.
    pub base: PathBuf,
    /// Images to train on.
    pub train: Vec<PathBuf>,
    /// Images to validate on.
    pub val: Vec<PathBuf>,
    /// Images to test on.
    pub test: Vec<PathBuf>,
    /// Names of the classes.
    pub names: Vec<String>,
    /// Folder of the images of COCO files; looked for beside them, unless given.
    pub images: Option<PathBuf>,
    /// Images with more pixels are left out before they are decoded.
    pub max_pixels: usize,
    /// What was left aside and should be said.
    pub notes: Vec<String>,
}

/// Pixels of the largest image, where the file does not say: 10,000 x 10,000.
const MAX_PIXELS: usize = 100_000_000;
const EXPECTED_ENTRY: &str =
    "a folder of images, a text file that lists images, or a COCO instances file (.json)";

impl DataSpec {
    /// Reads a data file that lies in `folder`; `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown or missing, or a value does not fit.
    pub fn from_yaml(text: &str, file: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::read(text, file, folder, |_| None)
    }

    /// Reads the data file at `path`: YAML, or the COCO instances file of a split (see [`DataSpec::of_coco_pair`]).
    /// Without `names` they are taken from the first COCO file.
    ///
    /// # Errors
    /// When it cannot be read, or as [`DataSpec::from_yaml`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        if is_json(path) {
            return Self::of_coco_pair(path);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let names = |file: &Path| Some(coco_names(file));
        Self::read(&read_text(path)?, &path.display().to_string(), folder, names)
    }

    /// A set of COCO files named after their splits: `instances_train2017.json` is the training split and
    /// `instances_val2017.json` beside it the validation split, whichever of them is given. A name without `train`,
    /// `val` or `test` is a validation split alone.
    ///
    /// # Errors
    /// When the file has no categories.
    pub fn of_coco_pair(path: &Path) -> Result<Self, ConfigError> {
        let [train, val, test] = coco_splits(path);
        Ok(DataSpec {
            file: path.display().to_string(),
            base: path.parent().unwrap_or(Path::new("")).into(),
            train,
            val,
            test,
            names: coco_names(path)?,
            images: None,
            max_pixels: MAX_PIXELS,
            notes: Vec::new(),
        })
    }

    fn read(
        text: &str,
        file: &str,
        folder: &Path,
        names_of: impl Fn(&Path) -> Option<Result<Vec<String>, ConfigError>>,
    ) -> Result<Self, ConfigError> {
        let document = parse(text, file)?;
        let root = Field::new(file, "", &document);
        let mut section = root.section("a map with `path`, `train`, `val` and `names`")?;
        let base = match section.get("path") {
            Some(field) => folder.join(field.text()?),
            None => folder.to_path_buf(),
        };
        let mut split = |key| section.get(key).map_or(Ok(Vec::new()), |field| read_split(&field, &base));
        let (train, val, test) = (split("train")?, split("val")?, split("test")?);
        let images =
            section.get("images").map(|field| field.text().map(|text| base.join(text))).transpose()?;
        let max_pixels = section.read("max_pixels", MAX_PIXELS, |field| field.integer(1..=10_000_000_000))?;
        let coco = [&train, &val, &test].into_iter().flatten().find(|entry| is_json(entry));
        let names = read_names(&mut section, coco.and_then(|entry| names_of(entry)))?;
        let mut notes = Vec::new();
        for key in ["download", "roboflow"] {
            if section.get(key).is_some() {
                notes.push(format!("`{key}` of {file} is not used: nothing is downloaded or executed"));
            }
        }
        section.finish()?;
        Ok(DataSpec { file: file.into(), base, train, val, test, names, images, max_pixels, notes })
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
            let expected = format!("{EXPECTED_ENTRY}; or a list of those");
            return Err(ConfigError::Missing { file: self.file.clone(), path: name.into(), expected });
        }
        Ok(entries)
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The files of the splits train, val and test that go with `path`; those beside it only where they exist.
fn coco_splits(path: &Path) -> [Vec<PathBuf>; 3] {
    const SPLITS: [&str; 3] = ["train", "val", "test"];
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = SPLITS.into_iter().filter_map(|split| Some((name.rfind(split)?, split))).max();
    let Some((start, own)) = own else {
        return [Vec::new(), vec![path.into()], Vec::new()];
    };
    SPLITS.map(|split| {
        let other = path.with_file_name(format!("{}{split}{}", &name[..start], &name[start + own.len()..]));
        if split == own {
            vec![path.into()]
        } else if other.is_file() {
            vec![other]
        } else {
            Vec::new()
        }
    })
}

/// One entry, or a list of entries; nothing where the value is empty.
fn read_split(field: &Field<'_>, base: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if field.is_null() {
        return Ok(Vec::new());
    }
    let entry = |field: &Field<'_>| match field.text()? {
        "" => Err(field.wrong(EXPECTED_ENTRY)),
        text => Ok(base.join(text)),
    };
    match field.items() {
        Some(items) => items.iter().map(entry).collect(),
        None => Ok(vec![entry(field)?]),
    }
}

/// `names` as a list or a map from index to name, and `nc`, which must agree with it. Without names they are `coco`, those
/// of a COCO file, or else the classes are called by number.
fn read_names(
    section: &mut Section<'_>,
    coco: Option<Result<Vec<String>, ConfigError>>,
) -> Result<Vec<String>, ConfigError> {
    let count = section.get("nc");
    let number = count.as_ref().map(|field| field.integer(1..=100_000)).transpose()?;
    let names = match (section.get("names"), coco, number) {
        (Some(field), ..) => names_of(&field)?,
        (None, Some(names), _) => names?,
        (None, None, Some(number)) => (0..number).map(|index| format!("class {index}")).collect(),
        (None, None, None) => return Err(section.missing("names", "a list of class names")),
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
