//! Keras weights in HDF5: the older layout (`.h5`, a group a layer) and that of Keras 3 (`.weights.h5`).
//!
//! Names are handed out as `<layer>/<variable>`, such as `stem_conv/kernel`, whatever the file writes around them; where
//! a file of Keras 3 does not name its layers, as `conv2d_3/kernel`, by class and number.

use crate::archive::{Archive, Budget, Format, NamedArray};
use crate::{ElementType, FormatError, MAX_DIMS};
use hdf5_pure::{AttrValue, DType, Dataset, File, Group};

const FORMAT: &str = "Keras HDF5";
/// Groups inside groups.
const MAX_DEPTH: usize = 16;
/// Groups and data sets of one file, counted by their paths: links can lead to one object on many.
const MAX_OBJECTS: usize = 50_000;

/// True if the bytes are an HDF5 file, as far as the first ones tell.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
}

/// Reads the weights of a file.
///
/// # Errors
/// When the file is damaged, or two arrays get one name.
pub fn read(bytes: &[u8]) -> Result<Archive, FormatError> {
    let file = File::from_bytes(bytes.to_vec()).map_err(|e| damaged("head", &e))?;
    let mut walk = Walk {
        archive: Archive::new(Format::Keras),
        budget: Budget::for_file(FORMAT, bytes.len() as u64),
        objects: 0,
    };
    walk.group(&file.root(), &mut Vec::new())?;
    walk.archive.ignored.sort();
    Ok(walk.archive)
}

fn damaged(place: &str, error: &hdf5_pure::Error) -> FormatError {
    FormatError::damaged(FORMAT, place, error.to_string())
}

struct Walk {
    archive: Archive,
    budget: Budget,
    objects: usize,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &mut Vec<String>) -> Result<(), FormatError> {
        let place = format!("group `/{}`", path.join("/"));
        self.count(path)?;
        if path.first().is_some_and(|first| first.starts_with("optimizer")) {
            self.archive.ignore(path.join("/"), "state of an optimiser");
            return Ok(());
        }
        for name in group.datasets().map_err(|e| damaged(&place, &e))? {
            let dataset = group.dataset(&name).map_err(|e| damaged(&place, &e))?;
            path.push(name);
            self.dataset(&dataset, group, path)?;
            path.pop();
        }
        for name in group.groups().map_err(|e| damaged(&place, &e))? {
            let inner = group.group(&name).map_err(|e| damaged(&place, &e))?;
            path.push(name);
            self.group(&inner, path)?;
            path.pop();
        }
        Ok(())
    }

    fn count(&mut self, path: &[String]) -> Result<(), FormatError> {
        self.objects += 1;
        if path.len() <= MAX_DEPTH && self.objects <= MAX_OBJECTS {
            return Ok(());
        }
        let (place, limit) = (format!("`/{}`", path.join("/")), MAX_OBJECTS as u64);
        Err(FormatError::Limit { format: FORMAT, place, what: "groups and data sets", limit })
    }

    fn dataset(&mut self, dataset: &Dataset, group: &Group, path: &[String]) -> Result<(), FormatError> {
        self.count(path)?;
        let full = path.join("/");
        let place = format!("data set `{full}`");
        let element = match dataset.dtype().map_err(|e| damaged(&place, &e))? {
            DType::F32 => ElementType::F32,
            DType::F64 => ElementType::F64,
            DType::I32 => ElementType::I32,
            DType::I64 => ElementType::I64,
            _ => {
                self.archive.ignore(full, "not an array of numbers");
                return Ok(());
            }
        };
        let shape = dataset.shape().map_err(|e| damaged(&place, &e))?;
        let dims: Option<Vec<usize>> = shape.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let dims = dims.filter(|dims| dims.len() <= MAX_DIMS);
        let dims =
            dims.ok_or_else(|| FormatError::damaged(FORMAT, &place, "too many or too large dimensions"))?;
        let count = self.budget.elements(&full, &dims)?;
        // A compressed piece is unpacked as a whole, whatever the array takes of it.
        if let Some(piece) = dataset.chunk_shape().map_err(|e| damaged(&place, &e))? {
            self.budget.require_piece(&full, &piece)?;
        }
        let values = match element {
            ElementType::F32 => dataset.read_f32(),
            ElementType::F64 => dataset.read_f64().map(|values| values.iter().map(|v| *v as f32).collect()),
            _ => dataset.read_i64().map(|values| values.iter().map(|v| *v as f32).collect()),
        };
        let values: Vec<f32> = values.map_err(|e| damaged(&place, &e))?;
        if values.len() != count {
            return Err(FormatError::damaged(
                FORMAT,
                &place,
                format!("{} values for {dims:?}", values.len()),
            ));
        }
        let name = name(group, path)?;
        let array = NamedArray { dims, values, stored_as: element };
        match self.archive.arrays.insert(name.clone(), array) {
            None => Ok(()),
            Some(_) => Err(FormatError::damaged(FORMAT, place, format!("a second array named `{name}`"))),
        }
    }
}

/// `<layer>/<variable>` of a data set.
fn name(group: &Group, path: &[String]) -> Result<String, FormatError> {
    match path {
        [before @ .., vars, index] if vars == "vars" => {
            let class = before.last().map_or("", String::as_str);
            Ok(format!("{}/{}", layer_name(group, before)?, variable(class, index)))
        }
        [.., layer, variable] => {
            // `:0` is TensorFlow's number of an operation's output; Keras 3 drops the word `depthwise`.
            let variable = variable.trim_end_matches(":0");
            Ok(format!("{layer}/{}", variable.strip_prefix("depthwise_").unwrap_or(variable)))
        }
        _ => Ok(path.join("/")),
    }
}

/// Keras 3 numbers its layers by class (`conv2d_3`); versions that write the layer's name have it beside the variables.
fn layer_name(group: &Group, before: &[String]) -> Result<String, FormatError> {
    let numbered = before.last().cloned().unwrap_or_default();
    let place = format!("group `{}`", before.join("/"));
    Ok(match group.attrs().map_err(|e| damaged(&place, &e))?.remove("name") {
        Some(
            AttrValue::VarLenString(name)
            | AttrValue::VarLenAsciiString(name)
            | AttrValue::String(name)
            | AttrValue::AsciiString(name),
        ) => name,
        _ => numbered,
    })
}

/// Keras 3 numbers the variables of a layer in the order they were made; its group is named by the layer's class.
fn variable(class: &str, index: &str) -> String {
    let class = class.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    let names: &[&str] = match class {
        "batch_normalization" => &["gamma", "beta", "moving_mean", "moving_variance"],
        "normalization" => &["mean", "variance", "count"],
        _ => &["kernel", "bias"],
    };
    let name = index.parse::<usize>().ok().and_then(|index| names.get(index));
    name.map_or_else(|| index.to_string(), |name| name.to_string())
}
