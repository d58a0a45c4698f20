//! The values of some tiles by point, and the transforms between them and the maps.

use std::cell::Cell;
use std::ops::Range;

use super::tiles::{Patch, Tiles};
use super::{INPUTS, OUTPUTS, POINTS, transform};
use crate::activation::{activate_vector, for_constant};
use crate::conv::Fused;
use crate::conv::micro::MicroKernels;
use crate::conv::panels::Panels;
use crate::map::Arena;
use crate::scratch;
use crate::vector::{Kernel, Level, PerVector, Several, Vector, in_precision, over_channels};
use crate::{MapMut, MapRef, Region};

/// Values of the points of a block of tiles: as many as leave the second-level cache room for weights.
const BLOCK_VALUES: usize = 64 * 1024;

thread_local! {
    static ARENA: Cell<Arena> = Cell::default();
}

/// How many tiles are worked on together, for the channels that their points have.
pub(super) fn tiles_a_block(kernels: &MicroKernels, channels: usize) -> usize {
    let rows = kernels.rows();
    let few = 24usize.next_multiple_of(rows);
    (BLOCK_VALUES / (POINTS * channels)).next_multiple_of(rows).clamp(few, 2 * few)
}

/// How many panels are worked on together for a block of `tiles`.
pub(super) fn panels_a_block(panels: &Panels, tiles: usize) -> usize {
    (BLOCK_VALUES / (POINTS * tiles * panels.full_width())).max(1)
}

/// Values by point of a block of tiles: `[point][tile][width]`, with room between the points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points {
    start: *mut f32,
    /// Values from point to point.
    step: usize,
    /// Tiles that fit.
    tiles: usize,
    /// Values from tile to tile.
    width: usize,
}

impl Points {
    /// Values from point to point: one line more than needed, so that the points of a tile do not meet in the few
    /// places that a cache has for addresses a power of two apart.
    fn step(tiles: usize, width: usize) -> usize {
        (tiles * width).next_multiple_of(16) + 16
    }

    /// Lends the points of `tiles` tiles with rows of each of `widths`, in memory that the thread keeps.
    pub(super) fn lend<const N: usize>(tiles: usize, widths: [usize; N], work: impl FnOnce([Points; N])) {
        scratch::with(&ARENA, |arena| work(Points::lay_out(arena, tiles, widths)));
    }

    fn lay_out<const N: usize>(arena: &mut Arena, tiles: usize, widths: [usize; N]) -> [Points; N] {
        let lens = widths.map(|width| POINTS * Points::step(tiles, width));
        let total = lens.iter().sum();
        if arena.len() < total {
            *arena = Arena::new(total);
        }
        let ([], [whole]) = arena.borrow([], [Region::dense(0, 1, total)]);
        let mut offset = 0;
        std::array::from_fn(|index| {
            let start = whole.as_mut_ptr().wrapping_add(offset);
            offset += lens[index];
            Points { start, step: Points::step(tiles, widths[index]), tiles, width: widths[index] }
        })
    }

    /// The address of a tile's row at a point.
    #[inline(always)]
    pub(super) fn row(&self, point: usize, tile: usize) -> *mut f32 {
        debug_assert!(point < POINTS && tile < self.tiles);
        self.start.wrapping_add(point * self.step + tile * self.width)
    }
}

/// `points[p][tile] = (B^T x B)[p]` for a range of tiles.
pub(super) struct FromInputs<'a> {
    pub(super) x: MapRef<'a>,
    pub(super) tiles: &'a Tiles,
    pub(super) range: Range<usize>,
    pub(super) points: Points,
}

impl Kernel for FromInputs<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let FromInputs { x, tiles, range, points } = self;
        for (index, tile) in range.enumerate() {
            let patch = tiles.inputs(tile);
            // SAFETY: the caller's promise: the map is that of the tiles, and the points have rows of its channels.
            unsafe {
                if patch.is_whole(INPUTS) {
                    over_channels::<L>(0..x.channels(), &mut InputTile::<true> { x, patch, points, index });
                } else {
                    over_channels::<L>(0..x.channels(), &mut InputTile::<false> { x, patch, points, index });
                }
            }
        }
    }
}

/// Inputs of one tile; `WHOLE`: all its positions exist.
struct InputTile<'a, const WHOLE: bool> {
    x: MapRef<'a>,
    patch: Patch,
    points: Points,
    index: usize,
}

impl<const WHOLE: bool> PerVector for InputTile<'_, WHOLE> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        let InputTile { x, ref patch, points, index } = *self;
        // SAFETY: only cells that exist are read; the points have a row of as many channels for this tile.
        unsafe {
            let mut half = [[V::splat(0.0); INPUTS]; INPUTS];
            for column in 0..INPUTS {
                let mut values = [V::splat(0.0); INPUTS];
                for row in 0..INPUTS {
                    if WHOLE || patch.has(row, column) {
                        let offset = patch.offset(row, column, x.stride());
                        values[row] = V::load(x.as_ptr().wrapping_offset(offset).wrapping_add(channel));
                    }
                }
                let values = transform::inputs(values);
                for row in 0..INPUTS {
                    half[row][column] = values[row];
                }
            }
            for row in 0..INPUTS {
                let values = transform::inputs(half[row]);
                for column in 0..INPUTS {
                    values[column].store(points.row(row * INPUTS + column, index).add(channel));
                }
            }
        }
    }
}

/// What happens to the outputs: `y = round(activation(sum + bias) + residual)`, or `y += sum`.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) fused: Fused<'a>,
    pub(super) accumulate: bool,
}

