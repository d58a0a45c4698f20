//! The values of `f32` tensors on the CPU as slices.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};

/// The values of a storage without gaps.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("expected f32 values without gaps, got {layout:?}"),
    }
}

/// Shows a tensor's values to `read`.
pub(crate) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(values(storage, layout)?)),
        _ => candle_core::bail!("expected a tensor on the CPU"),
    }
}
