//! Our maps, rows `(b, y, x)` of C channels, as candle's tensors `[B, C, H, W]` and back.

use candle_core::{Device, Tensor};

/// A map of `[batch, height, width]` positions as a contiguous tensor.
pub fn tensor(map: &[f32], [batch, height, width]: [usize; 3], channels: usize) -> Tensor {
    Tensor::from_slice(map, (batch, height, width, channels), &Device::Cpu)
        .and_then(|map| map.permute((0, 3, 1, 2))?.contiguous())
        .expect("the sizes match")
}

/// The rows of a tensor.
pub fn map(tensor: &Tensor) -> Vec<f32> {
    let rows = tensor.permute((0, 2, 3, 1)).and_then(|rows| rows.flatten_all()?.to_vec1());
    rows.expect("a float tensor of four axes")
}
