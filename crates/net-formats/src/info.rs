use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Version of [`WeightsInfo`] that this crate writes.
const FORMAT: u32 = 1;

/// What a converted weights file says about itself, under [`WeightsInfo::METADATA_KEY`] in its metadata.
///
/// Padding, batch-norm epsilon and input normalisation belong to a checkpoint: a network that runs the weights has to
/// be built with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// Version of this record.
    pub format: u32,
    /// Variant, such as `b0` or `lite3`; with multipliers, such as `b0 x 0.25 x 0.4`, where it is none of the
    /// published ones.
    pub variant: String,
    /// Outputs of the classifier; `None` where the file has none.
    pub classes: Option<usize>,
    /// Padding of the convolutions.
    pub padding: PaddingMode,
    /// Epsilon of the batch norms.
    pub bn_eps: f64,
    /// What images were normalised with.
    pub normalization: Normalization,
    /// Naming of the file that the weights came from, such as `torchvision`.
    pub naming: String,
    /// A licence that binds whoever uses the weights, where the source shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// How convolutions pad, as a checkpoint was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaddingMode {
    /// TensorFlow's SAME: at stride 2 the extra cell lies at the end.
    Same,
    /// PyTorch's usual `kernel / 2` on all sides.
    Symmetric,
}

/// What RGB values in `[0, 1]` are normalised with: `(x - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Not at all.
    None,
    /// Mean and standard deviation of ImageNet.
    Imagenet,
    /// To `[-1, 1]`: Lite variants as PyTorch ports run them, and AdvProp checkpoints.
    Lite,
    /// `(byte - 127) / 128`: Lite variants as TensorFlow runs them, half a grey level from [`Self::Lite`].
    LiteTensorflow,
}

impl Normalization {
    /// Mean and standard deviation of each channel, for values in `[0, 1]`.
    pub fn mean_std(self) -> Option<([f64; 3], [f64; 3])> {
        match self {
            Normalization::None => None,
            Normalization::Imagenet => Some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
            Normalization::Lite => Some(([0.5; 3], [0.5; 3])),
            Normalization::LiteTensorflow => Some(([127.0 / 255.0; 3], [128.0 / 255.0; 3])),
        }
    }
}

/// Metadata that is not a [`WeightsInfo`] of a version that this crate knows.
#[derive(Debug, thiserror::Error)]
#[error("metadata `{}`: {problem}", WeightsInfo::METADATA_KEY)]
pub struct InfoError {
    problem: String,
}

impl WeightsInfo {
    /// The key of a safetensors file's metadata under which the record stands, as JSON.
    pub const METADATA_KEY: &str = "effyolo-weights";
    /// The version to put into [`Self::format`].
    pub const FORMAT: u32 = FORMAT;

    /// Reads the value of [`Self::METADATA_KEY`].
    ///
    /// # Errors
    /// When it is not such a record, or has a newer version.
    pub fn from_metadata(text: &str) -> Result<Self, InfoError> {
        let problem = |problem: String| InfoError { problem };
        let info: WeightsInfo = serde_json::from_str(text).map_err(|e| problem(e.to_string()))?;
        if info.format > FORMAT {
            let newer =
                format!("expected format {FORMAT} or older, got {}; use a newer version", info.format);
            return Err(problem(newer));
        }
        if !(info.bn_eps.is_finite() && info.bn_eps > 0.0) {
            return Err(problem(format!("bn_eps: expected a number above 0, got {}", info.bn_eps)));
        }
        Ok(info)
    }

    /// The value of [`Self::METADATA_KEY`].
    pub fn to_metadata(&self) -> String {
        serde_json::to_string(self).expect("a record of plain values always serialises")
    }
}

/// A word that is none of the choices.
#[derive(Debug, thiserror::Error)]
#[error("expected one of {expected}, got `{got}`")]
pub struct ChoiceError {
    expected: &'static str,
    got: String,
}

fn choice<T: Copy>(choices: &[(&str, T)], expected: &'static str, got: &str) -> Result<T, ChoiceError> {
    let found = choices.iter().find(|(name, _)| *name == got).map(|(_, value)| *value);
    found.ok_or_else(|| ChoiceError { expected, got: got.to_string() })
}

impl PaddingMode {
    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            PaddingMode::Same => "same",
            PaddingMode::Symmetric => "symmetric",
        }
    }
}

impl FromStr for PaddingMode {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let choices = [Self::Same, Self::Symmetric].map(|padding| (padding.name(), padding));
        choice(&choices, "same, symmetric", text)
    }
}

impl Normalization {
    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Normalization::None => "none",
            Normalization::Imagenet => "imagenet",
            Normalization::Lite => "lite",
            Normalization::LiteTensorflow => "lite-tensorflow",
        }
    }
}

impl FromStr for Normalization {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let all = [Self::None, Self::Imagenet, Self::Lite, Self::LiteTensorflow];
        choice(&all.map(|kind| (kind.name(), kind)), "none, imagenet, lite, lite-tensorflow", text)
    }
}

impl fmt::Display for PaddingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> WeightsInfo {
        WeightsInfo {
            format: FORMAT,
            variant: "lite0".into(),
            classes: Some(1000),
            padding: PaddingMode::Same,
            bn_eps: 1e-3,
            normalization: Normalization::LiteTensorflow,
            naming: "tensorflow".into(),
            notice: None,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = info().to_metadata();
        assert!(text.contains(r#""normalization":"lite-tensorflow""#) && !text.contains("notice"), "{text}");
        assert_eq!(WeightsInfo::from_metadata(&text).unwrap(), info());
        assert_eq!("lite-tensorflow".parse::<Normalization>().unwrap(), Normalization::LiteTensorflow);
    }

    #[test]
    fn a_newer_record_and_a_senseless_one_are_refused() {
        let newer = WeightsInfo { format: 2, ..info() }.to_metadata();
        assert!(WeightsInfo::from_metadata(&newer).unwrap_err().to_string().contains("newer version"));
        let zero = WeightsInfo { bn_eps: 0.0, ..info() }.to_metadata();
        assert!(WeightsInfo::from_metadata(&zero).is_err());
        assert!(WeightsInfo::from_metadata("{}").is_err());
    }
}
