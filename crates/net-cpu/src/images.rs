use crate::NetError;
use cpu_kernels::{Isa, MapMut, convert};
use net_graph::Shape;

/// A batch of images as it comes in.
#[derive(Debug, Clone, Copy)]
pub enum Images<'a> {
    /// `[B, C, H, W]` floats, as the graph's input node expects them.
    Nchw(&'a [f32]),
    /// `[B, H, W, 3]` RGB bytes; the graph's input node gets them divided by 255.
    Rgb8(&'a [u8]),
}

impl Images<'_> {
    /// Checks the number of values against the plan's input.
    pub(crate) fn check(&self, shape: Shape) -> Result<(), NetError> {
        let got = match self {
            Images::Nchw(values) => values.len(),
            Images::Rgb8(bytes) => bytes.len(),
        };
        let Shape { batch, channels, height, width } = shape;
        let right_channels = matches!(self, Images::Nchw(_)) || channels == 3;
        if got == shape.len() && right_channels {
            return Ok(());
        }
        Err(NetError::ImageLength { expected: shape.len(), batch, channels, height, width, got })
    }

    /// Writes the batch as an NHWC map, times `scale` plus `shift` by channel where given.
    pub(crate) fn convert(
        &self,
        isa: Isa,
        shape: Shape,
        affine: Option<(&[f32], &[f32])>,
        y: &mut MapMut<'_>,
    ) {
        match self {
            Images::Nchw(x) => convert::nchw_to_nhwc(
                isa,
                x,
                shape.batch,
                shape.channels,
                shape.height,
                shape.width,
                affine,
                y,
            ),
            Images::Rgb8(x) => {
                let (scale, shift) = affine.unwrap_or((&[1.0; 3], &[0.0; 3]));
                let scale = std::array::from_fn(|c| scale[c] / 255.0);
                convert::rgb8_to_nhwc(isa, x, scale, std::array::from_fn(|c| shift[c]), y);
            }
        }
    }
}
