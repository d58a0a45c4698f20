use super::checkpoint::Checkpoint;
use super::features::builder;
use super::{EfficientNetError, Mode, unseeded};
use crate::{Classifier, EfficientNetConfig};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use net_candle::{CandleNet, CandleNetError, FixedNet};
use net_graph::{Builder, Graph, NodeId};
use std::path::Path;

/// A whole EfficientNet: stem, blocks, head convolution, pooling and classifier.
#[derive(Debug)]
pub struct EfficientNetClassifier {
    net: CandleNet,
    nodes: Classifier,
    levels: Vec<NodeId>,
    expansions: Vec<NodeId>,
}

impl EfficientNetClassifier {
    /// A network with `classes` outputs over the variables of `vb`; all else as for
    /// [`super::EfficientNet::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(
        config: &EfficientNetConfig,
        classes: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self, EfficientNetError> {
        Self::seeded(config, classes, vb, &mut unseeded())
    }

    /// [`EfficientNetClassifier::new`] with new parameters from numbers in `[0, 1)` that `uniform` gives.
    ///
    /// # Errors
    /// As there.
    pub fn seeded(
        config: &EfficientNetConfig,
        classes: usize,
        vb: VarBuilder<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Self, EfficientNetError> {
        let (graph, nodes) = graph(config, classes)?;
        Ok(Self::from_net(CandleNet::from_var_builder(graph, &vb, uniform)?, nodes, config))
    }

    /// The weights of a safetensors file with timm's names, in `f32`, to classify with; variant and padding are those of
    /// the file's metadata, the number of classes is that of its classifier.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<ImageClassifier, EfficientNetError> {
        let checkpoint = Checkpoint::read(path.as_ref())?;
        ImageClassifier::from_checkpoint(&checkpoint, &checkpoint.config()?, device)
    }

    /// [`EfficientNetClassifier::load`] for a file without metadata, or for other levels.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        path: impl AsRef<Path>,
        config: &EfficientNetConfig,
        device: &Device,
    ) -> Result<ImageClassifier, EfficientNetError> {
        ImageClassifier::from_checkpoint(&Checkpoint::read(path.as_ref())?, config, device)
    }

    /// Sets the variables to the weights of a file; see [`super::EfficientNet::load_weights`].
    ///
    /// # Errors
    /// As there.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<(), EfficientNetError> {
        Checkpoint::read(path.as_ref())?.set(&self.net)
    }

    /// The network with the values of this moment, to classify with.
    ///
    /// # Errors
    /// When candle fails.
    pub fn fix(&self) -> Result<ImageClassifier, EfficientNetError> {
        let net = FixedNet::new(&self.net)?;
        let (levels, expansions) = (self.levels.clone(), self.expansions.clone());
        Ok(ImageClassifier { net, nodes: self.nodes.clone(), levels, expansions })
    }

    fn from_net(net: CandleNet, nodes: Classifier, config: &EfficientNetConfig) -> Self {
        let level = |reduction: &usize| nodes.endpoints.reductions[reduction - 1];
        let levels = config.reductions.iter().map(level).collect();
        let expansion = |reduction: &usize| nodes.endpoints.expansions[reduction - 1];
        let expansions = config.reductions.iter().map(expansion).collect();
        EfficientNetClassifier { net, nodes, levels, expansions }
    }

    /// The feature levels; see [`super::EfficientNet::features`].
    ///
    /// # Errors
    /// As there.
    pub fn features(&self, images: &Tensor, mode: Mode<'_>) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.levels, mode)?)
    }

    /// For each feature level the wide map before the projection of the block that ends it, after squeeze and
    /// excitation: `[B, C, H / stride, W / stride]`, with `C` 144, 240, 672 and 1152 at strides 4 to 32 of B0. The official
    /// builder calls it `reduction_i/expansion_output`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn expansions(&self, images: &Tensor, mode: Mode<'_>) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.expansions, mode)?)
    }

    /// After the head's 1x1 convolution, batch norm and activation: `[B, head, H / 32, W / 32]`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn head_features(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor, EfficientNetError> {
        self.one(images, self.nodes.head, mode)
    }

    /// The means of the head's maps: `[B, head]`, an embedding of the image.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn pooled(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor, EfficientNetError> {
        Ok(self.one(images, self.nodes.pooled, mode)?.flatten_from(1)?)
    }

    /// Class scores before the softmax: `[B, K]`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn logits(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor, EfficientNetError> {
        Ok(self.one(images, self.nodes.logits, mode)?.flatten_from(1)?)
    }

    fn one(&self, images: &Tensor, node: NodeId, mode: Mode<'_>) -> Result<Tensor, EfficientNetError> {
        Ok(self.net.forward(images, &[node], mode)?.remove(0))
    }

    /// The network below: its parameters by name.
    pub fn net(&self) -> &CandleNet {
        &self.net
    }

    /// Freezes parameters by name; see [`CandleNet::freeze`].
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        self.net.freeze(is_frozen);
    }
}

/// A whole EfficientNet with fixed weights.
#[derive(Debug)]
pub struct ImageClassifier {
    net: FixedNet,
    nodes: Classifier,
    levels: Vec<NodeId>,
    expansions: Vec<NodeId>,
}

impl ImageClassifier {
    fn from_checkpoint(
        checkpoint: &Checkpoint,
        config: &EfficientNetConfig,
        device: &Device,
    ) -> Result<Self, EfficientNetError> {
        let (graph, nodes) = graph(config, checkpoint.classes(config)?)?;
        EfficientNetClassifier::from_net(checkpoint.net(graph, device)?, nodes, config).fix()
    }

    /// The feature levels; see [`super::EfficientNet::features`].
    ///
    /// # Errors
    /// As there.
    pub fn features(&self, images: &Tensor) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.levels)?)
    }

    /// For each feature level the wide map before the projection of the block that ends it, after squeeze and
    /// excitation: `[B, C, H / stride, W / stride]`, with `C` 144, 240, 672 and 1152 at strides 4 to 32 of B0. The official
    /// builder calls it `reduction_i/expansion_output`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn expansions(&self, images: &Tensor) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.expansions)?)
    }

    /// After the head's 1x1 convolution, batch norm and activation: `[B, head, H / 32, W / 32]`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn head_features(&self, images: &Tensor) -> Result<Tensor, EfficientNetError> {
        self.one(images, self.nodes.head)
    }

    /// The means of the head's maps: `[B, head]`, an embedding of the image.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn pooled(&self, images: &Tensor) -> Result<Tensor, EfficientNetError> {
        Ok(self.one(images, self.nodes.pooled)?.flatten_from(1)?)
    }

    /// Class scores before the softmax: `[B, K]`.
    ///
    /// # Errors
    /// As for [`super::EfficientNet::features`].
    pub fn logits(&self, images: &Tensor) -> Result<Tensor, EfficientNetError> {
        Ok(self.one(images, self.nodes.logits)?.flatten_from(1)?)
    }

    fn one(&self, images: &Tensor, node: NodeId) -> Result<Tensor, EfficientNetError> {
        Ok(self.net.forward(images, &[node])?.remove(0))
    }
}

fn graph(config: &EfficientNetConfig, classes: usize) -> Result<(Graph, Classifier), EfficientNetError> {
    let network = builder(config)?;
    let mut graph = Builder::new();
    let image = graph.input("image", 3).map_err(CandleNetError::from)?;
    let nodes = network.build_classifier(&mut graph, image, classes).map_err(CandleNetError::from)?;
    Ok((graph.finish(), nodes))
}
