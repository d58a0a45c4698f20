//! The weight by point.

use super::{INPUTS, POINTS, TAPS, transform};
use crate::conv::micro::{MAX_WIDTH, MicroKernels};
use crate::conv::panels::Panels;
use crate::vector::{Kernel, Level, Vector, run_kernel};
use crate::{Isa, parallel};

/// A weight `[O, I, 3, 3]` as `G w G^T`: `[panel][point][channel][column of the panel]`, padded with zeros.
///
/// Columns are output channels and channels are input channels; the other way around, with flipped taps, in a weight
/// that is made for the gradient of the input.
#[derive(Debug)]
pub(in crate::conv) struct Weight {
    pub(super) kernels: &'static MicroKernels,
    pub(super) isa: Isa,
    pub(super) panels: Panels,
    pub(super) channels: usize,
    flipped: bool,
    pub(in crate::conv) data: Vec<f32>,
}

impl Weight {
    /// Transforms a weight.
    pub(in crate::conv) fn new(
        kernels: &'static MicroKernels,
        isa: Isa,
        weight_oihw: &[f32],
        [outputs, inputs]: [usize; 2],
        flipped: bool,
    ) -> Self {
        let (columns, channels) = if flipped { (inputs, outputs) } else { (outputs, inputs) };
        let panels = Panels::new(columns, kernels);
        let data = vec![0.0; POINTS * channels * panels.total_width()];
        let mut weight = Weight { kernels, isa, panels, channels, flipped, data };
        weight.repack(weight_oihw);
        weight
    }

    /// Takes new values of the same shape. Allocates nothing.
    pub(in crate::conv) fn repack(&mut self, weight_oihw: &[f32]) {
        let Weight { isa, panels, channels, flipped, .. } = *self;
        assert_eq!(weight_oihw.len(), channels * panels.columns * TAPS * TAPS, "weight of 3x3 taps");
        let chunk = POINTS * channels * panels.full_width();
        parallel::run_on_chunks(&mut self.data, chunk, |panel, to| {
            let (start, width) = (panels.start(panel), panels.width(panel));
            let columns = panels.columns(panel..panel + 1).len();
            let task = PackPanel {
                weight: weight_oihw,
                panels: &panels,
                start,
                columns,
                width,
                channels,
                flipped,
                to,
            };
            // SAFETY: the kernel works on slices alone.
            unsafe { run_kernel(isa, task) }
        });
    }

    /// A weight of the same shape of the given transformed values.
    pub(in crate::conv) fn with_data(&self, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), self.data.len(), "transformed values");
        Weight { data, ..*self }
    }

    /// The values of a panel at a point, `[channel][column of the panel]`.
    pub(super) fn at(&self, panel: usize, point: usize) -> &[f32] {
        let len = self.channels * self.panels.width(panel);
        &self.data[self.panels.start(panel) * POINTS * self.channels + point * len..][..len]
    }

    /// Columns and channels.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.panels.columns, self.channels]
    }
}

/// Transforms one panel.
struct PackPanel<'a> {
    weight: &'a [f32],
    panels: &'a Panels,
    start: usize,
    columns: usize,
    width: usize,
    channels: usize,
    flipped: bool,
    to: &'a mut [f32],
}

impl PackPanel<'_> {
    /// The taps of a column and a channel.
    #[inline(always)]
    fn taps(&self, column: usize, channel: usize) -> [f32; TAPS * TAPS] {
        let pair = if self.flipped {
            channel * self.panels.columns + column
        } else {
            column * self.channels + channel
        };
        let mut taps: [f32; TAPS * TAPS] =
            self.weight[pair * TAPS * TAPS..][..TAPS * TAPS].try_into().expect("as many as asked for");
        if self.flipped {
            taps.reverse();
        }
        taps
    }
}

impl Kernel for PackPanel<'_> {
    #[inline(always)]
    unsafe fn run<L: Level>(self) {
        let (width, channels) = (self.width, self.channels);
        for channel in 0..channels {
            let mut lanes = [[0.0; MAX_WIDTH]; TAPS * TAPS];
            for column in 0..self.columns {
                for (lane, tap) in lanes.iter_mut().zip(self.taps(self.start + column, channel)) {
                    lane[column] = tap;
                }
            }
            for column in (0..width).step_by(L::Narrow::LANES) {
                // SAFETY: the widths of panels are multiples of the narrow vector's lanes; loads and stores stay inside
                // `lanes` and, as bounds are checked, inside `to`.
                unsafe {
                    let taps: [[L::Narrow; TAPS]; TAPS] = std::array::from_fn(|row| {
                        std::array::from_fn(|tap| L::Narrow::load(lanes[row * TAPS + tap][column..].as_ptr()))
                    });
                    let half: [[L::Narrow; INPUTS]; TAPS] =
                        std::array::from_fn(|row| transform::taps(taps[row]));
                    for along in 0..INPUTS {
                        let values = transform::taps(std::array::from_fn(|row| half[row][along]));
                        for (row, value) in values.into_iter().enumerate() {
                            let at = ((row * INPUTS + along) * channels + channel) * width + column;
                            let to = &mut self.to[at..at + L::Narrow::LANES];
                            value.store(to.as_mut_ptr());
                        }
                    }
                }
            }
        }
    }
}
