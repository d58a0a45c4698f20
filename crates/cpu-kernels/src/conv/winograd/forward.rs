//! The convolution, and the gradient of its input.

use std::ops::Range;

use super::POINTS;
use super::pack::Weight;
use super::points::{Finish, FromInputs, Points, ToOutputs, panels_a_block, tiles_a_block};
use super::tiles::Tiles;
use crate::conv::Fused;
use crate::conv::micro::{MAX_ROWS, Product, Start};
use crate::vector::run_kernel;
use crate::{Activation, Isa, MapMut, MapRef, Precision, Window, parallel};

/// `y = round(activation(conv(x, weight) + bias) + residual)`.
pub(in crate::conv) fn forward(
    isa: Isa,
    x: MapRef,
    weight: &Weight,
    window: &Window,
    fused: &Fused,
    y: &mut MapMut,
) {
    assert!(fused.gate.is_none(), "only a pointwise convolution takes a gate");
    let finish = Finish { fused: *fused, accumulate: false };
    Convolution { isa, x, weight, tiles: Tiles::forward(window), finish, y }.run();
}

/// The gradient of `x`: written, or added to `dx` if `accumulate`. The weight is a flipped one.
pub(in crate::conv) fn backward_data(
    isa: Isa,
    dy: MapRef,
    weight: &Weight,
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    let finish = Finish { fused: Fused::NONE, accumulate };
    Convolution { isa, x: dy, weight, tiles: Tiles::backward(window), finish, y: dx }.run();
}

struct Convolution<'a> {
    isa: Isa,
    x: MapRef<'a>,
    weight: &'a Weight,
    tiles: Tiles,
    finish: Finish<'a>,
    y: &'a MapMut<'a>,
}

impl Convolution<'_> {
    fn run(&self) {
        let Convolution { isa, x, weight, tiles, .. } = self;
        assert_eq!(*isa, weight.isa, "the weight is packed for {}", weight.isa.name());
        assert_eq!([self.y.channels(), x.channels()], weight.sizes(), "columns, channels");
        let positions = [x.positions(), self.y.positions()];
        assert_eq!(positions, [tiles.in_positions(), tiles.out_positions()], "positions");
        let rows = weight.kernels.rows();
        let block = tiles_a_block(weight.kernels, weight.channels);
        let parts = tiles.len().div_ceil(block).next_multiple_of(parallel::threads());
        parallel::run(parts, |part| {
            let range = parallel::part(tiles.len(), parts, rows, part);
            if !range.is_empty() {
                // SAFETY: the parts have no tile in common.
                unsafe { self.block(range) };
            }
        });
    }

    /// Computes a block of tiles.
    ///
    /// # Safety
    /// Nobody else may use the outputs of these tiles meanwhile.
    unsafe fn block(&self, range: Range<usize>) {
        let Convolution { isa, x, weight, ref tiles, finish, y } = *self;
        let panels = &weight.panels;
        let step = panels_a_block(panels, range.len());
        let width = (step * panels.full_width()).min(panels.total_width());
        Points::lend(range.len(), [weight.channels, width], |[inputs, sums]| {
            // SAFETY: `run` asserted the shapes of the maps; the points have rows of `channels` values.
            unsafe { run_kernel(isa, FromInputs { x, tiles, range: range.clone(), points: inputs }) };
            for first in (0..panels.count()).step_by(step) {
                let chosen = first..(first + step).min(panels.count());
                for point in 0..POINTS {
                    for panel in chosen.clone() {
                        let column = panels.start(panel) - panels.start(first);
                        // SAFETY: the sums have rows of all chosen panels, and the inputs rows of `channels` values.
                        unsafe { self.product(&inputs, &sums, range.len(), point, panel, column) };
                    }
                }
                let channels = panels.columns(chosen);
                let range = range.clone();
                // SAFETY: `run` asserted the shapes, these outputs are the caller's alone, and the sums are of them.
                unsafe { run_kernel(isa, ToOutputs { points: sums, tiles, range, channels, finish, y }) };
            }
        });
    }

    /// The product of a block at one point and for one panel; its columns start at `column` of the sums' rows.
    ///
    /// # Safety
    /// The points have as many tiles and rows of as many values as is read and written.
    unsafe fn product(
        &self,
        inputs: &Points,
        sums: &Points,
        tiles: usize,
        point: usize,
        panel: usize,
        column: usize,
    ) {
        let Weight { kernels, channels, panels, .. } = self.weight;
        let width = panels.width(panel);
        let packed = self.weight.at(panel, point).as_ptr();
        let mut rows = [std::ptr::null(); MAX_ROWS];
        let mut out = [std::ptr::null_mut(); MAX_ROWS];
        for first in (0..tiles).step_by(kernels.rows()) {
            let height = kernels.height(kernels.rows().min(tiles - first));
            for index in 0..height {
                let tile = (first + index).min(tiles - 1);
                rows[index] = inputs.row(point, tile).cast_const();
                out[index] = sums.row(point, tile).wrapping_add(column);
            }
            let task = Product {
                rows: &rows[..height],
                channels: *channels,
                panel: packed,
                start: Start::Zero,
                activation: Activation::Identity,
                residual: None,
                precision: Precision::F32,
                out: &out[..height],
                columns: width,
            };
            // SAFETY: the caller's promise; the packed weights of a panel at a point are `channels` rows of its width.
            unsafe { kernels.product(height, width)(&task) };
        }
    }
}
