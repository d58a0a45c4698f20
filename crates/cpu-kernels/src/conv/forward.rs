//! The convolution itself.

use std::ops::Range;

use super::grid::Grid;
use super::pack::PackedWeight;
use super::product::{Cut, RowsTimesPanels};
use crate::activation::{Activation, activate};
use crate::isa::multiversion;
use crate::{Isa, MapMut, MapRef, Window, parallel};

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
        accumulate: false,
    };
    let grids = Grid::forward(window, x);
    let cut = Cut::new(y.positions(), weight.kernels, &weight.panels);
    let y = &*y;
    parallel::run(cut.parts(), |part| {
        for grid in &grids {
            // SAFETY: the grids have no output in common, nor have the parts of a grid.
            unsafe {
                product
                    .run(grid, y, cut, part, |outputs, columns| finish(isa, epilogue, y, outputs, columns));
            }
        }
    });
}

/// Applies activation and residual to a block of finished sums.
///
/// # Safety
/// Nobody else may use these rows and columns of `y` meanwhile.
#[inline(always)]
unsafe fn finish(isa: Isa, epilogue: &Epilogue, y: &MapMut, outputs: &[usize], columns: Range<usize>) {
    if epilogue.activation == Activation::Identity && epilogue.residual.is_none() {
        return;
    }
    for &position in outputs {
        // SAFETY: the values belong to row `position` of the map and to the caller.
        let row = unsafe {
            let start = y.as_mut_ptr().add(position * y.stride() + columns.start);
            std::slice::from_raw_parts_mut(start, columns.len())
        };
        finish_row(
            isa,
            epilogue.activation,
            row,
            epilogue.residual.map(|map| &map.row(position)[columns.clone()]),
        );
    }
}

multiversion! {
    fn finish_row(activation: Activation, row: &mut [f32], residual: Option<&[f32]>) {
        match activation {
            Activation::Identity => {}
            Activation::Silu => row.iter_mut().for_each(|y| *y = activate::<FMA>(Activation::Silu, *y)),
            Activation::Relu => row.iter_mut().for_each(|y| *y = activate::<FMA>(Activation::Relu, *y)),
            Activation::Relu6 => row.iter_mut().for_each(|y| *y = activate::<FMA>(Activation::Relu6, *y)),
            Activation::Sigmoid => row.iter_mut().for_each(|y| *y = activate::<FMA>(Activation::Sigmoid, *y)),
        }
        if let Some(residual) = residual {
            row.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
        }
    }
}
