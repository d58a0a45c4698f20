//! The gradient of the weight.

use std::ops::Range;

use super::points::{FromInputs, FromOutputGradients, Points, tiles_a_block};
use super::tiles::Tiles;
use super::{INPUTS, POINTS, TAPS, transform};
use crate::conv::micro::{MAX_WIDTH, MicroKernels, Outer};
use crate::conv::panels::Panels;
use crate::conv::partial_sums::{self, Cut};
use crate::vector::{Kernel, Level, Vector, run_kernel};
use crate::{Isa, MapMut, MapRef, Window, parallel};

/// Most tiles of a block.
const MAX_TILES: usize = 48;

/// The gradient of the weight `[O, I, 3, 3]`: `dw += ...`. The same number of threads gives the same bits.
pub(in crate::conv) fn backward_weight(
    kernels: &'static MicroKernels,
    isa: Isa,
    x: MapRef,
    dy: MapRef,
    window: &Window,
    dw_oihw: &mut [f32],
) {
    let tiles = Tiles::forward(window);
    assert_eq!([x.positions(), dy.positions()], [tiles.in_positions(), tiles.out_positions()], "positions");
    assert_eq!(dw_oihw.len(), dy.channels() * x.channels() * TAPS * TAPS, "weight gradient");
    let panels = Panels::new(dy.channels(), kernels);
    let task = WeightGradient { kernels, isa, x, dy, panels, tiles };
    let cut = Cut::new(panels.count());
    partial_sums::with_sums(
        cut,
        POINTS * x.channels() * panels.total_width(),
        // SAFETY: no other part has the same range of tiles and panels.
        |part, sums| unsafe { task.run(cut, part, sums) },
        |sums| task.unpack(sums, dw_oihw),
    );
}

struct WeightGradient<'a> {
    kernels: &'static MicroKernels,
    isa: Isa,
    x: MapRef<'a>,
    dy: MapRef<'a>,
    panels: Panels,
    tiles: Tiles,
}

impl WeightGradient<'_> {
    /// Sums one part of the tiles for one part of the panels into its row of `sums`, which holds
    /// `[panel][point][in channel][out channel of the panel]`.
    ///
    /// # Safety
    /// Nobody else may use these panels in this part's row meanwhile.
    unsafe fn run(&self, cut: Cut, part: usize, sums: &MapMut) {
        let panels = parallel::part(self.panels.count(), cut.panels, 1, part % cut.panels);
        let range = part / cut.panels;
        let sums = sums.as_mut_ptr().wrapping_add(range * sums.stride());
        let block = tiles_a_block(self.kernels, self.x.channels()).min(MAX_TILES);
        let tiles = parallel::part(self.tiles.len(), cut.positions, 1, range);
        for start in tiles.clone().step_by(block) {
            let tiles = start..(start + block).min(tiles.end);
            // SAFETY: passed on to the caller.
            unsafe { self.block(tiles, panels.clone(), sums) };
        }
    }

    /// Adds the products of a block of tiles.
    ///
    /// # Safety
    /// `sums` is a row of all panels, of which nobody else may use the chosen ones meanwhile.
    unsafe fn block(&self, range: Range<usize>, chosen: Range<usize>, sums: *mut f32) {
        let WeightGradient { isa, x, dy, ref panels, ref tiles, .. } = *self;
        let count = range.len();
        let width = chosen.clone().map(|panel| panels.width(panel)).sum();
        Points::lend(count, [x.channels(), width], |[inputs, gradients]| {
            // SAFETY: the shapes of the maps were asserted; the points have rows of the channels and of the chosen
            // panels.
            unsafe {
                run_kernel(isa, FromInputs { x, tiles, range: range.clone(), points: inputs });
                let chosen = chosen.clone();
                run_kernel(isa, FromOutputGradients { dy, tiles, range, panels, chosen, points: gradients });
            }
            let mut rows = [std::ptr::null(); MAX_TILES];
            let rows = &mut rows[..count];
            for point in 0..POINTS {
                rows.iter_mut()
                    .enumerate()
                    .for_each(|(tile, row)| *row = inputs.row(point, tile).cast_const());
                for panel in chosen.clone() {
                    let of_panel =
                        FromOutputGradients::row(&gradients, panels, chosen.start, count, panel, point, 0);
                    let before = panels.start(panel) * POINTS + point * panels.width(panel);
                    let sums = sums.wrapping_add(before * x.channels());
                    // SAFETY: the sums have a row of the panel's width for every point and channel.
                    unsafe { self.product(rows, of_panel, panels.width(panel), sums) };
                }
            }
        });
    }

    /// Adds the products of one point and panel.
    ///
    /// # Safety
    /// All addresses are of as many values as the channels and the width say.
    unsafe fn product(&self, rows: &[*const f32], panel: *const f32, width: usize, mut sums: *mut f32) {
        let channels = self.x.channels();
        let blocks = channels.div_ceil(self.kernels.rows());
        for block in 0..blocks {
            let channels = parallel::part(channels, blocks, 1, block);
            let task = Outer { rows, channel: channels.start, panel, sums };
            // SAFETY: the caller's promise.
            unsafe { self.kernels.outer(channels.len(), width)(&task) };
            sums = sums.wrapping_add(channels.len() * width);
        }
    }

    /// Adds `G^T sums G` to the gradient.
    fn unpack(&self, sums: &[f32], dw_oihw: &mut [f32]) {
        let (panels, channels) = (&self.panels, self.x.channels());
        parallel::run_on_chunks(dw_oihw, panels.full_width() * channels * TAPS * TAPS, |panel, dw| {
            let width = panels.width(panel);
            let sums = &sums[panels.start(panel) * POINTS * channels..][..width * POINTS * channels];
            // SAFETY: the kernel works on slices alone.
            unsafe { run_kernel(self.isa, UnpackPanel { sums, width, channels, dw }) }
        });
    }
}

/// Adds one panel's gradient.
struct UnpackPanel<'a> {
    sums: &'a [f32],
    width: usize,
    channels: usize,
    /// `[out channel of the panel][in channel][3][3]`.
    dw: &'a mut [f32],
}

impl Kernel for UnpackPanel<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let UnpackPanel { sums, width, channels, dw } = self;
        for channel in 0..channels {
            let mut lanes = [[0.0; MAX_WIDTH]; TAPS * TAPS];
            for column in (0..width).step_by(L::Narrow::LANES) {
                // SAFETY: the widths of panels are multiples of the narrow vector's lanes; bounds are checked.
                unsafe {
                    let at = |point: usize| {
                        let first = (point * channels + channel) * width + column;
                        L::Narrow::load(sums[first..first + L::Narrow::LANES].as_ptr())
                    };
                    let half: [[L::Narrow; TAPS]; INPUTS] = std::array::from_fn(|row| {
                        transform::tap_gradients(std::array::from_fn(|point| at(row * INPUTS + point)))
                    });
                    for along in 0..TAPS {
                        let taps =
                            transform::tap_gradients(std::array::from_fn(|row: usize| half[row][along]));
                        for (row, tap) in taps.into_iter().enumerate() {
                            tap.store(lanes[row * TAPS + along][column..][..L::Narrow::LANES].as_mut_ptr());
                        }
                    }
                }
            }
            for (lane, dw) in dw.chunks_exact_mut(channels * TAPS * TAPS).enumerate() {
                let dw = &mut dw[channel * TAPS * TAPS..][..TAPS * TAPS];
                dw.iter_mut().zip(&lanes).for_each(|(dw, lanes)| *dw += lanes[lane]);
            }
        }
    }
}
