//! The weight gradient: each tap is the product sum of the output's gradient and the input that the tap sees.

use std::ops::Range;

use super::axes;
use super::correlation::{Axis, BLOCK};
use super::vector::{Kernel, Level, PerVector, Vector, over_channels, over_vectors, run_kernel, unroll};
use crate::bands::{Band, Bands};
use crate::{Isa, MapMut, MapRef, Window, parallel};

/// Output positions of a band, so that its values of one block of channels, gradient and input, stay in the first-level
/// cache while the rows of taps pass over them.
const POSITIONS: usize = 128;

/// Adds the gradient of the weight of [`forward`](super::forward) to `dw`, which is `[C, 1, kernel, kernel]`.
///
/// `x` has `window.in_positions()` rows, `dy` `window.out_positions()`.
///
/// # Panics
/// When a shape differs.
pub fn backward_weight(isa: Isa, x: MapRef, dy: MapRef, window: &Window, dw: &mut [f32]) {
    let (channels, taps) = (x.channels(), window.kernel * window.kernel);
    assert_eq!(x.positions(), window.in_positions(), "positions of the input");
    assert_eq!(dy.positions(), window.out_positions(), "positions of the gradient");
    assert_eq!(dy.channels(), channels, "channels of the gradient");
    assert_eq!(dw.len(), channels * taps, "weights");
    let rows = POSITIONS / window.out_width.max(1);
    let bands = Bands::new(window.batch, window.out_height, rows, channels, BLOCK);
    let (parts, size) = (bands.parts(), taps * channels);
    let mut sums = vec![0.0; parts * size];
    let parts_sums = MapMut::new(&mut sums, parts, size, size); // [parts, taps * C]
    parallel::run(parts, |part| {
        // SAFETY: each part takes its own row.
        let mut sums = unsafe { parts_sums.part(part..part + 1) };
        bands.part(parts, part).for_each(|band| add_band(isa, x, dy, window, band, sums.row_mut(0)));
    });
    for sums in sums.chunks_exact(size.max(1)) {
        for (index, value) in dw.iter_mut().enumerate() {
            *value += sums[index % taps * channels + index / taps];
        }
    }
}

/// Adds the products of a band to `sums`, `[kernel * kernel][C]`; picks the code for the taps and the stride.
fn add_band(isa: Isa, x: MapRef, dy: MapRef, window: &Window, band: Band, sums: &mut [f32]) {
    let (vertical, horizontal) = axes(window);
    let products = Products { x, dy, vertical, horizontal, band, sums };
    // SAFETY: `backward_weight` asserted the shapes.
    unsafe {
        match (window.kernel, window.stride) {
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
    vertical: Axis,
    horizontal: Axis,
    band: Band,
    sums: &'a mut [f32],
}

impl Products<'_> {
    /// For each output row of the band whose tap row `tap` lies inside the input: the position in `dy` and the position
    /// in `x` of the first column.
    #[inline(always)]
    fn rows(&self, tap: usize) -> impl Iterator<Item = (usize, usize)> {
        let (vertical, horizontal, image) = (self.vertical, self.horizontal, self.band.image);
        self.band.rows.clone().filter_map(move |row| {
            let input = vertical.start(row) + tap as isize;
            let inside = (0..vertical.input as isize).contains(&input);
            let line = image * vertical.input + input.max(0) as usize;
            inside.then(|| ((image * vertical.output + row) * horizontal.output, line * horizontal.input))
        })
    }

    /// Adds to the sums of a tap.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the channels and the tap exist.
    #[inline(always)]
    unsafe fn add<V: Vector>(&mut self, tap: usize, channel: usize, sum: V) {
        // SAFETY: the caller's promise.
        unsafe {
            let to = self.sums.as_mut_ptr().add(tap * self.x.channels() + channel);
            sum.mul_add(V::splat(1.0), V::load(to)).store(to);
        }
    }
}

/// Outputs that are worked on together.
const WIDTH: usize = 4;

/// Taps and stride are constants: the sums of a row of taps stay in registers, in two sets so that additions need not wait
/// for each other.
struct Tiled<'a, const TAPS: usize, const STRIDE: usize>(Products<'a>);

