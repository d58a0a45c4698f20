//! The weight gradient: each tap is the product sum of the output's gradient and the input that the tap sees.

use super::grid::{Grid, Tile, WIDTH};
use crate::bands::Band;
use crate::vector::{Kernel, Level, PerVector, Vector, over_channels, over_vectors, run_kernel};
use crate::{Isa, MapMut, MapRef, Window, parallel};

/// Adds the gradient of the weight of [`forward`](super::forward) to `dw`, which is `[C, 1, kernel, kernel]`.
///
/// `x` has `window.in_positions()` rows, `dy` `window.out_positions()`.
///
/// # Panics
/// When a shape differs.
pub fn backward_weight(isa: Isa, x: MapRef, dy: MapRef, window: &Window, dw: &mut [f32]) {
    let (grid, channels, taps) = (super::grid(window), x.channels(), window.kernel * window.kernel);
    grid.check(x.positions(), dy.positions(), taps);
    assert_eq!(dy.channels(), channels, "channels of the gradient");
    assert_eq!(dw.len(), channels * taps, "weights");
    let (bands, size) = (grid.bands(channels), taps * channels);
    let parts = bands.parts();
    let mut sums = vec![0.0; parts * size];
    let part_sums = MapMut::new(&mut sums, parts, size, size); // [parts, taps * C]
    parallel::run(parts, |part| {
        // SAFETY: each part takes its own row.
        let mut sums = unsafe { part_sums.part(part..part + 1) };
        bands.part(parts, part).for_each(|band| add_band(isa, x, dy, grid, &band, sums.row_mut(0)));
    });
    for (channel, dw) in dw.chunks_exact_mut(taps.max(1)).enumerate() {
        for (tap, value) in dw.iter_mut().enumerate() {
            *value += (0..parts).map(|part| sums[part * size + tap * channels + channel]).sum::<f32>();
        }
    }
}

/// Adds the products of a band to `sums`, `[taps][C]`; picks the code for the taps and the stride.
fn add_band(isa: Isa, x: MapRef, dy: MapRef, grid: Grid, band: &Band, sums: &mut [f32]) {
    let (taps, stride) = (grid.horizontal.taps, grid.horizontal.stride);
    let products = Products { x, dy, grid, band, sums };
    // SAFETY: `backward_weight` asserted the shapes.
    unsafe {
        match (taps, stride) {
            (3, 1) => run_kernel(isa, Tiled::<3, 1>(products)),
            (5, 1) => run_kernel(isa, Tiled::<5, 1>(products)),
            (3, 2) => run_kernel(isa, Tiled::<3, 2>(products)),
            (5, 2) => run_kernel(isa, Tiled::<5, 2>(products)),
            _ => run_kernel(isa, Untiled(products)),
        }
    }
}

/// The products of a band.
struct Products<'a> {
    x: MapRef<'a>,
    dy: MapRef<'a>,
    grid: Grid,
    band: &'a Band,
    sums: &'a mut [f32],
}

/// Taps and stride along the row are constants: the gradients of several outputs and the sums of a row of taps stay in
/// registers.
struct Tiled<'a, const TAPS: usize, const STRIDE: usize>(Products<'a>);

impl<const TAPS: usize, const STRIDE: usize> Kernel for Tiled<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Products { x, dy, grid, band, sums } = self.0;
        for row in band.rows.clone() {
            for column in (0..grid.horizontal.output).step_by(WIDTH) {
                let tile = grid.tile(band.image, row, column);
                let columns = column..column + tile.count;
                let mut work =
                    TileProducts::<TAPS, STRIDE> { x, dy, line: grid.horizontal.input, tile, sums };
                // SAFETY: the caller's promise.
                unsafe {
                    for channel in over_vectors::<L>(band.channels.clone(), &mut work) {
                        for column in columns.clone() {
                            let image = band.image;
                            OutputProducts { x, dy, grid, image, row, column, sums }.at::<L::Single>(channel);
                        }
                    }
                }
            }
        }
    }
}

