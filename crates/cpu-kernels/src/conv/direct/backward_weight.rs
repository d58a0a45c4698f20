//! The gradient of a convolution's weight.

use std::cell::Cell;

use super::grid::{Grid, Place};
use crate::conv::micro::{MicroKernels, Outer};
use crate::conv::panels::Panels;
use crate::conv::partial_sums::{self, Cut};
use crate::scratch;
use crate::{MapMut, MapRef, Window, parallel};

/// Values of the input map that a chunk of positions should read at most, so that they stay in the second-level cache.
const CHUNK_VALUES: usize = 64 * 1024;

/// The gradient of the weight `[O, I, k, k]`: `dw += ...`. The same number of threads gives the same bits.
pub(in crate::conv) fn backward_weight(
    kernels: &'static MicroKernels,
    x: MapRef,
    dy: MapRef,
    window: &Window,
    dw_oihw: &mut [f32],
) {
    let depth = window.kernel * window.kernel * x.channels();
    assert_eq!([x.positions(), dy.positions()], [window.in_positions(), window.out_positions()], "positions");
    assert_eq!(dw_oihw.len(), dy.channels() * depth, "weight gradient");
    if dw_oihw.is_empty() {
        return;
    }
    let panels = Panels::new(dy.channels(), kernels);
    let task = WeightGradient { kernels, x, dy, panels, depth, grids: Grid::forward(window, x) };
    let cut = Cut::new(panels.count());
    partial_sums::with_sums(
        cut,
        depth * panels.total_width(),
        // SAFETY: no other part has the same range of positions and panels.
        |part, sums| unsafe { task.run(cut, part, sums) },
        |sums| task.unpack(sums, dw_oihw),
    );
}

struct WeightGradient<'a> {
    kernels: &'static MicroKernels,
    x: MapRef<'a>,
    dy: MapRef<'a>,
    panels: Panels,
    /// Values of the weight an output channel.
    depth: usize,
    grids: [Grid; 3],
}

impl WeightGradient<'_> {
    /// Sums one part of the positions for one part of the panels.
    ///
    /// # Safety
    /// Nobody else may use these panels in this part's row of `sums` meanwhile.
    unsafe fn run(&self, cut: Cut, part: usize, sums: &MapMut) {
        let panels = parallel::part(self.panels.count(), cut.panels, 1, part % cut.panels);
        let range = part / cut.panels;
        let sums = sums.as_mut_ptr().wrapping_add(range * sums.stride());
        let length = (CHUNK_VALUES / self.x.channels()).clamp(64, 512);
        scratch::with(&CHUNK, |chunk| {
            for grid in &self.grids {
                let positions = parallel::part(grid.positions(), cut.positions, 1, range);
                let mut place = grid.place(positions.start);
                for start in positions.clone().step_by(length) {
                    chunk.locate(grid, self.x, &mut place, length.min(positions.end - start));
                    for panel in panels.clone() {
                        chunk.copy_panel(self.dy, &self.panels, panel);
                        // SAFETY: passed on to the caller.
                        unsafe { self.panel(grid, chunk, panel, sums) };
                    }
                }
            }
        });
    }

    /// Adds a chunk's products to the sums of a panel.
    ///
    /// # Safety
    /// `sums` is a row of all panels, of which nobody else may use this one meanwhile.
    unsafe fn panel(&self, grid: &Grid, chunk: &Chunk, panel: usize, sums: *mut f32) {
        let width = self.panels.width(panel);
        let mut sums = sums.wrapping_add(self.panels.start(panel) * self.depth);
        let blocks = grid.channels().div_ceil(self.kernels.rows());
        for rows in chunk.rows.chunks_exact(chunk.outputs.len()) {
            for block in 0..blocks {
                let channels = parallel::part(grid.channels(), blocks, 1, block);
                let task = Outer { rows, channel: channels.start, panel: chunk.panel.as_ptr(), sums };
                // SAFETY: the grid gives addresses of rows with that many channels, the chunk's panel has a row a
                // position, and the panel's sums have `depth` rows, as many as the grid has taps times channels.
                unsafe { self.kernels.outer(channels.len(), width)(&task) };
                sums = sums.wrapping_add(channels.len() * width);
            }
        }
    }

    /// Adds packed sums `[panel][tap][in channel][out channel of the panel]` to the gradient.
    fn unpack(&self, sums: &[f32], dw_oihw: &mut [f32]) {
        let channels = self.x.channels();
        let taps = self.depth / channels;
        let dw = MapMut::dense(dw_oihw, self.depth);
        parallel::run(self.panels.count(), |panel| {
            let width = self.panels.width(panel);
            // SAFETY: every panel has its own output channels.
            let mut dw = unsafe { dw.part(self.panels.columns(panel..panel + 1)) };
            let sums = &sums[self.panels.start(panel) * self.depth..][..width * self.depth];
            for lane in 0..dw.positions() {
                let dw = dw.row_mut(lane);
                for (tap, sums) in sums.chunks_exact(channels * width).enumerate() {
                    let sums = sums[lane..].iter().step_by(width);
                    dw[tap..].iter_mut().step_by(taps).zip(sums).for_each(|(dw, sum)| *dw += sum);
                }
            }
        });
    }
}

/// A chunk of positions, made ready for the micro-kernels.
#[derive(Default)]
struct Chunk {
    /// The positions in the output map.
    outputs: Vec<usize>,
    /// The addresses they read, `[taps][positions]`.
    rows: Vec<*const f32>,
    /// One panel of the output gradient, `[positions][width]`.
    panel: Vec<f32>,
    zeros: Vec<f32>,
}

impl Chunk {
    fn locate(&mut self, grid: &Grid, x: MapRef, place: &mut Place, count: usize) {
        self.outputs.resize(count, 0);
        self.rows.resize(grid.taps() * count, std::ptr::null());
        self.zeros.resize(grid.channels().max(self.zeros.len()), 0.0);
        grid.locate(x, &self.zeros, place, count, &mut self.outputs, &mut self.rows);
    }

    fn copy_panel(&mut self, dy: MapRef, panels: &Panels, panel: usize) {
        let (columns, width) = (panels.columns(panel..panel + 1), panels.width(panel));
        self.panel.resize(self.outputs.len() * width, 0.0);
        match if columns.len() == width { width } else { 0 } {
            8 => self.copy_columns::<8>(dy, columns.start),
            16 => self.copy_columns::<16>(dy, columns.start),
            32 => self.copy_columns::<32>(dy, columns.start),
            _ => {
                for (&position, copy) in self.outputs.iter().zip(self.panel.chunks_exact_mut(width)) {
                    let row = &dy.row(position)[columns.clone()];
                    copy[..row.len()].copy_from_slice(row);
                    copy[row.len()..].fill(0.0);
                }
            }
        }
    }

    /// Copies `N` columns: moves of a known size instead of a call a row.
    fn copy_columns<const N: usize>(&mut self, dy: MapRef, start: usize) {
        let (copies, _) = self.panel.as_chunks_mut::<N>();
        for (&position, copy) in self.outputs.iter().zip(copies) {
            copy.copy_from_slice(&dy.row(position)[start..][..N]);
        }
    }
}

thread_local! {
    static CHUNK: Cell<Chunk> = Cell::default();
}
