//! The convolution itself.

use std::ops::Range;

use super::{Weight, fill, with_pairs};
use crate::conv::Fused;
use crate::conv::direct::{self, Gate, Grid};
use crate::{Isa, MapMut, MapRef, Window, parallel, rows};

/// Pairs of rows that are made at once: they stay in the second-level cache.
const NEAR_PAIRS: usize = 32 * 1024;

/// Parts for every thread, so that a thread that starts late can leave parts to others.
const PARTS_A_THREAD: usize = 4;

/// As [`conv::forward`](crate::conv::forward), of inputs (after their gate) and weights rounded to bf16.
///
/// The sum of an output runs over kernel rows, kernel columns and pairs of input channels in order, of a pair the second
/// first, whatever the number of threads.
///
/// # Panics
/// When the sizes of the maps, the weight, the window and what is fused do not fit, the weight was packed for another
/// instruction set, or a gate is given to a convolution that is not pointwise.
pub(in crate::conv) fn forward(
    isa: Isa,
    x: MapRef,
    weight: &Weight,
    window: &Window,
    fused: &Fused,
    y: &mut MapMut,
) {
    near(isa, x, weight, window, fused, NEAR_PAIRS, y);
}

/// [`forward`] with so many pairs at once.
pub(super) fn near(
    isa: Isa,
    x: MapRef,
    weight: &Weight,
    window: &Window,
    fused: &Fused,
    near_pairs: usize,
    y: &mut MapMut,
) {
    fused.check([window.batch, x.channels()], [y.positions(), y.channels()]);
    assert_eq!(isa, weight.pairs.isa, "the weight is packed for {}", weight.pairs.isa.name());
    let sizes = [y.channels(), x.channels(), window.kernel];
    assert_eq!(sizes, weight.sizes(), "output channels, input channels, kernel");
    assert_eq!([x.positions(), y.positions()], [window.in_positions(), window.out_positions()], "positions");

    let gate = Gate::of(isa, fused, window);
    let task = Task { isa, x, gate, weight, fused: Fused { gate: None, ..*fused } };
    if window.is_pointwise() && x.positions() * weight.pairs.sizes()[1] > near_pairs {
        task.by_rows(near_pairs, y);
    } else {
        task.whole(window, y);
    }
}

struct Task<'a> {
    isa: Isa,
    x: MapRef<'a>,
    gate: Option<Gate<'a>>,
    weight: &'a Weight,
    /// All but the gate.
    fused: Fused<'a>,
}

impl Task<'_> {
    /// Makes pairs of the whole input first: windows share its rows, or it is small.
    fn whole(&self, window: &Window, y: &mut MapMut) {
        with_pairs(self.x.positions(), self.x.channels(), |mut pairs| {
            rows::split(&mut pairs, |range, pairs| {
                fill(self.isa, self.x, self.gate.as_ref(), range.start, pairs);
            });
            direct::forward(self.isa, pairs.as_ref(), &self.weight.pairs, window, &self.fused, y);
        });
    }

    /// Makes pairs of some rows, multiplies them, and goes on to the next: for pointwise convolutions.
    fn by_rows(&self, near_pairs: usize, y: &mut MapMut) {
        let [_, pairs, _] = self.weight.pairs.sizes();
        let (positions, unit) = (self.x.positions(), self.weight.pairs.kernels.rows());
        let threads = parallel::threads();
        let for_threads = if threads > 1 { PARTS_A_THREAD * threads } else { 1 };
        let parts = (positions * pairs).div_ceil(near_pairs).max(for_threads).min(positions.div_ceil(unit));
        let y = &*y;
        parallel::run(parts, |part| {
            let range = parallel::part(positions, parts, unit, part);
            // SAFETY: the parts have no row in common.
            self.rows(range.clone(), unsafe { y.part(range) });
        });
    }

    /// Computes the outputs of a range of positions of a pointwise convolution.
    fn rows(&self, range: Range<usize>, y: MapMut) {
        with_pairs(range.len(), self.x.channels(), |mut pairs| {
            fill(self.isa, self.x, self.gate.as_ref(), range.start, &mut pairs);
            let residual = self.fused.residual.map(|residual| residual.part(range.clone()));
            let fused = Fused { residual, ..self.fused };
            let product = direct::product(pairs.as_ref(), None, &self.weight.pairs, &fused);
            let panels = 0..self.weight.pairs.panels.count();
            for grid in &Grid::forward(&row_of(range.len()), pairs.as_ref()) {
                // SAFETY: the outputs are borrowed exclusively, and the grids have none in common.
                unsafe { product.run_range(grid, &y, 0..grid.positions(), panels.clone()) };
            }
        });
    }
}

/// The window of a pointwise convolution over one row of positions.
fn row_of(positions: usize) -> Window {
    Window {
        batch: 1,
        in_height: 1,
        in_width: positions,
        out_height: 1,
        out_width: positions,
        kernel: 1,
        stride: 1,
        pad_top: 0,
        pad_left: 0,
    }
}
