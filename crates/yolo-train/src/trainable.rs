//! What the training loop asks of a network.

use crate::TrainError;
use box_geometry::Size;
use net_cpu::{Images, Params};

/// Images that go through a network together.
#[derive(Debug, Clone, Copy)]
pub struct ImageBatch<'a> {
    /// The pixels.
    pub images: Images<'a>,
    /// Number of images.
    pub count: usize,
    /// Their size, a multiple of the coarsest stride in both axes.
    pub size: Size,
}

/// Raw logits of a detection head, or their gradient. The A anchor points are those of all levels, fine to coarse,
/// each row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadLogits {
    /// Distributions over bins `[B, A, 4 * R]`: left, top, right, bottom.
    pub boxes: Vec<f32>,
    /// Class logits `[B, A, K]`.
    pub classes: Vec<f32>,
}

/// A network that can be trained: images in and logits out, gradients of the logits in and gradients of the
/// parameters out.
pub trait Trainable {
    /// The head's logits with batch statistics; updates the running statistics. `uniform` gives numbers in `[0, 1)` to
    /// random layers.
    ///
    /// # Errors
    /// When the images do not suit the network.
    fn forward(
        &mut self,
        batch: ImageBatch<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<HeadLogits, TrainError>;

    /// Adds the gradient of every trained parameter to `gradients`, which is laid out as [`Params::trained`] is.
    /// Belongs to the last forward pass; parameters must not have changed since.
    ///
    /// # Panics
    /// Without a forward pass, or when the gradient has another shape than its logits.
    fn backward(&mut self, gradient: &HeadLogits, gradients: &mut [f32]);

    /// The parameters.
    fn params(&self) -> &Params;

    /// The parameters, to change them between a backward and the next forward pass.
    fn params_mut(&mut self) -> &mut Params;
}
