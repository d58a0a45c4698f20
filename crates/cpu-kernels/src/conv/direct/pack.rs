//! Weights in the order in which the micro-kernels read them.

use std::ops::Range;
use std::sync::Arc;

use super::grid::{MAX_KERNEL, phase_taps};
use crate::Isa;
use crate::conv::micro::MicroKernels;
use crate::conv::panels::Panels;

/// A weight `[O, I, k, k]` with the sizes it was made for.
#[derive(Debug, Clone, Copy)]
struct Shape {
    out_channels: usize,
    in_channels: usize,
    kernel: usize,
}

impl Shape {
    fn check(&self, weight_oihw: &[f32]) {
        let Shape { out_channels: o, in_channels: i, kernel: k } = *self;
        assert!((1..=MAX_KERNEL).contains(&k), "kernel side {k}: at most {MAX_KERNEL}");
        assert_eq!(weight_oihw.len(), o * i * k * k, "weight [{o}, {i}, {k}, {k}]");
    }
}

/// The weight of a convolution, packed for [`forward`](super::forward).
///
/// `[panel][ky][kx][in channel][out channel of the panel]`, padded with zeros to whole vectors.
#[derive(Debug)]
pub(in crate::conv) struct Weight {
    pub(in crate::conv) kernels: &'static MicroKernels,
    pub(in crate::conv) isa: Isa,
    pub(in crate::conv) panels: Panels,
    pub(in crate::conv) data: Vec<f32>,
    /// What padding reads: as many zeros as a kernel row has values.
    pub(in crate::conv) zeros: Arc<[f32]>,
    shape: Shape,
}

impl Weight {
    /// Packs a weight `[O, I, k, k]`.
    pub(in crate::conv) fn new(
        kernels: &'static MicroKernels,
        isa: Isa,
        weight_oihw: &[f32],
        out_channels: usize,
        in_channels: usize,
        kernel: usize,
    ) -> Self {
        let shape = Shape { out_channels, in_channels, kernel };
        let panels = Panels::new(shape.out_channels, kernels);
        let depth = shape.in_channels * shape.kernel * shape.kernel;
        let data = vec![0.0; depth * panels.total_width()];
        let zeros = vec![0.0; shape.kernel * shape.in_channels].into();
        let mut packed = Weight { kernels, isa, panels, data, zeros, shape };
        packed.repack(weight_oihw);
        packed
    }

    /// Takes new values of the same shape. Allocates nothing.
    pub(in crate::conv) fn repack(&mut self, weight_oihw: &[f32]) {
        self.shape.check(weight_oihw);
        let Shape { in_channels, kernel, .. } = self.shape;
        let (taps, depth) = (kernel * kernel, in_channels * kernel * kernel);
        pack(&mut self.data, &self.panels, depth, |row, column| {
            let (tap, channel) = (row / in_channels, row % in_channels);
            weight_oihw[column * depth + channel * taps + tap]
        });
    }

    /// A weight of the same shape of the given packed values.
    pub(in crate::conv) fn with_data(&self, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), self.data.len(), "packed values");
        Weight { data, zeros: self.zeros.clone(), ..*self }
    }

    /// Output and input channels and the kernel side.
    pub(in crate::conv) fn sizes(&self) -> [usize; 3] {
        [self.shape.out_channels, self.shape.in_channels, self.shape.kernel]
    }
}

/// The weight of a convolution, packed for [`backward_data`](super::backward_data).
///
/// With stride `s` the input positions fall into `s * s` phases (their rests when divided by `s`) that meet different
/// taps; phase after phase, each as `[panel][tap][out channel][in channel of the panel]`.
#[derive(Debug)]
pub(in crate::conv) struct Transposed {
    pub(in crate::conv) kernels: &'static MicroKernels,
    pub(in crate::conv) isa: Isa,
    pub(in crate::conv) panels: Panels,
    pub(in crate::conv) data: Vec<f32>,
    /// What padding reads: as many zeros as there are output channels.
    pub(in crate::conv) zeros: Arc<[f32]>,
    shape: Shape,
    stride: usize,
    pads: [usize; 2],
}

