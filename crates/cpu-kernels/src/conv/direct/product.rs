//! The product of a map's rows with packed weights, over a [`Grid`]: forward and backward data.
//!
//! It is a matrix product whose left matrix exists only as addresses of map rows ("indirect convolution", Dukhan,
//! arXiv 1907.02129): nothing is copied, and padding is the address of a row of zeros.

use std::ops::Range;

use super::gate::Gate;
use super::grid::{Grid, MAX_TAPS};
use crate::conv::micro::{MAX_ROWS, MicroKernels, Product, Start};
use crate::conv::panels::Panels;
use crate::{Activation, MapMut, MapRef, Precision, parallel};

/// Bytes of packed weights that are kept in the second-level cache while rows stream past.
const PANEL_BLOCK_BYTES: usize = 256 * 1024;

/// Blocks of rows a part should have, so that a thread that starts late can leave parts to others.
const BLOCKS_A_PART: usize = 16;

/// A map that is multiplied by packed weights.
pub(in crate::conv) struct RowsTimesPanels<'a> {
    pub(in crate::conv) kernels: &'static MicroKernels,
    pub(in crate::conv) input: MapRef<'a>,
    /// Multiplies the input, where the grid reads every position once.
    pub(in crate::conv) gate: Option<Gate<'a>>,
    /// What padding reads.
    pub(in crate::conv) zeros: &'a [f32],
    pub(in crate::conv) panels: Panels,
    /// The packed weights of the grid.
    pub(in crate::conv) weight: &'a [f32],
    pub(in crate::conv) bias: Option<&'a [f32]>,
    /// Applied to the sums.
    pub(in crate::conv) activation: Activation,
    /// A map of the output's shape that is added last.
    pub(in crate::conv) residual: Option<MapRef<'a>>,
    /// What the outputs are rounded to.
    pub(in crate::conv) precision: Precision,
    /// Adds to what the output holds.
    pub(in crate::conv) accumulate: bool,
    /// The column of the product that column 0 of the output is.
    pub(in crate::conv) first_column: usize,
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

/// Packed weights of neighbouring panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    /// Those of the first panel.
    pub(super) first: *const f32,
    /// Values from one panel to the next.
    pub(super) step: usize,
}

/// Which of the sums of an output's channels a product computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    /// The first: it starts from the bias or zero, others from what the output holds.
    pub(super) first: bool,
    /// The last, after which activation, residual and rounding follow.
    pub(super) last: bool,
}

impl Stage {
    /// All channels at once.
    pub(super) const WHOLE: Stage = Stage { first: true, last: true };
}

