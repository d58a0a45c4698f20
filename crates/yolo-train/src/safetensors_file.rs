//! Safetensors files with one entry of metadata: a card as JSON, and a checksum over card and tensors.

use crate::{TrainError, files};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Version of the files that this crate writes.
pub(crate) const FORMAT: u32 = 1;
/// The one key of the file's metadata; its value is JSON. (Several keys would be written in a random order.)
const METADATA_KEY: &str = "effyolo";

/// What stands under the key.
#[derive(Serialize, Deserialize)]
struct Envelope {
    /// Of the card's text, then of every tensor's name, dimensions and bytes, in the order of the names.
    sha256: String,
    card: Box<RawValue>,
}

/// A file whose checksum, where it has one, was found right.
pub(crate) struct Checked<'a> {
    pub(crate) tensors: SafeTensors<'a>,
    /// Our part of the metadata, if the file is ours.
    card: Option<String>,
    origin: String,
}

impl<'a> Checked<'a> {
    /// Parses the bytes of a file; `origin` is its name in messages.
    ///
    /// # Errors
    /// When it is no safetensors file, or its checksum is wrong.
    pub(crate) fn parse(bytes: &'a [u8], origin: &str) -> Result<Self, TrainError> {
        let broken = |source| TrainError::Safetensors { origin: origin.to_string(), source };
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        let mut checked = Checked { tensors, card: None, origin: origin.to_string() };
        if let Some(text) = entry {
            let Envelope { sha256, card } =
                serde_json::from_str(text).map_err(|error| checked.metadata_error(&error))?;
            let found = checksum(card.get(), &sorted(&checked.tensors));
            if found != sha256 {
                return Err(TrainError::Damaged { origin: origin.into(), expected: sha256, found });
            }
            checked.card = Some(card.get().to_string());
        }
        Ok(checked)
    }

    /// The card; `None` for another tool's file.
    ///
    /// # Errors
    /// When it is not of the wanted kind.
    pub(crate) fn card<T: DeserializeOwned>(&self) -> Result<Option<T>, TrainError> {
        let parsed = self.card.as_deref().map(serde_json::from_str).transpose();
        parsed.map_err(|error| self.metadata_error(&error))
    }

    fn metadata_error(&self, error: &serde_json::Error) -> TrainError {
        let reason = format!("metadata `{METADATA_KEY}`: {error}");
        TrainError::WeightsFormat { origin: self.origin.clone(), reason }
    }
}

/// Writes tensors of 32-bit floats with a card.
///
/// # Errors
/// When the file cannot be written; what was there is then as it was.
pub(crate) fn save(
    path: &Path,
    tensors: Vec<(String, Vec<usize>, &[f32])>,
    card: &impl Serialize,
) -> Result<(), TrainError> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, dims, values)| (name, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let mut views: Vec<(String, TensorView<'_>)> = Vec::with_capacity(bytes.len());
    for (name, dims, data) in &bytes {
        let tensor = TensorView::new(Dtype::F32, dims.clone(), data);
        views.push((name.clone(), tensor.expect("as many values as the dimensions say")));
    }
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let card = serde_json::value::to_raw_value(card).expect("a card of plain values always serialises");
    let envelope = Envelope { sha256: checksum(card.get(), &views), card };
    let metadata = serde_json::to_string(&envelope).expect("plain values always serialise");
    let file = safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_string(), metadata)])))
        .expect("unique names and whole tensors always serialise");
    files::write_atomically(path, &file)
}

/// The values of a tensor of 32-bit floats.
pub(crate) fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    (view.dtype() == Dtype::F32).then(|| view.data().chunks_exact(4).map(number).collect())
}

fn sorted<'a>(tensors: &SafeTensors<'a>) -> Vec<(String, TensorView<'a>)> {
    let mut views: Vec<_> = tensors.iter().map(|(name, view)| (name.to_string(), view)).collect();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    views
}

fn checksum(card: &str, tensors: &[(String, TensorView<'_>)]) -> String {
    let mut hash = Sha256::new();
    hash.update(card);
    for (name, view) in tensors {
        hash.update(format!("\n{name} {:?} {:?}\n", view.dtype(), view.shape()));
        hash.update(view.data());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
