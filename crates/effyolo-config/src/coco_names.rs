//! Class names of a COCO instances file.

use crate::ConfigError;
use serde::Deserialize;
use std::io::BufReader;
use std::path::Path;

/// No more classes are known; also the limit of `nc`.
const MAX_CLASSES: usize = 100_000;

#[derive(Deserialize)]
struct Document {
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

/// Names of the categories by rising id, which is the order of the classes.
pub(crate) fn coco_names(path: &Path) -> Result<Vec<String>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ConfigError::NotAFile { path: path.into() });
    }
    let file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
    let document: Document =
        serde_json::from_reader(file).map_err(|source| ConfigError::Coco { path: path.into(), source })?;
    let mut categories = document.categories;
    categories.sort_by_key(|category| category.id);
    if categories.is_empty() || categories.len() > MAX_CLASSES {
        let expected = format!("1 to {MAX_CLASSES} categories");
        let got = categories.len().to_string();
        return Err(ConfigError::Value {
            file: path.display().to_string(),
            path: "categories".into(),
            expected,
            got,
        });
    }
    Ok(categories.into_iter().map(|category| category.name).collect())
}
