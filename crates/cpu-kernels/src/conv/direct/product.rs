//! The product of a map's rows with packed weights, over a [`Grid`]: forward and backward data.
//!
//! It is a matrix product whose left matrix exists only as addresses of map rows ("indirect convolution", Dukhan,
//! arXiv 1907.02129): nothing is copied, and padding is the address of a row of zeros.

use std::ops::Range;

use super::grid::{Grid, MAX_TAPS};
use crate::conv::micro::{MAX_ROWS, MicroKernels, Product, Start};
use crate::conv::panels::Panels;
use crate::{Activation, MapMut, MapRef, parallel};

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
    /// Applied to the sums.
    pub(super) activation: Activation,
    /// A map of the output's shape that is added last.
    pub(super) residual: Option<MapRef<'a>>,
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
    /// Computes one part of a grid's outputs.
    ///
    /// # Safety
    /// No other part may run on the same output rows and columns meanwhile.
    pub(super) unsafe fn run(&self, grid: &Grid, output: &MapMut, cut: Cut, part: usize) {
        let panels = parallel::part(self.panels.count(), cut.panels, 1, part % cut.panels);
        let positions = parallel::part(grid.positions(), cut.rows, self.kernels.rows(), part / cut.panels);
        let depth = grid.taps() * grid.channels();
        assert_eq!(self.weight.len(), depth * self.panels.total_width());
        let panel_bytes = (depth * self.kernels.width() * size_of::<f32>()).max(1);
        let step = (PANEL_BLOCK_BYTES / panel_bytes).max(1);
        let mut outputs = [0; MAX_ROWS];
        let mut rows = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        for first in panels.clone().step_by(step) {
            let panels = first..(first + step).min(panels.end);
            let mut place = grid.place(positions.start);
            for start in positions.clone().step_by(self.kernels.rows()) {
                let count = self.kernels.rows().min(positions.end - start);
                let (outputs, rows) = (&mut outputs[..count], &mut rows[..grid.taps() * count]);
                grid.locate(self.input, self.zeros, &mut place, outputs, rows);
                // SAFETY: the grid gives the addresses; exclusive by the caller's promise.
                unsafe { self.block(grid, output, outputs, rows, panels.clone()) };
            }
        }
    }

    /// Computes a block of at most [`MAX_ROWS`] outputs for a range of panels.
    ///
    /// # Safety
    /// `rows` are the addresses that the grid gives for `outputs`. Nobody else may use these rows and columns of the
    /// output meanwhile.
    #[inline(always)]
    unsafe fn block(
        &self,
        grid: &Grid,
        output: &MapMut,
        outputs: &[usize],
        rows: &[*const f32],
        panels: Range<usize>,
    ) {
        let depth = grid.taps() * grid.channels();
        let mut out = [std::ptr::null_mut(); MAX_ROWS];
        let out = &mut out[..outputs.len()];
        let mut added = [std::ptr::null(); MAX_ROWS];
        let added = &mut added[..outputs.len()];
        for panel in panels {
            let columns = self.panels.columns(panel..panel + 1);
            for (out, &position) in out.iter_mut().zip(outputs) {
                *out = output.as_mut_ptr().wrapping_add(position * output.stride() + columns.start);
            }
            if let Some(residual) = self.residual {
                for (added, &position) in added.iter_mut().zip(outputs) {
                    *added = residual.row(position)[columns.start..].as_ptr();
                }
            }
            let task = Product {
                rows,
                channels: grid.channels(),
                panel: self.weight[self.panels.start(panel) * depth..].as_ptr(),
                start: self.start(columns.start),
                activation: self.activation,
                residual: self.residual.map(|_| &*added),
                out,
                columns: columns.len(),
            };
            // SAFETY: the addresses are those of rows with `channels` values; the panel has `depth` rows of its width
            // (asserted in `run`); a grid's outputs are positions of its output map; exclusive by the caller's promise.
            unsafe { self.kernels.product(outputs.len(), self.panels.width(panel))(&task) };
        }
    }

    fn start(&self, column: usize) -> Start {
        match self.bias {
            _ if self.accumulate => Start::Output,
            Some(bias) => Start::Bias(bias[column..].as_ptr()),
            None => Start::Zero,
        }
    }
}
