//! How the columns of a matrix are cut for the micro-kernels.

use std::ops::Range;

use super::micro::MicroKernels;

/// Columns cut into panels: full ones, and a last one that may be one vector wide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    /// Columns of the matrix.
    pub(super) columns: usize,
    lanes: usize,
    full: usize,
}

impl Panels {
    pub(super) fn new(columns: usize, kernels: &MicroKernels) -> Self {
        Panels { columns, lanes: kernels.lanes, full: kernels.width() }
    }

    /// Number of panels.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.full)
    }

    /// Values of a row of a full panel.
    pub(super) fn full_width(&self) -> usize {
        self.full
    }

    /// Values of a row of all panels together.
    pub(super) fn total_width(&self) -> usize {
        self.columns.next_multiple_of(self.lanes)
    }

    /// Values of a row of all panels before this one.
    pub(super) fn start(&self, panel: usize) -> usize {
        panel * self.full
    }

    /// Values of a row of a panel.
    pub(super) fn width(&self, panel: usize) -> usize {
        self.full.min(self.total_width() - self.start(panel))
    }

    /// Columns of the matrix in a range of panels.
    pub(super) fn columns(&self, panels: Range<usize>) -> Range<usize> {
        self.start(panels.start).min(self.columns)..self.start(panels.end).min(self.columns)
    }
}
