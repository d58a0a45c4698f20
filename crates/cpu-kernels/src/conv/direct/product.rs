//! The product of a map's rows with packed weights, over a [`Grid`]: forward and backward data.
//!
//! It is a matrix product whose left matrix exists only as addresses of map rows ("indirect convolution", Dukhan,
//! arXiv 1907.02129): nothing is copied, and padding is the address of a row of zeros.

use std::cell::Cell;
use std::ops::Range;

use super::gate::Gate;
use super::grid::{Grid, MAX_TAPS};
use crate::conv::micro::{MAX_ROWS, MicroKernels, Pointwise, Product, Start};
use crate::conv::panels::Panels;
use crate::conv::scratch;
use crate::{Activation, MapMut, MapRef, parallel};

/// Bytes of packed weights that are kept in the second-level cache while rows stream past.
const PANEL_BLOCK_BYTES: usize = 256 * 1024;

/// Blocks of rows a part should have, so that a thread that starts late can leave parts to others.
const BLOCKS_A_PART: usize = 16;

/// Values of a map that the second-level cache is expected to hold from one use to the next.
const NEAR_VALUES: usize = 128 * 1024;

/// Values of gated rows that are made at once: they stay in the first-level cache.
const GATED_VALUES: usize = 6 * 1024;

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

