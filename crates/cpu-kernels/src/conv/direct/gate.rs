//! Rows of a map times the factors of their image, copied to where a product reads them.

use std::ops::Range;

use crate::vector::{Kernel, Level, PerVector, Vector, over_channels, run_kernel};
use crate::{Isa, MapRef};

/// Factors that the input of a pointwise convolution is multiplied by.
#[derive(Debug, Clone, Copy)]
pub(in crate::conv) struct Gate<'a> {
    pub(in crate::conv) isa: Isa,
    /// A row an image.
    pub(in crate::conv) factors: MapRef<'a>,
    /// Positions of an image.
    pub(in crate::conv) area: usize,
}

impl Gate<'_> {
    /// Multiplies the rows of `x` at `positions` into `buffer`, one after the other.
    pub(super) fn apply(&self, x: MapRef, positions: Range<usize>, buffer: &mut Vec<f32>) {
        assert_eq!(x.channels(), self.factors.channels(), "channels of the gate");
        buffer.resize(buffer.len().max(positions.len() * x.channels()), 0.0);
        // SAFETY: the kernel works on slices of equal lengths.
        unsafe { run_kernel(self.isa, Scale { gate: self, x, positions, to: buffer }) };
    }
}

struct Scale<'a> {
    gate: &'a Gate<'a>,
    x: MapRef<'a>,
    positions: Range<usize>,
    to: &'a mut [f32],
}

impl Kernel for Scale<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Gate { factors, area, .. } = *self.gate;
        for (position, to) in self.positions.zip(self.to.chunks_exact_mut(self.x.channels())) {
            let mut row = ScaleRow { from: self.x.row(position), factors: factors.row(position / area), to };
            // SAFETY: the slices have as many values as there are channels.
            unsafe { over_channels::<L>(0..self.x.channels(), &mut row) }
        }
    }
}

struct ScaleRow<'a> {
    from: &'a [f32],
    factors: &'a [f32],
    to: &'a mut [f32],
}

impl PerVector for ScaleRow<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, channel: usize) {
        // SAFETY: passed on to the caller.
        unsafe {
            let factor = V::load(self.factors.as_ptr().add(channel));
            let value = V::load(self.from.as_ptr().add(channel)).mul(factor);
            value.store(self.to.as_mut_ptr().add(channel));
        }
    }
}