impl RowsTimesPanels<'_> {
    /// The same product into an output whose column 0 is another column of it.
    pub(in crate::conv) fn starting_at(self, first_column: usize) -> Self {
        RowsTimesPanels { first_column, ..self }
    }

    /// Computes one part of a grid's outputs.
    ///
    /// # Safety
    /// No other part may run on the same output rows and columns meanwhile.
    pub(super) unsafe fn run(&self, grid: &Grid, output: &MapMut, cut: Cut, part: usize) {
        let panels = parallel::part(self.panels.count(), cut.panels, 1, part % cut.panels);
        let positions = parallel::part(grid.positions(), cut.rows, self.kernels.rows(), part / cut.panels);
        // SAFETY: passed on to the caller.
        unsafe { self.run_range(grid, output, positions, panels) };
    }

    /// Computes the outputs of a range of a grid's positions and a range of panels.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    pub(in crate::conv) unsafe fn run_range(
        &self,
        grid: &Grid,
        output: &MapMut,
        positions: Range<usize>,
        panels: Range<usize>,
    ) {
        if positions.is_empty() {
            return;
        }
        let columns = self.panels.columns(panels.clone());
        assert!(self.first_column <= columns.start && columns.end - self.first_column <= output.channels());
        let depth = grid.taps() * grid.channels();
        assert_eq!(self.weight.len(), depth * self.panels.total_width());
        if grid.is_pointwise() {
            // SAFETY: passed on to the caller.
            return unsafe { self.pointwise(output, positions, panels) };
        }
        assert!(self.gate.is_none(), "only a pointwise convolution takes a gate");
        let panel_bytes = (depth * self.kernels.width() * size_of::<f32>()).max(1);
        let step = (PANEL_BLOCK_BYTES / panel_bytes).max(1);
        for first in panels.clone().step_by(step) {
            let panels = first..(first + step).min(panels.end);
            // SAFETY: passed on to the caller.
            unsafe { self.blocks(grid, output, positions.clone(), panels) };
        }
    }

    /// Computes outputs whose taps the grid locates.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn blocks(&self, grid: &Grid, output: &MapMut, positions: Range<usize>, panels: Range<usize>) {
        let depth = grid.taps() * grid.channels();
        let weights = self.weights(panels.start, depth);
        let mut outputs = [0; MAX_ROWS];
        let mut rows = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        let mut place = grid.place(positions.start);
        for start in positions.clone().step_by(self.kernels.rows()) {
            let count = self.kernels.rows().min(positions.end - start);
            let height = self.kernels.height(count);
            let (outputs, rows) = (&mut outputs[..height], &mut rows[..grid.taps() * height]);
            grid.locate(self.input, self.zeros, &mut place, count, outputs, rows);
            // SAFETY: the grid gives the addresses; exclusive by the caller's promise.
            unsafe {
                self.block(grid.channels(), weights, Stage::WHOLE, output, outputs, rows, panels.clone())
            };
        }
    }

    /// The packed weights from a panel on, each of which has `depth` rows.
    pub(super) fn weights(&self, panel: usize, depth: usize) -> Weights {
        let first = self.weight[self.panels.start(panel) * depth..].as_ptr();
        Weights { first, step: self.panels.full_width() * depth }
    }

    /// Computes a block of outputs, as many as there is a kernel for, for a range of panels.
    ///
    /// # Safety
    /// `rows` are addresses of `channels` values each, `[taps][outputs]`, and `weights` those of the panels for them. Nobody
    /// else may use these rows and columns of the output meanwhile.
    #[inline(always)]
    pub(super) unsafe fn block(
        &self,
        channels: usize,
        weights: Weights,
        stage: Stage,
        output: &MapMut,
        outputs: &[usize],
        rows: &[*const f32],
        panels: Range<usize>,
    ) {
        let mut out = [std::ptr::null_mut(); MAX_ROWS];
        let out = &mut out[..outputs.len()];
        let mut added = [std::ptr::null(); MAX_ROWS];
        let added = &mut added[..outputs.len()];
        for (index, panel) in panels.enumerate() {
            let columns = self.panels.columns(panel..panel + 1);
            for (out, &position) in out.iter_mut().zip(outputs) {
                *out = output
                    .as_mut_ptr()
                    .wrapping_add(position * output.stride() + columns.start - self.first_column);
            }
            let residual = self.residual.filter(|_| stage.last);
            if let Some(residual) = residual {
                for (added, &position) in added.iter_mut().zip(outputs) {
                    *added = residual.row(position)[columns.start..].as_ptr();
                }
            }
            let task = Product {
                rows,
                channels,
                panel: weights.first.wrapping_add(index * weights.step),
                start: self.start(columns.start, stage),
                activation: self.activation(stage),
                residual: residual.map(|_| &*added),
                precision: self.precision(stage),
                out,
                columns: columns.len(),
            };
            // SAFETY: the addresses are those of rows with `channels` values and the weights those of the panels by the
            // caller's promise; outputs are positions of the output map; exclusive by the caller's promise.
            unsafe { self.kernels.product(outputs.len(), self.panels.width(panel))(&task) };
        }
    }

    /// What the sums from a column on start from.
    pub(super) fn start(&self, column: usize, stage: Stage) -> Start {
        match self.bias {
            _ if self.accumulate || !stage.first => Start::Output,
            Some(bias) => Start::Bias(bias[column..].as_ptr()),
            None => Start::Zero,
        }
    }

    /// What is applied to the sums.
    pub(super) fn activation(&self, stage: Stage) -> Activation {
        if stage.last { self.activation } else { Activation::Identity }
    }

    /// What the outputs are rounded to.
    pub(super) fn precision(&self, stage: Stage) -> Precision {
        if stage.last { self.precision } else { Precision::F32 }
    }
}