impl<const TAPS: usize, const STRIDE: usize> Kernel for Tiled<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn run<L: Level>(mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            let rest = over_vectors::<L>(self.0.band.channels.clone(), &mut self);
            let mut untiled = Untiled(self.0);
            rest.for_each(|channel| untiled.at::<L::Single>(channel));
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> PerVector for Tiled<'_, TAPS, STRIDE> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let horizontal = self.0.horizontal;
        for tap_row in 0..TAPS {
            // SAFETY: the caller's promise.
            unsafe {
                let mut sums = [[V::splat(0.0); TAPS]; 2];
                for (dy, x) in self.0.rows(tap_row) {
                    for column in (0..horizontal.output).step_by(WIDTH) {
                        let count = WIDTH.min(horizontal.output - column);
                        let start = horizontal.start(column);
                        let inside = horizontal.inside(start, (count - 1) * STRIDE + TAPS);
                        let (dy, x) = (dy + column, x as isize + start);
                        if inside.len() == (WIDTH - 1) * STRIDE + TAPS {
                            self.tile::<V, true>(channel, dy, x, count, inside, &mut sums);
                        } else {
                            self.tile::<V, false>(channel, dy, x, count, inside, &mut sums);
                        }
                    }
                }
                for tap in 0..TAPS {
                    let sum = sums[0][tap].mul_add(V::splat(1.0), sums[1][tap]);
                    self.0.add(tap_row * TAPS + tap, channel, sum);
                }
            }
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> Tiled<'_, TAPS, STRIDE> {
    /// Adds the products of `count` outputs from position `dy` on with their inputs, of which those `inside` of the inputs
    /// from position `x` on exist. `WHOLE`: the tile is full, and all its inputs exist.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and what is said to exist does.
    #[inline(always)]
    unsafe fn tile<V: Vector, const WHOLE: bool>(
        &self,
        channel: usize,
        dy: usize,
        x: isize,
        count: usize,
        inside: Range<usize>,
        sums: &mut [[V; TAPS]; 2],
    ) {
        let (x_stride, dy_stride) = (self.0.x.stride(), self.0.dy.stride());
        let x = self.0.x.as_ptr().wrapping_offset(x * x_stride as isize).wrapping_add(channel);
        let dy = self.0.dy.as_ptr().wrapping_add(dy * dy_stride + channel);
        // SAFETY: inputs are read only if inside, outputs only below `count`.
        unsafe {
            let gradients: [V; WIDTH] = std::array::from_fn(|output| {
                if WHOLE || output < count { V::load(dy.add(output * dy_stride)) } else { V::splat(0.0) }
            });
            unroll!(input < (WIDTH - 1) * STRIDE + TAPS, {
                if WHOLE || input.wrapping_sub(inside.start) < inside.end - inside.start {
                    let value = V::load(x.wrapping_add(input * x_stride));
                    for back in 0..TAPS {
                        let (output, tap) =
                            ((input / STRIDE).wrapping_sub(back), input % STRIDE + back * STRIDE);
                        if output < WIDTH && tap < TAPS {
                            let sum = &mut sums[output % 2][tap];
                            *sum = value.mul_add(gradients[output], *sum);
                        }
                    }
                }
            });
        }
    }
}

/// Any taps and stride: one tap at a time.
struct Untiled<'a>(Products<'a>);

impl Kernel for Untiled<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(mut self) {
        // SAFETY: the caller's promise.
        unsafe { over_channels::<L>(self.0.band.channels.clone(), &mut self) }
    }
}

impl PerVector for Untiled<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let Products { x, dy, vertical, horizontal, .. } = self.0;
        for tap in 0..vertical.taps * horizontal.taps {
            // SAFETY: the caller's promise; only inputs inside are read.
            unsafe {
                let mut sum = V::splat(0.0);
                for (dy_line, x_line) in self.0.rows(tap / horizontal.taps) {
                    for column in 0..horizontal.output {
                        let input = horizontal.start(column) + (tap % horizontal.taps) as isize;
                        if (0..horizontal.input as isize).contains(&input) {
                            let value =
                                V::load(x.as_ptr().add((x_line + input as usize) * x.stride() + channel));
                            let gradient =
                                V::load(dy.as_ptr().add((dy_line + column) * dy.stride() + channel));
                            sum = value.mul_add(gradient, sum);
                        }
                    }
                }
                self.0.add(tap, channel, sum);
            }
        }
    }
}
