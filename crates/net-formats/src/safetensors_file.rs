//! safetensors files.

use crate::archive::{Archive, Format, NamedArray};
use crate::{ElementType, FormatError};
use safetensors::tensor::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const FORMAT: &str = "safetensors";

/// True if the bytes may be a safetensors file: a header length that fits, then the start of JSON.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    rest.first() == Some(&b'{') && (2..1 << 32).contains(&length)
}

/// Reads a safetensors file. Names and layouts are those of the file.
///
/// # Errors
/// When the header lies about the data, or an array has an element type that is not read (8-bit and 4-bit floats).
pub fn read(bytes: &[u8]) -> Result<Archive, FormatError> {
    let damaged = |e: safetensors::SafeTensorError| FormatError::damaged(FORMAT, "header", e.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut archive = Archive::new(Format::Safetensors);
    archive.metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    for (name, view) in file.iter() {
        archive.require_room()?;
        let stored_as = element(view.dtype()).ok_or_else(|| {
            let problem =
                format!("element type {:?}; expected f32, f64, f16, bf16 or integers", view.dtype());
            FormatError::unsupported(FORMAT, format!("array `{name}`"), problem)
        })?;
        let values = stored_as.decode_all(view.data());
        archive
            .arrays
            .insert(name.to_string(), NamedArray { dims: view.shape().to_vec(), values, stored_as });
    }
    Ok(archive)
}

fn element(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::I8 => ElementType::I8,
        Dtype::I16 => ElementType::I16,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        Dtype::U8 => ElementType::U8,
        Dtype::BOOL => ElementType::Bool,
        _ => return None,
    })
}

/// An array to be written as `f32`.
#[derive(Debug, Clone, Copy)]
pub struct ArrayRef<'a> {
    /// Dimensions.
    pub dims: &'a [usize],
    /// Values, row-major, as many as the dimensions say.
    pub values: &'a [f32],
}

impl View for ArrayRef<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes arrays as `f32` with one entry of metadata (several would be written in a random order): into a temporary
/// file of the same folder, synced, then renamed over `path`. The same arrays give the same bytes.
///
/// # Errors
/// When the folder cannot be written; `path` is then as it was.
///
/// # Panics
/// When an array does not have as many values as its dimensions say.
pub fn write(
    path: &Path,
    arrays: &BTreeMap<String, ArrayRef<'_>>,
    metadata: Option<(&str, &str)>,
) -> Result<(), FormatError> {
    let failed = |reason| FormatError::Io { path: path.to_path_buf(), reason };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".weights-").tempfile_in(folder).map_err(failed)?;
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_string(), value.to_string())]));
    match safetensors::serialize_to_file(
        arrays.iter().map(|(name, array)| (name, *array)),
        metadata,
        temporary.path(),
    ) {
        Ok(()) => {}
        Err(safetensors::SafeTensorError::IoError(reason)) => return Err(failed(reason)),
        Err(e) => panic!("{}: arrays with their own dimensions always serialise: {e}", path.display()),
    }
    std::fs::File::open(temporary.path()).and_then(|file| file.sync_all()).map_err(failed)?;
    publish(temporary, path).map_err(failed)
}

/// Renames the file over `path`, with the permissions that a file made there would have.
fn publish(temporary: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |old| old.permissions().mode());
        std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(mode))?;
    }
    temporary.persist(path).map(|_| ()).map_err(|e| e.error)
}
