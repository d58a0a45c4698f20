//! The product of a map's rows with packed weights, over a [`Grid`]: forward and backward data.
//!
//! It is a matrix product whose left matrix exists only as addresses of map rows ("indirect convolution", Dukhan,
//! arXiv 1907.02129): nothing is copied, and padding is the address of a row of zeros.

use std::ops::Range;

use super::grid::{Grid, MAX_TAPS};
use super::micro::{MAX_ROWS, MicroKernels, Product, Start};
use super::pack::Panels;
use crate::{MapMut, MapRef, parallel};

/// Bytes of packed weights that are kept in the second-level cache while rows stream past.
const PANEL_BLOCK_BYTES: usize = 256 * 1024;

/// Blocks of rows a part should have, so that a thread that starts late can leave parts to others.
const BLOCKS_A_PART: usize = 16;

/// A map that is multiplied by packed weights.
pub(super) struct RowsTimesPanels<'a> {
    pub(super) kernels: &'static MicroKernels,
    pub(super) input: MapRef<'a>,
    /// What padding reads.
    pub(super) zeros: &'a [f32],
    pub(super) panels: Panels,
    /// The packed weights of the grid.
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// Adds to what the output holds.
    pub(super) accumulate: bool,
}

/// How the outputs of a product are cut into parts: by row blocks and by panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    rows: usize,
    panels: usize,
}

impl Cut {
    /// The cut of `positions` rows and `panels` panels for the threads of the pool.
    pub(super) fn new(positions: usize, kernels: &MicroKernels, panels: &Panels) -> Self {
        let threads = parallel::threads();
        if threads == 1 {
            return Cut { rows: 1, panels: 1 };
        }
        let rows = (positions.div_ceil(kernels.rows()) / BLOCKS_A_PART).clamp(1, 4 * threads);
        let panels = if rows >= 2 * threads { 1 } else { panels.count().min((2 * threads).div_ceil(rows)) };
        Cut { rows, panels }
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.rows * self.panels
    }
}

impl RowsTimesPanels<'_> {
    /// Computes one part of a grid's outputs; `finish(outputs, columns)` is called for every finished block with the
    /// positions of its rows.
    ///
    /// # Safety
    /// No other part may run on the same output rows and columns meanwhile.
    pub(super) unsafe fn run(
        &self,
        grid: &Grid,
        output: &MapMut,
        cut: Cut,
        part: usize,
        finish: impl Fn(&[usize], Range<usize>),
    ) {
        let blocks = grid.positions().div_ceil(self.kernels.rows());
        let panels = parallel::part(self.panels.count(), cut.panels, 1, part % cut.panels);
        let part_blocks = parallel::part(blocks, cut.rows, 1, part / cut.panels);
        let depth = grid.taps() * grid.channels();
        assert_eq!(self.weight.len(), depth * self.panels.total_width());
        let panel_bytes = (depth * self.kernels.width() * size_of::<f32>()).max(1);
        let step = (PANEL_BLOCK_BYTES / panel_bytes).max(1);
        for first in panels.clone().step_by(step) {
            let panels = first..(first + step).min(panels.end);
            for block in part_blocks.clone() {
                let positions = parallel::part(grid.positions(), blocks, 1, block);
                // SAFETY: passed on to the caller.
                unsafe { self.block(grid, output, positions, panels.clone(), &finish) };
            }
        }
    }

    /// Computes a block of at most [`MAX_ROWS`] outputs for a range of panels.
    ///
    /// # Safety
    /// As [`RowsTimesPanels::run`].
    #[inline(always)]
    unsafe fn block(
        &self,
        grid: &Grid,
        output: &MapMut,
        positions: Range<usize>,
        panels: Range<usize>,
        finish: &impl Fn(&[usize], Range<usize>),
    ) {
        let count = positions.len();
        let mut outputs = [0; MAX_ROWS];
        let mut rows = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        let rows = &mut rows[..grid.taps() * count];
        grid.outputs(positions.clone(), &mut outputs[..count]);
        grid.inputs(self.input, self.zeros, positions, rows);
        let mut out = [std::ptr::null_mut(); MAX_ROWS];
        for panel in panels.clone() {
            let columns = self.panels.columns(panel..panel + 1);
            let depth = grid.taps() * grid.channels();
            for (out, &position) in out.iter_mut().zip(&outputs[..count]) {
                debug_assert!(position < output.positions());
                *out = output.as_mut_ptr().wrapping_add(position * output.stride() + columns.start);
            }
            let task = Product {
                rows,
                channels: grid.channels(),
                panel: self.weight[self.panels.start(panel) * depth..].as_ptr(),
                start: self.start(columns.start),
                out: &out[..count],
                columns: columns.len(),
            };
            // SAFETY: the grid gives addresses of rows with `channels` values; the panel has `depth` rows of its width
            // (asserted in `run`); the grid's outputs are positions of the map; exclusive by the caller's promise.
            unsafe { self.kernels.product(count, self.panels.width(panel))(&task) };
        }
        finish(&outputs[..count], self.panels.columns(panels));
    }

    fn start(&self, column: usize) -> Start {
        match self.bias {
            _ if self.accumulate => Start::Output,
            Some(bias) => Start::Bias(bias[column..].as_ptr()),
            None => Start::Zero,
        }
    }
}
