//! The form that weights are kept in: safetensors with one record of what they are.

use crate::{Convention, Matched, Names, SourceError};
use effnet_backbone::Naming;
use net_formats::WeightsInfo;
use net_formats::safetensors_file::{self, ArrayRef};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// SHA-256 of a file as it lies on the disk, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            len => hash.update(&block[..len]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Matched<'_> {
    /// The record of a file of these weights.
    pub fn info(&self, convention: &Convention) -> WeightsInfo {
        WeightsInfo {
            format: WeightsInfo::FORMAT,
            variant: self.variant.name.clone(),
            classes: self.classes,
            padding: convention.padding,
            bn_eps: convention.bn_eps,
            normalization: convention.normalization,
            naming: self.naming_name().into(),
            notice: self.notice.map(str::to_string),
        }
    }

    /// The names that this project gives the network.
    pub fn our_names(&self) -> Names {
        match self.names {
            Names::EfficientNet(_) => Names::EfficientNet(Naming::Timm),
            Names::Ultralytics => Names::Ultralytics,
        }
    }

    /// Fails where a parameter is missing, or has other dimensions than the network's.
    ///
    /// # Errors
    /// With the number of such parameters and the first of them.
    pub fn require_complete(&self) -> Result<(), SourceError> {
        let misshaped = self
            .misshaped
            .iter()
            .map(|(name, expected, got)| format!("`{name}`: expected {expected:?}, got {got:?}"));
        let missing = self.missing.iter().map(|name| format!("`{name}`: expected, but absent"));
        let problems: Vec<String> = misshaped.chain(missing).collect();
        match problems.first() {
            None => Ok(()),
            Some(first) => Err(SourceError::Incomplete {
                variant: self.variant.name.clone(),
                count: problems.len(),
                first: first.clone(),
            }),
        }
    }

    /// Our names of parameters with values that are infinite or no numbers.
    pub fn non_finite(&self) -> Vec<String> {
        let is_broken = |values: &[f32]| values.iter().any(|value| !value.is_finite());
        let broken = self.weights.iter().filter(|weight| is_broken(&weight.values));
        broken.map(|weight| weight.name.clone()).collect()
    }

    /// Writes the weights under the given names, with their record; `path` is whole or as it was.
    ///
    /// # Errors
    /// When the network has no such names, or the folder cannot be written.
    pub fn write(&self, path: &Path, names: Names, info: &WeightsInfo) -> Result<(), SourceError> {
        let map = self.variant.map(names, self.classes.unwrap_or(0))?;
        let names: BTreeMap<&str, &str> =
            map.iter().map(|weight| (weight.name.as_str(), weight.file_name.as_str())).collect();
        let arrays = self.weights.iter().map(|weight| {
            let array = ArrayRef { dims: &weight.dims, values: &weight.values };
            (names[weight.name.as_str()].to_string(), array)
        });
        let metadata = info.to_metadata();
        let record = Some((WeightsInfo::METADATA_KEY, metadata.as_str()));
        Ok(safetensors_file::write(path, &arrays.collect(), record)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(file.path()).unwrap(), want);
    }
}
