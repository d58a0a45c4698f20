//! The gradient of a convolution's input.

use super::grid::Grid;
use super::pack::{Transposed, phases};
use super::product::{Cut, RowsTimesPanels};
use crate::{Activation, Isa, MapMut, MapRef, Precision, Window, parallel};

/// The gradient of `x`: added to `dx` if `accumulate`, else written. Each phase of the stride is an ordinary product
/// with its own taps, so that no zeros are multiplied.
pub(in crate::conv) fn backward_data(
    isa: Isa,
    dy: MapRef,
    weight: &Transposed,
    window: &Window,
    accumulate: bool,
    dx: &mut MapMut,
) {
    let Window { kernel, stride, pad_top, pad_left, .. } = *window;
    assert_eq!(isa, weight.isa, "the weight is packed for {}", weight.isa.name());
    let sizes = [dy.channels(), dx.channels(), kernel, stride, pad_top, pad_left];
    assert_eq!(sizes, weight.sizes(), "output channels, input channels, kernel, stride, pads");
    assert_eq!(
        [dx.positions(), dy.positions()],
        [window.in_positions(), window.out_positions()],
        "positions"
    );

    let cut = Cut::new(dx.positions() / (stride * stride), weight.kernels, &weight.panels);
    let dx = &*dx;
    parallel::run(cut.parts(), |part| {
        for phase in phases(stride) {
            let product = RowsTimesPanels {
                kernels: weight.kernels,
                input: dy,
                gate: None,
                zeros: &weight.zeros,
                panels: weight.panels,
                weight: &weight.data[weight.range(phase)],
                bias: None,
                activation: Activation::Identity,
                precision: Precision::F32,
                residual: None,
                accumulate,
                first_column: 0,
            };
            let grid = Grid::backward(window, dy.channels(), phase);
            // SAFETY: the phases have no input position in common, nor have the parts of a phase.
            unsafe { product.run(&grid, dx, cut, part) };
        }
    });
}