thread_local! {
    static GATED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl RowsTimesPanels<'_> {
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
        let panel_bytes = (depth * self.kernels.width() * size_of::<f32>()).max(1);
        let step = (PANEL_BLOCK_BYTES / panel_bytes).max(1);
        let is_pointwise = grid.is_pointwise();
        assert!(is_pointwise || self.gate.is_none(), "only a pointwise convolution takes a gate");
        for first in panels.clone().step_by(step) {
            let panels = first..(first + step).min(panels.end);
            // SAFETY: passed on to the caller.
            unsafe {
                if is_pointwise {
                    self.pointwise(output, positions.clone(), panels);
                } else {
                    self.blocks(grid, output, positions.clone(), panels);
                }
            }
        }
    }

    /// Computes outputs that read the input position of the same index.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn pointwise(&self, output: &MapMut, positions: Range<usize>, panels: Range<usize>) {
        let input = (self.input.as_ptr(), self.input.stride());
        let Some(gate) = &self.gate else {
            let x = input.0.wrapping_add(positions.start * input.1);
            // SAFETY: passed on to the caller; the rows of the input exist.
            return unsafe { self.neighbours((x, input.1), output, positions, panels) };
        };
        scratch::with(&GATED, |gated| {
            let rows = (GATED_VALUES / self.input.channels().max(1)).next_multiple_of(self.kernels.rows());
            for start in positions.clone().step_by(rows) {
                let positions = start..(start + rows).min(positions.end);
                gate.apply(self.input, positions.clone(), gated);
                let x = (gated.as_ptr(), self.input.channels());
                // SAFETY: passed on to the caller; the buffer holds the rows.
                unsafe { self.neighbours(x, output, positions, panels.clone()) };
            }
        });
    }

    /// Computes outputs at neighbouring positions from rows of `x`, the first of which is of the first position.
    ///
    /// # Safety
    /// The rows of `x` exist. Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn neighbours(
        &self,
        x: (*const f32, usize),
        output: &MapMut,
        positions: Range<usize>,
        panels: Range<usize>,
    ) {
        let blocks = positions.len() / self.kernels.rows();
        let done = blocks * self.kernels.rows();
        // A last panel that is narrower than the others has a kernel of its own.
        let wide = panels.clone().take_while(|panel| self.panels.width(*panel) == self.kernels.width());
        let border = panels.start + wide.count();
        // SAFETY: passed on to the caller.
        unsafe {
            if blocks > 0 {
                self.full_blocks(x, output, positions.start, blocks, panels.start..border);
                self.full_blocks(x, output, positions.start, blocks, border..panels.end);
            }
            if done < positions.len() {
                self.last_block(x, output, positions, done, panels);
            }
        }
    }

    /// Computes full blocks from the output at `position` on, for panels of one width.
    ///
    /// # Safety
    /// As [`RowsTimesPanels::neighbours`].
    unsafe fn full_blocks(
        &self,
        x: (*const f32, usize),
        output: &MapMut,
        position: usize,
        blocks: usize,
        panels: Range<usize>,
    ) {
        let columns = self.panels.columns(panels.clone());
        if columns.is_empty() {
            return;
        }
        let end = position + blocks * self.kernels.rows();
        assert!(end <= output.positions() && end <= self.input.positions());
        let residual = self.residual.map(|map| {
            assert!(end <= map.positions() && columns.end <= map.channels(), "residual");
            (map.as_ptr().wrapping_add(position * map.stride() + columns.start), map.stride())
        });
        let column = columns.start - self.first_column;
        let task = Pointwise {
            x,
            blocks,
            channels: self.input.channels(),
            panel: self.weight[self.panels.start(panels.start) * self.input.channels()..].as_ptr(),
            columns: columns.len(),
            start: self.start(columns.start),
            activation: self.activation,
            residual,
            out: (output.as_mut_ptr().wrapping_add(position * output.stride() + column), output.stride()),
            prefetch: output.positions() * output.stride() > NEAR_VALUES,
        };
        // SAFETY: the rows exist by the caller's promise and the assertions; `run_range` asserted the columns of the
        // output and the length of the weight.
        unsafe { self.kernels.pointwise(self.panels.width(panels.start))(&task) };
    }

    /// Computes what is left after `done` of the positions: less than a full block.
    ///
    /// # Safety
    /// As [`RowsTimesPanels::neighbours`].
    unsafe fn last_block(
        &self,
        (x, stride): (*const f32, usize),
        output: &MapMut,
        positions: Range<usize>,
        done: usize,
        panels: Range<usize>,
    ) {
        let height = self.kernels.height(positions.len() - done);
        let row = |index: usize| (done + index).min(positions.len() - 1);
        let rows: [_; MAX_ROWS] = std::array::from_fn(|index| x.wrapping_add(row(index) * stride));
        let outputs: [_; MAX_ROWS] = std::array::from_fn(|index| positions.start + row(index));
        // SAFETY: passed on to the caller.
        unsafe { self.block(self.input.channels(), output, &outputs[..height], &rows[..height], panels) };
    }

    /// Computes outputs whose taps the grid locates.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn blocks(&self, grid: &Grid, output: &MapMut, positions: Range<usize>, panels: Range<usize>) {
        let mut outputs = [0; MAX_ROWS];
        let mut rows = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        let mut place = grid.place(positions.start);
        for start in positions.clone().step_by(self.kernels.rows()) {
            let count = self.kernels.rows().min(positions.end - start);
            let height = self.kernels.height(count);
            let (outputs, rows) = (&mut outputs[..height], &mut rows[..grid.taps() * height]);
            grid.locate(self.input, self.zeros, &mut place, count, outputs, rows);
            // SAFETY: the grid gives the addresses; exclusive by the caller's promise.
            unsafe { self.block(grid.channels(), output, outputs, rows, panels.clone()) };
        }
    }

    /// Computes a block of outputs, as many as there is a kernel for, for a range of panels.
    ///
    /// # Safety
    /// `rows` are addresses of `channels` values each, `[taps][outputs]`. Nobody else may use these rows and columns of the
    /// output meanwhile.
    #[inline(always)]
    unsafe fn block(
        &self,
        channels: usize,
        output: &MapMut,
        outputs: &[usize],
        rows: &[*const f32],
        panels: Range<usize>,
    ) {
        let depth = rows.len() / outputs.len() * channels;
        let mut out = [std::ptr::null_mut(); MAX_ROWS];
        let out = &mut out[..outputs.len()];
        let mut added = [std::ptr::null(); MAX_ROWS];
        let added = &mut added[..outputs.len()];
        for panel in panels {
            let columns = self.panels.columns(panel..panel + 1);
            for (out, &position) in out.iter_mut().zip(outputs) {
                *out = output
                    .as_mut_ptr()
                    .wrapping_add(position * output.stride() + columns.start - self.first_column);
            }
            if let Some(residual) = self.residual {
                for (added, &position) in added.iter_mut().zip(outputs) {
                    *added = residual.row(position)[columns.start..].as_ptr();
                }
            }
            let task = Product {
                rows,
                channels,
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