/// The products of a tile.
struct TileProducts<'a, const TAPS: usize, const STRIDE: usize> {
    x: MapRef<'a>,
    dy: MapRef<'a>,
    /// Positions from one row of inputs to the next.
    line: usize,
    tile: Tile,
    sums: &'a mut [f32],
}

impl<const TAPS: usize, const STRIDE: usize> PerVector for TileProducts<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.tile.is_whole(TAPS, STRIDE) {
                self.add::<V, true>(channel);
            } else {
                self.add::<V, false>(channel);
            }
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> TileProducts<'_, TAPS, STRIDE> {
    /// Sums that are added to in turn, so that few taps need not wait for each other.
    const SETS: usize = if TAPS < 5 { 2 } else { 1 };

    /// Adds the products of one vector of channels.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels and the tile exist; the tile is whole if `WHOLE`.
    #[inline(always)]
    unsafe fn add<V: Vector, const WHOLE: bool>(&mut self, channel: usize) {
        let (x, dy, tile) = (self.x, self.dy, &self.tile);
        let first = x.as_ptr().wrapping_offset(tile.input * x.stride() as isize).wrapping_add(channel);
        let dy_first = dy.as_ptr().wrapping_add(tile.output * dy.stride() + channel);
        // SAFETY: the caller's promise; gradients past the tile's last output are not read.
        unsafe {
            let gradients: [V; WIDTH] = std::array::from_fn(|output| {
                if WHOLE || output < tile.count {
                    V::load(dy_first.add(output * dy.stride()))
                } else {
                    V::splat(0.0)
                }
            });
            for row in 0..tile.tap_rows {
                let to = self.sums.as_mut_ptr().add((tile.tap_row + row) * TAPS * x.channels() + channel);
                let mut sums =
                    [std::array::from_fn(|tap| V::load(to.add(tap * x.channels()))), [V::splat(0.0); TAPS]];
                let x_row = first.wrapping_add(row * self.line * x.stride());
                tile.each_product::<V, TAPS, STRIDE, WHOLE>(x_row, x.stride(), |value, output, tap| {
                    let sum = &mut sums[output % Self::SETS][tap];
                    *sum = value.mul_add(gradients[output], *sum);
                });
                for tap in 0..TAPS {
                    let sum = if Self::SETS == 1 { sums[0][tap] } else { sums[0][tap].add(sums[1][tap]) };
                    sum.store(to.add(tap * x.channels()));
                }
            }
        }
    }
}

/// Any taps and stride: one output at a time.
struct Untiled<'a>(Products<'a>);

impl Kernel for Untiled<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Products { x, dy, grid, band, sums } = self.0;
        for row in band.rows.clone() {
            for column in 0..grid.horizontal.output {
                let mut work = OutputProducts { x, dy, grid, image: band.image, row, column, sums };
                // SAFETY: the caller's promise.
                unsafe { over_channels::<L>(band.channels.clone(), &mut work) }
            }
        }
    }
}

/// The products of one output.
struct OutputProducts<'a> {
    x: MapRef<'a>,
    dy: MapRef<'a>,
    grid: Grid,
    image: usize,
    row: usize,
    column: usize,
    sums: &'a mut [f32],
}

impl PerVector for OutputProducts<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let (x, dy, grid) = (self.x, self.dy, self.grid);
        let output = grid.output(self.image, self.row, self.column);
        // SAFETY: the caller's promise; the taps and inputs that the grid names exist.
        unsafe {
            let gradient = V::load(dy.as_ptr().add(output * dy.stride() + channel));
            grid.each_tap(self.image, self.row, self.column, |tap, input| {
                let to = self.sums.as_mut_ptr().add(tap * x.channels() + channel);
                let value = V::load(x.as_ptr().add(input * x.stride() + channel));
                value.mul_add(gradient, V::load(to)).store(to);
            });
        }
    }
}
