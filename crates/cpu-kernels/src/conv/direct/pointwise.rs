//! A pointwise convolution: a matrix product whose operands stay in the caches while they are used.
//!
//! The order of the loops is that of Goto and van de Geijn ("Anatomy of High-Performance Matrix Multiplication", 2008):
//! some rows of the map, some of their channels, and of the weights for these as many panels at a time as the second-level
//! cache holds beside the rows.

use std::cell::Cell;
use std::ops::Range;

use super::gate::Gate;
use super::product::{RowsTimesPanels, Stage, Weights};
use crate::MapMut;
use crate::conv::micro::{MAX_ROWS, Pointwise};
use crate::scratch;

/// Most channels that are summed up at once.
const DEPTH: usize = 512;

/// Values of packed weights and ...
const NEAR_WEIGHTS: usize = 64 * 1024;

/// ... of map rows that the second-level cache is expected to hold.
const NEAR_ROWS: usize = 96 * 1024;

/// Values from which on a map of outputs is not expected in the second-level cache.
const FAR_OUTPUTS: usize = 128 * 1024;

/// Positions of an image from which on a gate multiplies the weights instead of the map's rows, if there are not many more
/// columns than positions either.
const GATED_WEIGHTS: usize = 96;

thread_local! {
    static GATED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// What a product computes at once: outputs, and which channels it sums up for them.
#[derive(Debug, Clone)]
struct Block {
    positions: Range<usize>,
    channels: Range<usize>,
    panels: Range<usize>,
    stage: Stage,
}

impl RowsTimesPanels<'_> {
    /// Computes outputs that read the input position of the same index.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    pub(super) unsafe fn pointwise(&self, output: &MapMut, positions: Range<usize>, panels: Range<usize>) {
        assert!(positions.end <= output.positions() && positions.end <= self.input.positions(), "positions");
        let depth = self.input.channels();
        let blocks = depth.div_ceil(DEPTH).max(1);
        let most = depth.div_ceil(blocks);
        let rows = (NEAR_ROWS / most.max(1)).max(1).next_multiple_of(self.kernels.rows());
        let mut start = positions.start;
        while start < positions.end {
            let positions = start..self.chunk_end(start, rows).min(positions.end);
            start = positions.end;
            for block in 0..blocks {
                let channels = (block * most).min(depth)..((block + 1) * most).min(depth);
                let stage = Stage { first: block == 0, last: block + 1 == blocks };
                let block = Block { positions: positions.clone(), channels, panels: panels.clone(), stage };
                // SAFETY: passed on to the caller.
                unsafe { self.block_of_rows(output, &block) };
            }
        }
    }

    /// The end of the rows from `start` on that are worked on together: of one image, if their gate multiplies the weights.
    fn chunk_end(&self, start: usize, rows: usize) -> usize {
        let end = start + rows;
        match &self.gate {
            Some(gate) if self.gates_weights(gate) => end.min((start / gate.area + 1) * gate.area),
            _ => end,
        }
    }

    /// True if the gate multiplies the weights. Knows nothing of threads, so that these change no bit.
    fn gates_weights(&self, gate: &Gate) -> bool {
        gate.area >= GATED_WEIGHTS && 4 * gate.area >= self.panels.columns
    }

    /// Computes what some channels of some rows give.
    ///
    /// # Safety
    /// Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn block_of_rows(&self, output: &MapMut, block: &Block) {
        let Block { positions, channels, .. } = block;
        let from = positions.start * self.input.stride() + channels.start;
        let x = (self.input.as_ptr().wrapping_add(from), self.input.stride());
        // SAFETY: passed on to the caller; the rows of the input and of the buffer exist.
        unsafe {
            match &self.gate {
                Some(gate) if !self.gates_weights(gate) => scratch::with(&GATED, |gated| {
                    gate.scale_rows(self.input, positions, channels, gated);
                    self.block_of_panels((gated.as_ptr(), channels.len()), None, output, block);
                }),
                gate => self.block_of_panels(x, gate.as_ref(), output, block),
            }
        }
    }

    /// Computes what rows from `x` on give, as many panels of one width at a time as the cache holds. The gate is
    /// that of the weights.
    ///
    /// # Safety
    /// The rows exist. Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn block_of_panels(
        &self,
        x: (*const f32, usize),
        gate: Option<&Gate>,
        output: &MapMut,
        block: &Block,
    ) {
        let most = (NEAR_WEIGHTS / (self.panels.full_width() * block.channels.len()).max(1)).max(1);
        let mut first = block.panels.start;
        while first < block.panels.end {
            let width = self.panels.width(first);
            let alike = (first..block.panels.end).take_while(|panel| self.panels.width(*panel) == width);
            let panels = first..first + alike.take(most).count();
            first = panels.end;
            let block = Block { panels, ..block.clone() };
            // SAFETY: passed on to the caller; the weights and those in the buffer are those of the panels.
            unsafe {
                match gate {
                    None => self.neighbours(x, self.weights_of(&block), output, &block),
                    Some(gate) => scratch::with(&GATED, |gated| {
                        self.gate_weights(gate, &block, gated);
                        let weights = Weights { first: gated.as_ptr(), step: width * block.channels.len() };
                        self.neighbours(x, weights, output, &block);
                    }),
                }
            }
        }
    }

    /// The packed weights of a block.
    fn weights_of(&self, block: &Block) -> Weights {
        let Weights { first, step } = self.weights(block.panels.start, self.input.channels());
        let above = block.channels.start * self.panels.width(block.panels.start);
        Weights { first: first.wrapping_add(above), step }
    }

    /// Writes the weights of a block times the factors of its image, one panel after the other.
    fn gate_weights(&self, gate: &Gate, block: &Block, gated: &mut Vec<f32>) {
        let Block { positions, channels, panels, .. } = block;
        let width = self.panels.width(panels.start);
        let values = channels.len() * width;
        let gated = scratch::at_least(gated, panels.len() * values);
        for (panel, to) in panels.clone().zip(gated.chunks_exact_mut(values)) {
            let from = self.panels.start(panel) * self.input.channels() + channels.start * width;
            gate.scale_weights(positions.start, channels, &self.weight[from..][..values], to);
        }
    }

    /// Computes a block from rows of `x` and weights of one width.
    ///
    /// # Safety
    /// The rows and the weights exist. Nobody else may use these rows and columns of the output meanwhile.
    unsafe fn neighbours(&self, x: (*const f32, usize), weights: Weights, output: &MapMut, block: &Block) {
        let Block { positions, channels, panels, stage } = block;
        let done = positions.len() / self.kernels.rows() * self.kernels.rows();
        // SAFETY: passed on to the caller.
        unsafe {
            if done > 0 {
                self.full_blocks(x, weights, output, block);
            }
            if done < positions.len() {
                let height = self.kernels.height(positions.len() - done);
                let row = |index: usize| (done + index).min(positions.len() - 1);
                let rows: [_; MAX_ROWS] = std::array::from_fn(|index| x.0.wrapping_add(row(index) * x.1));
                let outputs: [_; MAX_ROWS] = std::array::from_fn(|index| positions.start + row(index));
                let (rows, outputs) = (&rows[..height], &outputs[..height]);
                self.block(channels.len(), weights, *stage, output, outputs, rows, panels.clone());
            }
        }
    }

    /// Computes those rows of a block that are as many as a kernel has.
    ///
    /// # Safety
    /// As [`RowsTimesPanels::neighbours`].
    unsafe fn full_blocks(&self, x: (*const f32, usize), weights: Weights, output: &MapMut, block: &Block) {
        let Block { positions, channels, panels, stage } = block;
        let columns = self.panels.columns(panels.clone());
        let residual = self.residual.filter(|_| stage.last).map(|map| {
            assert!(positions.end <= map.positions() && columns.end <= map.channels(), "residual");
            (map.as_ptr().wrapping_add(positions.start * map.stride() + columns.start), map.stride())
        });
        let first = positions.start * output.stride() + columns.start - self.first_column;
        let task = Pointwise {
            x,
            blocks: positions.len() / self.kernels.rows(),
            channels: channels.len(),
            panel: (weights.first, weights.step),
            columns: columns.len(),
            start: self.start(columns.start, *stage),
            activation: self.activation(*stage),
            residual,
            precision: self.precision(*stage),
            out: (output.as_mut_ptr().wrapping_add(first), output.stride()),
            prefetch: output.positions() * output.stride() > FAR_OUTPUTS,
        };
        // SAFETY: the rows and the weights exist by the caller's promise; `run_range` asserted the columns of the output,
        // `pointwise` the positions.
        unsafe { self.kernels.pointwise(self.panels.width(panels.start))(&task) };
    }
}
