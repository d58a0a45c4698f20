//! What follows the sums of a convolution in inference, with the values that it owns.

use std::ops::Range;

use super::Fused;
use crate::{Activation, MapRef, Precision, depthwise};

/// What follows the sums of a convolution.
#[derive(Debug, Clone)]
pub struct Finish {
    /// One value a channel.
    pub bias: Vec<f32>,
    /// Applied after the bias.
    pub activation: Activation,
    /// What the results are rounded to.
    pub precision: Precision,
}

impl Finish {
    /// The same, for a dense convolution with a gate and a residual.
    pub fn fused<'a>(&'a self, gate: Option<MapRef<'a>>, residual: Option<MapRef<'a>>) -> Fused<'a> {
        let Finish { bias, activation, precision } = self;
        Fused { gate, bias: Some(bias), activation: *activation, residual, precision: *precision }
    }

    /// The same, for some channels of a depthwise convolution.
    pub fn epilogue(&self, channels: Range<usize>) -> depthwise::Epilogue<'_> {
        let Finish { bias, activation, precision } = self;
        depthwise::Epilogue { bias: Some(&bias[channels]), activation: *activation, precision: *precision }
    }
}
