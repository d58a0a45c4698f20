//! Sliding windows as shifted views.

use candle_core::{Result, Tensor};
use net_graph::{Extent, Padding};

/// A window resolved for one map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    kernel: usize,
    stride: usize,
    rows: Extent,
    columns: Extent,
}

impl Window {
    /// Resolves the padding for `x` `[B, C, H, W]`.
    pub(crate) fn over(x: &Tensor, padding: Padding, kernel: usize, stride: usize) -> Result<Self> {
        let (_, _, height, width) = x.dims4()?;
        let extents = (padding.resolve(height, kernel, stride), padding.resolve(width, kernel, stride));
        let (Some(rows), Some(columns)) = extents else {
            candle_core::bail!("a {kernel}x{kernel} window does not fit a {height}x{width} map")
        };
        Ok(Window { kernel, stride, rows, columns })
    }

    /// The map padded with zeros, and cut, to exactly the cells that some window reads.
    pub(crate) fn covered(&self, x: &Tensor) -> Result<Tensor> {
        let length = |extent: Extent| (extent.out - 1) * self.stride + self.kernel;
        let x = extend(x, 2, self.rows.before, length(self.rows), 0.0)?;
        extend(&x, 3, self.columns.before, length(self.columns), 0.0)
    }

    /// What each cell of the kernel sees, row by row: `k * k` maps `[B, C, H_out, W_out]`. Cells outside the map
    /// hold `fill`.
    ///
    /// A step is taken by splitting each axis into `(cell / stride, cell % stride)`, whose backward is a reshape.
    pub(crate) fn taps(&self, x: &Tensor, fill: f64) -> Result<Vec<Tensor>> {
        let (batch, channels, _, _) = x.dims4()?;
        let Window { kernel, stride, rows, columns } = *self;
        let reach = (kernel - 1) / stride;
        let (height, width) = (rows.out + reach, columns.out + reach);
        let x = extend(x, 2, rows.before, height * stride, fill)?;
        let x = extend(&x, 3, columns.before, width * stride, fill)?;
        let split = x.reshape((batch, channels, height, stride, width, stride))?;

        let phases = stride.min(kernel);
        let phase = |i: usize| {
            let cells = split.narrow(3, i / phases, 1)?.narrow(5, i % phases, 1)?;
            cells.reshape((batch, channels, height, width))
        };
        let maps = (0..phases * phases).map(phase).collect::<Result<Vec<_>>>()?;
        let tap = |i: usize| {
            let (dy, dx) = (i / kernel, i % kernel);
            let map = &maps[dy % stride * phases + dx % stride];
            map.narrow(2, dy / stride, rows.out)?.narrow(3, dx / stride, columns.out)
        };
        (0..kernel * kernel).map(tap).collect()
    }
}

/// `before` cells of `fill`, then the axis, padded with `fill` or cut to `length` cells in all.
fn extend(x: &Tensor, axis: usize, before: usize, length: usize, fill: f64) -> Result<Tensor> {
    let kept = x.dim(axis)?.min(length - before);
    let filled = |cells: usize| {
        let mut dims = x.dims().to_vec();
        dims[axis] = cells;
        Tensor::full(fill, dims, x.device())?.to_dtype(x.dtype())
    };
    let parts = [filled(before)?, x.narrow(axis, 0, kept)?, filled(length - before - kept)?];
    let parts: Vec<&Tensor> = parts.iter().filter(|part| part.elem_count() > 0).collect();
    Tensor::cat(&parts, axis)
}
