//! The gate of squeeze and excitation (arXiv 1709.01507): every channel of an image times one factor.

use crate::bands::{Band, Bands};
use crate::isa::{mul_add, multiversion};
use crate::pool::{SUM_BLOCK, SUM_RUN};
use crate::{Isa, MapMut, MapRef, lanes, rows};

/// `y[b, p, c] = x[b, p, c] * g[b, c]`. `g` has one row an image.
///
/// # Panics
/// When a shape differs.
pub fn forward(isa: Isa, x: MapRef, g: MapRef, y: &mut MapMut) {
    scale(isa, x, g, false, y);
}

/// The gradient of `x` of [`forward`]: `dx[b, p, c] = dy[b, p, c] * g[b, c]`. With `accumulate` it is added to `dx`, else
/// every value is overwritten.
///
/// # Panics
/// When a shape differs.
pub fn backward_x(isa: Isa, dy: MapRef, g: MapRef, accumulate: bool, dx: &mut MapMut) {
    scale(isa, dy, g, accumulate, dx);
}

/// The gradient of `g` of [`forward`]: `dg[b, c]` is the sum over `p` of `x[b, p, c] * dy[b, p, c]`. With `accumulate` it is
/// added to `dg`, else every value is overwritten.
///
/// # Panics
/// When a shape differs.
pub fn backward_gate(isa: Isa, x: MapRef, dy: MapRef, accumulate: bool, dg: &mut MapMut) {
    assert_eq!((x.positions(), x.channels()), (dy.positions(), dy.channels()), "shape of the gradient");
    assert_eq!(x.channels(), dg.channels(), "channels of the gate");
    let area = area(x.positions(), dg.positions());
    let dg = &*dg;
    Bands::whole(dg.positions(), x.channels(), SUM_BLOCK).run(|band| {
        // SAFETY: the bands share no channel of an image.
        let sums = unsafe { band.values_mut(dg, band.image) };
        if !accumulate {
            sums.fill(0.0);
        }
        add_products(isa, x, dy, band, area, sums);
    });
}

/// Positions of an image.
fn area(positions: usize, batch: usize) -> usize {
    let area = positions / batch.max(1);
    assert_eq!(area * batch, positions, "the positions are not {batch} equal images");
    area
}

fn scale(isa: Isa, x: MapRef, g: MapRef, accumulate: bool, y: &mut MapMut) {
    assert_eq!((x.positions(), x.channels()), (y.positions(), y.channels()), "shape of the output");
    assert_eq!(x.channels(), g.channels(), "channels of the gate");
    let area = area(x.positions(), g.positions());
    rows::split(y, |positions, y| scale_rows(isa, x, g, area, positions.start, accumulate, y));
}

multiversion! {
    /// The rows of `x` from `first` on that `y` holds.
    fn scale_rows(x: MapRef<'_>, g: MapRef<'_>, area: usize, first: usize, accumulate: bool, y: &mut MapMut<'_>) {
        for row in 0..y.positions() {
            let (x, g, y) = (x.row(first + row), g.row((first + row) / area), y.row_mut(row));
            if accumulate {
                lanes::update_by_two(y, x, g, |y, x, g| *y = mul_add::<FMA>(x, g, *y));
            } else {
                lanes::update_by_two(y, x, g, |y, x, g| *y = x * g);
            }
        }
    }
}

multiversion! {
    /// Adds the product sums of one image's positions: first of short runs, then of the runs, so that rounding errors stay
    /// small.
    fn add_products(x: MapRef<'_>, dy: MapRef<'_>, band: Band, area: usize, sums: &mut [f32]) {
        let positions = band.image * area..(band.image + 1) * area;
        for first in positions.clone().step_by(SUM_RUN) {
            let mut run = [0.0; SUM_BLOCK];
            let run = &mut run[..sums.len()];
            for position in first..positions.end.min(first + SUM_RUN) {
                let (x, dy) = (band.values(x, position), band.values(dy, position));
                lanes::update_by_two(run, x, dy, |sum, x, dy| *sum = mul_add::<FMA>(x, dy, *sum));
            }
            lanes::update(sums, run, |sum, value| *sum += value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::pool as reference;
    use crate::test_maps::{TestMap, shapes};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn all_three_equal_the_reference(
            (area, channels, [x_gap, g_gap], seed) in shapes(), batch in 1usize..4, accumulate in any::<bool>(),
        ) {
            let positions = batch * area;
            let x = TestMap::random(positions, channels, x_gap, 1.0, seed);
            let dy = TestMap::random(positions, channels, g_gap, 1.0, seed ^ 1);
            let g = TestMap::random(batch, channels, g_gap, 1.0, seed ^ 2);
            let plus = |before: &TestMap, sum: Vec<f64>| -> Vec<f64> {
                let before = before.to_f64().into_iter().map(|before| if accumulate { before } else { 0.0 });
                sum.iter().zip(before).map(|(sum, before)| sum + before).collect()
            };
            for &isa in Isa::available() {
                let mut y = TestMap::random(positions, channels, x_gap, 9.0, seed);
                forward(isa, x.map(), g.map(), &mut y.map_mut());
                y.assert_close(&reference::gate(&x.to_f64(), &g.to_f64(), channels, batch), 1e-6, isa.name());

                let mut dx = TestMap::random(positions, channels, x_gap, 1.0, seed ^ 3);
                let expected = plus(&dx, reference::gate(&dy.to_f64(), &g.to_f64(), channels, batch));
                backward_x(isa, dy.map(), g.map(), accumulate, &mut dx.map_mut());
                dx.assert_close(&expected, 1e-6, isa.name());

                let mut dg = TestMap::random(batch, channels, g_gap, 1.0, seed ^ 4);
                let expected = plus(&dg, reference::gate_gradient(&x.to_f64(), &dy.to_f64(), channels, batch));
                backward_gate(isa, x.map(), dy.map(), accumulate, &mut dg.map_mut());
                dg.assert_close(&expected, 2e-5, isa.name());
            }
        }
    }
}
