//! Rows of a map times the factors of their image, copied to where a product reads them.

use std::ops::Range;

use crate::conv::Fused;
use crate::vector::{Kernel, Level, PerVector, Vector, over_channels, run_kernel};
use crate::{Isa, MapRef, Window, scratch};

/// Factors that the input of a pointwise convolution is multiplied by.
#[derive(Debug, Clone, Copy)]
pub(in crate::conv) struct Gate<'a> {
    pub(in crate::conv) isa: Isa,
    /// A row an image.
    pub(in crate::conv) factors: MapRef<'a>,
    /// Positions of an image.
    pub(in crate::conv) area: usize,
}

impl<'a> Gate<'a> {
    /// The gate of a convolution, if one is fused to it.
    ///
    /// # Panics
    /// When the convolution is not pointwise.
    pub(in crate::conv) fn of(isa: Isa, fused: &Fused<'a>, window: &Window) -> Option<Self> {
        let factors = fused.gate?;
        assert!(window.is_pointwise(), "only a pointwise convolution takes a gate");
        Some(Gate { isa, factors, area: window.out_height * window.out_width })
    }

    /// Multiplies channels of the rows of `x` at `positions` into `buffer`, one after the other.
    pub(super) fn scale_rows(
        &self,
        x: MapRef,
        positions: &Range<usize>,
        channels: &Range<usize>,
        buffer: &mut Vec<f32>,
    ) {
        assert_eq!(x.channels(), self.factors.channels(), "channels of the gate");
        let to = scratch::at_least(buffer, positions.len() * channels.len());
        // SAFETY: the kernel works on slices of equal lengths.
        unsafe { run_kernel(self.isa, ScaleRows { gate: self, x, positions, channels, to }) };
    }

    /// Multiplies packed weights, one row a channel, by the factors of these channels of the image of a position.
    pub(super) fn scale_weights(
        &self,
        position: usize,
        channels: &Range<usize>,
        weights: &[f32],
        to: &mut [f32],
    ) {
        assert_eq!(weights.len(), to.len(), "gated weights");
        let factors = &self.factors.row(position / self.area)[channels.clone()];
        let width = weights.len() / factors.len().max(1);
        assert_eq!(width * factors.len(), weights.len(), "one row of weights a channel");
        // SAFETY: the kernel works on rows within the slices.
        unsafe { run_kernel(self.isa, ScaleWeights { factors, weights, to, width }) };
    }
}

struct ScaleRows<'a> {
    gate: &'a Gate<'a>,
    x: MapRef<'a>,
    positions: &'a Range<usize>,
    channels: &'a Range<usize>,
    to: &'a mut [f32],
}

impl Kernel for ScaleRows<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let Gate { factors, area, .. } = *self.gate;
        let channels = || self.channels.clone();
        for (position, to) in self.positions.clone().zip(self.to.chunks_exact_mut(self.channels.len())) {
            let (from, factors) = (self.x.row(position), factors.row(position / area));
            let mut row = ScaleRow { from: &from[channels()], factors: &factors[channels()], to };
            // SAFETY: the slices have as many values as there are channels.
            unsafe { over_channels::<L>(0..self.channels.len(), &mut row) }
        }
    }
}

struct ScaleWeights<'a> {
    factors: &'a [f32],
    weights: &'a [f32],
    to: &'a mut [f32],
    /// Values of a row.
    width: usize,
}

impl Kernel for ScaleWeights<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(mut self) {
        // SAFETY: the values are those of a row.
        unsafe { over_channels::<L>(0..self.width, &mut self) }
    }
}

impl PerVector for ScaleWeights<'_> {
    #[inline(always)]
    unsafe fn at<V: Vector>(&mut self, value: usize) {
        for (row, factor) in self.factors.iter().enumerate() {
            let at = row * self.width + value;
            // SAFETY: the rows exist, and the vector ends within each.
            unsafe {
                V::load(self.weights.as_ptr().add(at))
                    .mul(V::splat(*factor))
                    .store(self.to.as_mut_ptr().add(at))
            };
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
