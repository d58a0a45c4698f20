use crate::{ElementType, FormatError};
use std::collections::BTreeMap;

/// Arrays of one file and what was left out of it; the largest networks have some thousand. A name can take a file two
/// bytes and its place here fifty, so their number is bounded apart from their size.
pub(crate) const MAX_ENTRIES: usize = 100_000;
/// Characters of a name that is only reported.
const LONGEST_NAME: usize = 500;

/// The kinds of files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `torch.save`: zip archive or the older bare pickle.
    Torch,
    /// safetensors.
    Safetensors,
    /// TensorFlow tensor bundle (checkpoint V2).
    TensorFlow,
    /// Keras weights in HDF5.
    Keras,
    /// ONNX model.
    Onnx,
}

impl Format {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Format::Torch => "torch",
            Format::Safetensors => "safetensors",
            Format::TensorFlow => "tensorflow",
            Format::Keras => "keras",
            Format::Onnx => "onnx",
        }
    }
}

/// An array in the layout of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray {
    /// Dimensions; empty for a single number.
    pub dims: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
    /// What the file stores them as.
    pub stored_as: ElementType,
}

/// Something in a file that is not handed out as an array.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// Name in the file.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The arrays of a file, by the names and in the layouts of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// Kind of file.
    pub format: Format,
    /// Arrays by name.
    pub arrays: BTreeMap<String, NamedArray>,
    /// What was left out, sorted by name.
    pub ignored: Vec<Ignored>,
    /// Text that the file carries beside the arrays.
    pub metadata: BTreeMap<String, String>,
    /// Where in the file the arrays were found, when there was a choice.
    pub origin: Option<String>,
}

impl Archive {
    pub(crate) fn new(format: Format) -> Self {
        Archive {
            format,
            arrays: BTreeMap::new(),
            ignored: Vec::new(),
            metadata: BTreeMap::new(),
            origin: None,
        }
    }

    /// Fails where there are as many entries as a file may have.
    pub(crate) fn require_room(&self) -> Result<(), FormatError> {
        if self.arrays.len() + self.ignored.len() < MAX_ENTRIES {
            return Ok(());
        }
        let (format, place, limit) = (self.format.name(), "list of arrays".into(), MAX_ENTRIES as u64);
        Err(FormatError::Limit { format, place, what: "entries", limit })
    }

    /// Names are cut where they are longer than any that a person wrote.
    pub(crate) fn ignore(&mut self, name: impl AsRef<str>, reason: &'static str) {
        let name = name.as_ref().chars().take(LONGEST_NAME).collect();
        self.ignored.push(Ignored { name, reason });
    }
}

/// Which of two sets of weights is read where a file holds the trained ones and their moving average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Averages {
    /// The moving average where there is one.
    Prefer,
    /// The trained values as they are.
    Ignore,
}

/// Elements that any file may be read in at once.
const SMALL_PIECE: u64 = 1 << 20;

/// How many elements may be handed out: a file cannot ask for much more than it holds.
#[derive(Debug)]
pub(crate) struct Budget {
    format: &'static str,
    limit: u64,
    left: u64,
}

impl Budget {
    /// Twice as many elements as the file has bytes: shared storages may be read more than once, but not without end.
    pub(crate) fn for_file(format: &'static str, bytes: u64) -> Self {
        let limit = bytes.saturating_mul(2);
        Budget { format, limit, left: limit }
    }

    /// Fails where reading an array would at once take more elements than the file may hand out, however few of them are
    /// the array's.
    pub(crate) fn require_piece(&self, name: &str, dims: &[u64]) -> Result<(), FormatError> {
        let count = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        if count.is_some_and(|count| count <= self.limit.max(SMALL_PIECE)) {
            return Ok(());
        }
        let place = format!("array `{name}` in pieces of {dims:?}");
        Err(FormatError::Limit { format: self.format, place, what: "elements", limit: self.limit })
    }

    /// The number of elements of an array, if they are within what is left.
    pub(crate) fn elements(&mut self, name: &str, dims: &[usize]) -> Result<usize, FormatError> {
        let count = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        match count {
            Some(count) if count as u64 <= self.left => {
                self.left -= count as u64;
                Ok(count)
            }
            _ => Err(FormatError::Limit {
                format: self.format,
                place: format!("array `{name}` {dims:?}"),
                what: "elements",
                limit: self.limit,
            }),
        }
    }
}
