//! What the training loop asks of a network and of what it learns.

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
    /// Their size; for a detector a multiple of the coarsest stride in both axes.
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
    /// What the network computes, and what the gradient of a loss is given for.
    type Logits;

    /// The logits with batch statistics; updates the running statistics. `uniform` gives numbers in `[0, 1)` to
    /// random layers.
    ///
    /// # Errors
    /// When the images do not suit the network.
    fn forward(
        &mut self,
        batch: ImageBatch<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Self::Logits, TrainError>;

    /// Adds the gradient of every trained parameter to `gradients`, which is laid out as [`Params::trained`] is.
    /// Belongs to the last forward pass; parameters must not have changed since.
    ///
    /// # Panics
    /// Without a forward pass, or when the gradient has another shape than its logits.
    fn backward(&mut self, gradient: &Self::Logits, gradients: &mut [f32]);

    /// From the next forward pass on, the parameters whose names begin with one of the prefixes, and no others, get no
    /// gradient, and a batch norm among them uses its running statistics and leaves them as they are.
    fn freeze(&mut self, frozen: Vec<String>);

    /// The parameters.
    fn params(&self) -> &Params;

    /// The parameters, to change them between a backward and the next forward pass.
    fn params_mut(&mut self) -> &mut Params;

    /// Bytes that activations and their gradients take at present.
    fn activation_bytes(&self) -> usize;
}

/// A loss over a network's logits.
pub trait Objective {
    /// What the network computes.
    type Logits;
    /// What it should have computed.
    type Targets;
    /// The loss and its parts.
    type Value;

    /// The loss of a batch of images of that size, and the gradient of its total.
    ///
    /// # Errors
    /// When logits and targets do not suit each other.
    fn value_and_gradient(
        &self,
        logits: &Self::Logits,
        size: Size,
        targets: &Self::Targets,
    ) -> Result<(Self::Value, Self::Logits), TrainError>;

    /// What the gradient belongs to.
    fn total(value: &Self::Value) -> f64;
}
