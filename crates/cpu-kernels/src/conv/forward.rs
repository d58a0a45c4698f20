//! The convolution itself.

use super::grid::Grid;
use super::pack::PackedWeight;
use super::product::{Cut, RowsTimesPanels};
use crate::{Activation, Isa, MapMut, MapRef, Window, parallel};

/// What happens to a convolution's sums: `y = activation(sum + bias) + residual`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value an output channel.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// A map of the output's shape.
    pub residual: Option<MapRef<'a>>,
}

impl Epilogue<'_> {
    /// Nothing is added, nothing applied.
    pub const NONE: Epilogue<'static> =
        Epilogue { bias: None, activation: Activation::Identity, residual: None };
}

/// Dense convolution: `y = activation(conv(x, weight) + bias) + residual`.
///
/// `x` is `[B, H, W, I]`, `y` is `[B, H', W', O]`. The sum of an output runs over kernel rows, kernel columns and input
/// channels in order, whatever the number of threads.
///
/// # Panics
/// When the sizes of the maps, the weight, the window and the epilogue do not fit, or the weight was packed for another
/// instruction set.
pub fn forward(
    isa: Isa,
    x: MapRef,
    weight: &PackedWeight,
    window: &Window,
    epilogue: &Epilogue,
    y: &mut MapMut,
) {
    assert_eq!(isa, weight.isa, "the weight is packed for {}", weight.isa.name());
    assert_eq!(
        [y.channels(), x.channels(), window.kernel],
        weight.sizes(),
        "output channels, input channels, kernel"
    );
    assert_eq!([x.positions(), y.positions()], [window.in_positions(), window.out_positions()], "positions");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == y.channels()), "one bias value an output channel");
    let residual_shape = epilogue.residual.map(|residual| [residual.positions(), residual.channels()]);
    assert!(
        residual_shape.is_none_or(|shape| shape == [y.positions(), y.channels()]),
        "residual {residual_shape:?}"
    );

    let product = RowsTimesPanels {
        kernels: weight.kernels,
        input: x,
        zeros: &weight.zeros,
        panels: weight.panels,
        weight: &weight.data,
        bias: epilogue.bias,
        activation: epilogue.activation,
        residual: epilogue.residual,
        accumulate: false,
    };
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