impl Transposed {
    /// Packs a weight `[O, I, k, k]` for windows with this stride and padding.
    pub(in crate::conv) fn new(
        kernels: &'static MicroKernels,
        isa: Isa,
        weight_oihw: &[f32],
        out_channels: usize,
        in_channels: usize,
        kernel: usize,
        stride: usize,
        pads: [usize; 2],
    ) -> Self {
        let shape = Shape { out_channels, in_channels, kernel };
        let panels = Panels::new(shape.in_channels, kernels);
        let depth = shape.out_channels * shape.kernel * shape.kernel;
        let data = vec![0.0; depth * panels.total_width()];
        let zeros = vec![0.0; shape.out_channels].into();
        let mut packed = Transposed { kernels, isa, panels, data, zeros, shape, stride, pads };
        packed.repack(weight_oihw);
        packed
    }

    /// Takes new values of the same shape. Allocates nothing.
    pub(in crate::conv) fn repack(&mut self, weight_oihw: &[f32]) {
        self.shape.check(weight_oihw);
        let Shape { out_channels, in_channels, kernel } = self.shape;
        for [y, x] in phases(self.stride) {
            let range = self.range([y, x]);
            let (tops, lefts) = (self.taps(0, y), self.taps(1, x));
            let depth = tops.clone().count() * lefts.clone().count() * out_channels;
            let taps: [usize; super::grid::MAX_TAPS] = cells(tops, lefts, kernel);
            pack(&mut self.data[range], &self.panels, depth, |row, column| {
                let (tap, channel) = (taps[row / out_channels], row % out_channels);
                weight_oihw[(channel * in_channels + column) * kernel * kernel + tap]
            });
        }
    }

    /// A weight of the same shape of the given packed values.
    pub(in crate::conv) fn with_data(&self, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), self.data.len(), "packed values");
        Transposed { data, zeros: self.zeros.clone(), ..*self }
    }

    /// The kernel cells along an axis (0: y, 1: x) that a phase meets.
    fn taps(&self, axis: usize, phase: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        phase_taps(phase, self.shape.kernel, self.stride, self.pads[axis])
    }

    /// Where the values of a phase lie.
    pub(in crate::conv) fn range(&self, phase: [usize; 2]) -> Range<usize> {
        let len = |[y, x]: [usize; 2]| {
            self.taps(0, y).count()
                * self.taps(1, x).count()
                * self.shape.out_channels
                * self.panels.total_width()
        };
        let start = phases(self.stride).take_while(|other| *other != phase).map(len).sum();
        start..start + len(phase)
    }

    /// Output and input channels, the kernel side, the stride, padding above and to the left.
    pub(in crate::conv) fn sizes(&self) -> [usize; 6] {
        let Shape { out_channels, in_channels, kernel } = self.shape;
        [out_channels, in_channels, kernel, self.stride, self.pads[0], self.pads[1]]
    }
}

/// The phases `(y, x)` of a stride.
pub(in crate::conv) fn phases(stride: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..stride * stride).map(move |phase| [phase / stride, phase % stride])
}

/// The kernel cells `ky * k + kx` of a set of rows and a set of columns.
fn cells<const N: usize>(
    rows: impl Iterator<Item = usize>,
    columns: impl Iterator<Item = usize> + Clone,
    kernel: usize,
) -> [usize; N] {
    let mut cells = [0; N];
    let all = rows.flat_map(|ky| columns.clone().map(move |kx| ky * kernel + kx));
    cells.iter_mut().zip(all).for_each(|(cell, tap)| *cell = tap);
    cells
}

/// Writes a matrix of `depth` rows, given by `value(row, column)`, panel after panel.
fn pack(data: &mut [f32], panels: &Panels, depth: usize, value: impl Fn(usize, usize) -> f32) {
    for panel in 0..panels.count() {
        let (start, width) = (panels.start(panel), panels.width(panel));
        let rows = data[start * depth..][..width * depth].chunks_exact_mut(width);
        for (row, packed) in rows.enumerate() {
            for (lane, packed) in packed.iter_mut().enumerate() {
                let column = start + lane;
                *packed = if column < panels.columns { value(row, column) } else { 0.0 };
            }
        }
    }
}
