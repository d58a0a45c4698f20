use super::checkpoint::Checkpoint;
use super::{EfficientNetError, Mode, unseeded};
use crate::{EfficientNetConfig, efficientnet};
use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use net_candle::{CandleNet, FixedNet};
use net_graph::{Backbone, Builder, Graph, Level, NodeId};
use std::path::Path;

/// An EfficientNet that gives feature levels: stem and blocks up to the last level that the configuration names.
#[derive(Debug)]
pub struct EfficientNet {
    net: CandleNet,
    levels: Vec<Level>,
    outputs: Vec<NodeId>,
}

impl EfficientNet {
    /// A network over the variables of `vb`, in its number type and on its device. What a `VarMap` lacks is created in
    /// it, drawn by candle's generator, under timm's names behind the prefix of `vb` (and `config.prefix`, which is
    /// usually empty here).
    ///
    /// # Errors
    /// When the reductions are not increasing numbers of levels that the network has, or `vb` has a tensor of another
    /// shape, or lacks one and cannot create it.
    pub fn new(config: &EfficientNetConfig, vb: VarBuilder<'_>) -> Result<Self, EfficientNetError> {
        Self::seeded(config, vb, &mut unseeded())
    }

    /// [`EfficientNet::new`] with new parameters from numbers in `[0, 1)` that `uniform` gives: the same numbers, the
    /// same network.
    ///
    /// # Errors
    /// As there.
    pub fn seeded(
        config: &EfficientNetConfig,
        vb: VarBuilder<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Self, EfficientNetError> {
        let (graph, levels) = graph(config)?;
        Ok(Self::from_net(CandleNet::from_var_builder(graph, &vb, uniform)?, levels))
    }

    /// The weights of a safetensors file with timm's names, in `f32`, to extract features with. The file's metadata says
    /// the variant and how it was trained; the levels are those of strides 4, 8, 16 and 32. Weights of the classifier
    /// are not read. To train on, see [`EfficientNet::load_weights`].
    ///
    /// # Errors
    /// When the file cannot be read, its metadata does not say what it is, or weights are missing or mis-shaped (all
    /// are listed).
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<FeatureExtractor, EfficientNetError> {
        let checkpoint = Checkpoint::read(path.as_ref())?;
        FeatureExtractor::from_checkpoint(&checkpoint, &checkpoint.config()?, device)
    }

    /// [`EfficientNet::load`] for a file without metadata, or for other levels.
    ///
    /// # Errors
    /// As there, and as for [`EfficientNet::new`].
    pub fn load_with(
        path: impl AsRef<Path>,
        config: &EfficientNetConfig,
        device: &Device,
    ) -> Result<FeatureExtractor, EfficientNetError> {
        FeatureExtractor::from_checkpoint(&Checkpoint::read(path.as_ref())?, config, device)
    }

    /// Sets the variables to the weights of a safetensors file with timm's names (without the prefix of the
    /// `VarBuilder`): the start of fine-tuning. [`super::config_of_file`] gives the configuration that fits the file.
    ///
    /// # Errors
    /// As for [`EfficientNet::load`]; nothing is set where weights are missing or mis-shaped.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<(), EfficientNetError> {
        Checkpoint::read(path.as_ref())?.set(&self.net)
    }

    /// The network with the values of this moment, to extract features with.
    ///
    /// # Errors
    /// When candle fails.
    pub fn fix(&self) -> Result<FeatureExtractor, EfficientNetError> {
        let (levels, outputs) = (self.levels.clone(), self.outputs.clone());
        Ok(FeatureExtractor { net: FixedNet::new(&self.net)?, levels, outputs })
    }

    fn from_net(net: CandleNet, levels: Vec<Level>) -> Self {
        let outputs = levels.iter().map(|level| level.node).collect();
        EfficientNet { net, levels, outputs }
    }

    /// The feature levels of images `[B, 3, H, W]`, RGB in `[0, 1]`: one map `[B, C, H / stride, W / stride]` a level,
    /// sizes rounded up.
    ///
    /// # Errors
    /// When the images have another shape or number type, or candle fails.
    pub fn features(&self, images: &Tensor, mode: Mode<'_>) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.outputs, mode)?)
    }

    /// Stride and channels of each level, strides increasing.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The network below: its parameters by name.
    pub fn net(&self) -> &CandleNet {
        &self.net
    }

    /// Freezes the parameters whose names (without the prefix of the `VarBuilder`) `is_frozen` holds for, and no
    /// others; see [`CandleNet::freeze`].
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        self.net.freeze(is_frozen);
    }
}

/// An EfficientNet with fixed weights that gives feature levels.
#[derive(Debug)]
pub struct FeatureExtractor {
    net: FixedNet,
    levels: Vec<Level>,
    outputs: Vec<NodeId>,
}

impl FeatureExtractor {
    fn from_checkpoint(
        checkpoint: &Checkpoint,
        config: &EfficientNetConfig,
        device: &Device,
    ) -> Result<Self, EfficientNetError> {
        let (graph, levels) = graph(config)?;
        EfficientNet::from_net(checkpoint.net(graph, device)?, levels).fix()
    }

    /// The feature levels, as [`EfficientNet::features`] gives them in evaluation.
    ///
    /// # Errors
    /// As there.
    pub fn features(&self, images: &Tensor) -> Result<Vec<Tensor>, EfficientNetError> {
        Ok(self.net.forward(images, &self.outputs)?)
    }

    /// Stride and channels of each level, strides increasing.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}

fn graph(config: &EfficientNetConfig) -> Result<(Graph, Vec<Level>), EfficientNetError> {
    let backbone = builder(config)?;
    let mut graph = Builder::new();
    let image = graph.input("image", 3).map_err(net_candle::CandleNetError::from)?;
    let levels = backbone.build(&mut graph, image).map_err(net_candle::CandleNetError::from)?;
    Ok((graph.finish(), levels))
}

/// The builder, after a look at what it would panic about.
pub(super) fn builder(config: &EfficientNetConfig) -> Result<efficientnet::EfficientNet, EfficientNetError> {
    let (available, got) = (config.spec.reductions().len(), config.reductions.clone());
    let in_range = got.iter().all(|reduction| (1..=available).contains(reduction));
    if got.is_empty() || !in_range || !got.is_sorted_by(|a, b| a < b) {
        return Err(EfficientNetError::Reductions { available, got });
    }
    Ok(efficientnet::EfficientNet::new(config.clone()))
}
