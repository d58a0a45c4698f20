//! The convolution itself.

use super::gate::Gate;
use super::grid::Grid;
use super::pack::Weight;
use super::product::{Cut, RowsTimesPanels};
use crate::conv::Fused;
use crate::{Isa, MapMut, MapRef, Window, parallel};

/// `y = round(activation(conv(x, weight) + bias) + residual)`. The sum of an output runs over kernel rows, kernel columns and
/// input channels in order, whatever the number of threads.
pub(in crate::conv) fn forward(
    isa: Isa,
    x: MapRef,
    weight: &Weight,
    window: &Window,
    fused: &Fused,
    y: &mut MapMut,
) {
    assert_eq!(isa, weight.isa, "the weight is packed for {}", weight.isa.name());
    assert_eq!(
        [y.channels(), x.channels(), window.kernel],
        weight.sizes(),
        "output channels, input channels, kernel"
    );
    assert_eq!([x.positions(), y.positions()], [window.in_positions(), window.out_positions()], "positions");

    let gate = Gate::of(isa, fused, window);
    let product = product(x, gate, weight, fused);
    let grids = Grid::forward(window, x);
    let cut = Cut::new(y.positions(), weight.kernels, &weight.panels);
    let y = &*y;
    parallel::run(cut.parts(), |part| {
        for grid in &grids {
            // SAFETY: the grids have no output in common, nor have the parts of a grid.
            unsafe { product.run(grid, y, cut, part) };
        }
    });
}

/// The product of a map's rows and a weight, with what is fused to it but its gate.
pub(in crate::conv) fn product<'a>(
    x: MapRef<'a>,
    gate: Option<Gate<'a>>,
    weight: &'a Weight,
    fused: &Fused<'a>,
) -> RowsTimesPanels<'a> {
    RowsTimesPanels {
        kernels: weight.kernels,
        input: x,
        gate,
        zeros: &weight.zeros,
        panels: weight.panels,
        weight: &weight.data,
        bias: fused.bias,
        activation: fused.activation,
        residual: fused.residual,
        precision: fused.precision,
        accumulate: false,
        first_column: 0,
    }
}