/// `y = finish(A^T points[..][tile] A)` for a range of tiles and of channels; the points have rows of these channels.
pub(super) struct ToOutputs<'a> {
    pub(super) points: Points,
    pub(super) tiles: &'a Tiles,
    pub(super) range: Range<usize>,
    pub(super) channels: Range<usize>,
    pub(super) finish: Finish<'a>,
    pub(super) y: &'a MapMut<'a>,
}

impl Kernel for ToOutputs<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let ToOutputs { points, tiles, range, channels, finish, y } = self;
        for (index, tile) in range.enumerate() {
            let mut work =
                OutputTile { points, index, first: channels.start, patch: tiles.outputs(tile), finish, y };
            // SAFETY: the caller's promise: the map is that of the tiles, and these outputs are ours alone.
            unsafe { over_channels::<L>(channels.clone(), &mut work) }
        }
    }
}

/// Outputs of one tile.
struct OutputTile<'a> {
    points: Points,
    index: usize,
    /// The channel at the start of the points' rows.
    first: usize,
    patch: Patch,
    finish: Finish<'a>,
    y: &'a MapMut<'a>,
}

impl PerVector for OutputTile<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // SAFETY: the caller's promise; only cells that exist are read and written.
        unsafe {
            let mut half = [[V::splat(0.0); INPUTS]; OUTPUTS];
            for column in 0..INPUTS {
                let values = std::array::from_fn(|row| {
                    V::load(self.points.row(row * INPUTS + column, self.index).add(channel - self.first))
                });
                let values = transform::outputs(values);
                for row in 0..OUTPUTS {
                    half[row][column] = values[row];
                }
            }
            let Finish { fused, accumulate } = self.finish;
            let bias = fused.bias.map_or(V::splat(0.0), |bias| V::load(bias.as_ptr().add(channel)));
            for_constant!(fused.activation, A => for row in 0..OUTPUTS {
                let values = transform::outputs(half[row]);
                let Several(values) = activate_vector(A, Several(values).add(Several([bias; OUTPUTS])));
                for column in 0..OUTPUTS {
                    if !self.patch.has(row, column) {
                        continue;
                    }
                    let at = |stride: usize| {
                        self.patch.offset(row, column, stride).wrapping_add_unsigned(channel)
                    };
                    let y = self.y.as_mut_ptr().offset(at(self.y.stride()));
                    let mut value = values[column];
                    if let Some(residual) = fused.residual {
                        value = value.add(V::load(residual.as_ptr().offset(at(residual.stride()))));
                    }
                    if accumulate {
                        value = value.add(V::load(y));
                    }
                    in_precision(fused.precision, value).store(y);
                }
            });
        }
    }
}

/// `gradients[p][panel][tile] = (A dy A^T)[p]` for a range of tiles and of panels; the points have rows of all these
/// panels, and hold them panel after panel: `[point][panel][tile][column of the panel]`.
pub(super) struct FromOutputGradients<'a> {
    pub(super) dy: MapRef<'a>,
    pub(super) tiles: &'a Tiles,
    pub(super) range: Range<usize>,
    pub(super) panels: &'a Panels,
    pub(super) chosen: Range<usize>,
    pub(super) points: Points,
}

impl FromOutputGradients<'_> {
    /// The address of a tile's row of a panel at a point, where the panels in the points start with `first`.
    #[inline(always)]
    pub(super) fn row(
        points: &Points,
        panels: &Panels,
        first: usize,
        count: usize,
        panel: usize,
        point: usize,
        tile: usize,
    ) -> *mut f32 {
        let before = (panels.start(panel) - panels.start(first)) * count;
        points.row(point, 0).wrapping_add(before + tile * panels.width(panel))
    }
}

impl Kernel for FromOutputGradients<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let FromOutputGradients { dy, tiles, range, panels, chosen, points } = self;
        let count = range.len();
        for (index, tile) in range.enumerate() {
            for panel in chosen.clone() {
                let columns = panels.columns(panel..panel + 1);
                let row = |point| Self::row(&points, panels, chosen.start, count, panel, point, index);
                if columns.len() < panels.width(panel) {
                    for point in 0..POINTS {
                        // SAFETY: the row is part of the points.
                        unsafe { std::slice::from_raw_parts_mut(row(point), panels.width(panel)).fill(0.0) };
                    }
                }
                let mut work = GradientTile {
                    dy,
                    patch: tiles.outputs(tile),
                    first: columns.start,
                    start: row(0),
                    step: points.step,
                };
                // SAFETY: the caller's promise: the map is that of the tiles, the points have room.
                unsafe { over_channels::<L>(columns, &mut work) }
            }
        }
    }
}

/// Gradients of the outputs of one tile.
struct GradientTile<'a> {
    dy: MapRef<'a>,
    patch: Patch,
    /// The channel at `start`.
    first: usize,
    start: *mut f32,
    step: usize,
}

impl PerVector for GradientTile<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // SAFETY: the caller's promise; only cells that exist are read.
        unsafe {
            let mut half = [[V::splat(0.0); OUTPUTS]; INPUTS];
            for column in 0..OUTPUTS {
                let mut values = [V::splat(0.0); OUTPUTS];
                for row in 0..OUTPUTS {
                    if self.patch.has(row, column) {
                        let offset = self.patch.offset(row, column, self.dy.stride());
                        values[row] = V::load(self.dy.as_ptr().offset(offset).add(channel));
                    }
                }
                let values = transform::output_gradients(values);
                for row in 0..INPUTS {
                    half[row][column] = values[row];
                }
            }
            let to = self.start.add(channel - self.first);
            for row in 0..INPUTS {
                let values = transform::output_gradients(half[row]);
                for column in 0..INPUTS {
                    values[column].store(to.add((row * INPUTS + column) * self.step));
                }
            }
        }
    }
}
