//! From the head's maps to boxes and scores.

use candle_core::{Result, Tensor};

/// [`net_graph::Op::DecodeDetections`]: the box maps `[B, 4 * R, H, W]` and class maps `[B, K, H, W]` of every level to
/// `[B, 4 + K, 1, A]`; `bins` holds the `R` values of the bins.
pub(crate) fn decode_detections(maps: &[Tensor], strides: &[usize], bins: &Tensor) -> Result<Tensor> {
    let (boxes, classes) = maps.split_at(strides.len());
    let level = |i: usize| {
        let (batch, count, height, width) = classes[i].dims4()?;
        let scores = candle_nn::ops::sigmoid(&classes[i].reshape((batch, count, height * width))?)?;
        Tensor::cat(&[level_boxes(&boxes[i], strides[i], bins)?, scores], 1) // [B, 4 + K, H * W]
    };
    let levels = (0..strides.len()).map(level).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&levels, 2)?.unsqueeze(2)
}

/// Centre x, centre y, width, height in input pixels: `[B, 4, H * W]`.
fn level_boxes(map: &Tensor, stride: usize, bins: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = map.dims4()?;
    let reg_max = bins.elem_count();
    let logits = map.reshape((batch, 4, reg_max, height * width))?;
    let distances = expectation(&logits, &bins.reshape((1, 1, reg_max, 1))?)?; // [B, 4, H * W]: left, top, right, bottom
    let near = distances.narrow(1, 0, 2)?;
    let far = distances.narrow(1, 2, 2)?;
    let centres = ((&far - &near)? * 0.5)?.broadcast_add(&cell_centres(height, width, map)?)?;
    Tensor::cat(&[centres, (near + far)?], 1)? * stride as f64
}

/// Expectation of `values` under the softmax over axis 2, which it removes.
fn expectation(logits: &Tensor, values: &Tensor) -> Result<Tensor> {
    // The largest logit cancels: taken as a constant it leaves value and gradient as they are.
    let powers = logits.broadcast_sub(&logits.detach().max_keepdim(2)?)?.exp()?;
    powers.broadcast_mul(values)?.sum(2)?.div(&powers.sum(2)?)
}

/// x and y of the cells' centres in cells, row by row: `[1, 2, H * W]`.
fn cell_centres(height: usize, width: usize, like: &Tensor) -> Result<Tensor> {
    let cells = 0..height * width;
    let x = cells.clone().map(|i| (i % width) as f64 + 0.5);
    let y = cells.map(|i| (i / width) as f64 + 0.5);
    let centres: Vec<f64> = x.chain(y).collect();
    Tensor::from_vec(centres, (1, 2, height * width), like.device())?.to_dtype(like.dtype())
}
