//! Nearest-neighbour upsampling by a whole factor.

use crate::isa::multiversion;
use crate::{Isa, MapMut, MapRef, lanes, rows};

/// `y[b, i, j, c] = x[b, i / factor, j / factor, c]`.
///
/// `x` has `batch * height * width` rows, `y` `factor * factor` times as many.
///
/// # Panics
/// When a shape differs.
pub fn forward(
    _isa: Isa,
    x: MapRef,
    batch: usize,
    height: usize,
    width: usize,
    factor: usize,
    y: &mut MapMut,
) {
    check(x, y.as_ref(), batch, height, width, factor);
    let y_width = width * factor;
    rows::split(y, |positions, y| {
        for (row, position) in positions.enumerate() {
            let (line, column) = (position / y_width, position % y_width);
            y.row_mut(row).copy_from_slice(x.row(line / factor * width + column / factor));
        }
    });
}

/// The gradient of the input of [`forward`]: the sum over the copies. `height` and `width` are those of `dx`. With
/// `accumulate` it is added to `dx`, else every value is overwritten.
///
/// # Panics
/// When a shape differs.
pub fn backward(
    isa: Isa,
    dy: MapRef,
    batch: usize,
    height: usize,
    width: usize,
    factor: usize,
    accumulate: bool,
    dx: &mut MapMut,
) {
    check(dx.as_ref(), dy, batch, height, width, factor);
    rows::split(dx, |positions, dx| backward_rows(isa, dy, positions.start, width, factor, accumulate, dx));
}

fn check(small: MapRef, large: MapRef, batch: usize, height: usize, width: usize, factor: usize) {
    assert_eq!(small.positions(), batch * height * width, "positions of the small map");
    assert_eq!(large.positions(), small.positions() * factor * factor, "positions of the large map");
    assert_eq!(small.channels(), large.channels(), "channels");
}

multiversion! {
    /// The rows from `first` on that `dx` holds.
    fn backward_rows(dy: MapRef<'_>, first: usize, width: usize, factor: usize, accumulate: bool, dx: &mut MapMut<'_>) {
        for row in 0..dx.positions() {
            let (line, column) = ((first + row) / width * factor, (first + row) % width * factor);
            let sums = dx.row_mut(row);
            if !accumulate {
                sums.fill(0.0);
            }
            for copy in 0..factor * factor {
                let copy = (line + copy / factor) * width * factor + column + copy % factor;
                lanes::update(sums, dy.row(copy), |sum, value| *sum += value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::pool as reference;
    use crate::test_maps::TestMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn both_directions_equal_the_reference(
            batch in 1usize..4, height in 1usize..15, width in 1usize..15, factor in 1usize..4, channels in 1usize..40,
            gaps in [0usize..5, 0usize..5], seed in any::<u64>(), accumulate in any::<bool>(),
        ) {
            let (small, large) = (batch * height * width, batch * height * width * factor * factor);
            let x = TestMap::random(small, channels, gaps[0], 1.0, seed);
            let dy = TestMap::random(large, channels, gaps[1], 1.0, seed);
            let copies = reference::upsample(&x.to_f64(), channels, height, width, factor);
            let gradient = reference::upsample_backward(&dy.to_f64(), channels, height, width, factor);
            for &isa in Isa::available() {
                let mut y = TestMap::random(large, channels, gaps[1], 9.0, seed);
                forward(isa, x.map(), batch, height, width, factor, &mut y.map_mut());
                y.assert_close(&copies, 0.0, isa.name());

                let mut dx = TestMap::random(small, channels, gaps[0], 1.0, seed ^ 1);
                let before = dx.to_f64().into_iter().map(|before| if accumulate { before } else { 0.0 });
                let expected: Vec<_> = gradient.iter().zip(before).map(|(dx, before)| dx + before).collect();
                backward(isa, dy.map(), batch, height, width, factor, accumulate, &mut dx.map_mut());
                dx.assert_close(&expected, 1e-6, isa.name());
            }
        }
    }
}
