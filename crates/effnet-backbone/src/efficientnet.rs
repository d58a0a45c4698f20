use crate::EfficientNetConfig;
use crate::block::Layers;
use crate::init::linear_init;
use effnet_scaling::Reduction;
use net_graph::{Backbone, Builder, GraphError, Init, Level, NodeId};

/// Builds the nodes of an EfficientNet.
#[derive(Debug, Clone, PartialEq)]
pub struct EfficientNet {
    config: EfficientNetConfig,
}

/// The maps that other networks attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// After the stem's activation: `[B, stem, H / 2, W / 2]`.
    pub stem: NodeId,
    /// `reduction_1` (stride 2) and so on; the last block's output is the last.
    pub reductions: Vec<NodeId>,
    /// `reduction_i/expansion_output` of the official builder: in the block that ends each reduction, the wide map before
    /// the projection, after its gate.
    pub expansions: Vec<NodeId>,
}

/// The nodes of a classifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classifier {
    /// Maps below the head.
    pub endpoints: Endpoints,
    /// After the 1x1 head convolution, batch norm and activation: `[B, head, H / 32, W / 32]`.
    pub head: NodeId,
    /// Mean over the map: `[B, head, 1, 1]`.
    pub pooled: NodeId,
    /// Class scores before the softmax: `[B, K, 1, 1]`.
    pub logits: NodeId,
}

impl EfficientNet {
    /// A builder for that configuration.
    ///
    /// # Panics
    /// When `config.reductions` is empty, not strictly increasing, or names a reduction that the network does not
    /// have: whoever reads the user's configuration checks that.
    pub fn new(config: EfficientNetConfig) -> Self {
        let available = config.spec.reductions().len();
        let wanted = &config.reductions;
        let in_range = wanted.iter().all(|r| (1..=available).contains(r));
        assert!(
            !wanted.is_empty() && in_range && wanted.is_sorted_by(|a, b| a < b),
            "reductions: expected increasing numbers in 1..={available}, got {wanted:?}"
        );
        EfficientNet { config }
    }

    /// The configuration.
    pub fn config(&self) -> &EfficientNetConfig {
        &self.config
    }

    /// Appends the whole classifier with `classes` outputs. `image` is `[B, 3, H, W]`, RGB in `[0, 1]`.
    ///
    /// # Errors
    /// When a name is taken in the graph.
    pub fn build_classifier(
        &self,
        builder: &mut Builder,
        image: NodeId,
        classes: usize,
    ) -> Result<Classifier, GraphError> {
        let endpoints = self.features(builder, image, self.config.spec.blocks().len())?;
        let features = *endpoints.reductions.last().expect("a network has blocks");
        let mut layers = Layers { builder, config: &self.config };
        let (conv, norm) = (layers.name("conv_head"), layers.name("bn2"));
        let head = layers.conv_norm_act(&conv, &norm, features, self.config.spec.head, 1, 1)?;
        let (pool, dropout, linear) =
            (layers.name("global_pool"), layers.name("dropout"), layers.name("classifier"));
        let pooled = builder.global_avg_pool(&pool, head)?;
        let rate = self.config.dropout;
        let x = if rate > 0.0 { builder.dropout(&dropout, pooled, rate)? } else { pooled };
        let logits = builder.linear(&linear, x, classes, linear_init(classes), Init::Constant(0.0))?;
        Ok(Classifier { endpoints, head, pooled, logits })
    }

    /// Beginnings of the parameter names of each stage: the stem, then the stages of the table. For freezing.
    pub fn stage_prefixes(&self) -> Vec<Vec<String>> {
        let prefix = |name: String| match self.config.prefix.as_str() {
            "" => format!("{name}."),
            prefix => format!("{prefix}.{name}."),
        };
        let stem = vec![prefix("conv_stem".into()), prefix("bn1".into())];
        let stages = (0..self.config.spec.stages.len()).map(|stage| vec![prefix(format!("blocks.{stage}"))]);
        std::iter::once(stem).chain(stages).collect()
    }

    /// Stem and the first `blocks` blocks.
    fn features(&self, builder: &mut Builder, image: NodeId, blocks: usize) -> Result<Endpoints, GraphError> {
        let spec = &self.config.spec;
        let mut layers = Layers { builder, config: &self.config };
        let image = self.normalize(&mut layers, image)?;
        let (conv, norm) = (layers.name("conv_stem"), layers.name("bn1"));
        let stem = layers.conv_norm_act(&conv, &norm, image, spec.stem, 3, 2)?;
        let all = spec.blocks();
        let mut outputs = Vec::with_capacity(blocks);
        let mut x = stem;
        for (index, block) in all.iter().take(blocks).enumerate() {
            let name = layers.name(&format!("blocks.{}.{}", block.stage, block.index_in_stage));
            let drop_path = self.config.drop_path * index as f64 / all.len() as f64;
            let nodes = layers.block(&name, x, block, drop_path)?;
            x = nodes.output;
            outputs.push(nodes);
        }
        let built = spec.reductions().into_iter().filter(|reduction| reduction.block < blocks);
        let ends = built.map(|reduction| &outputs[reduction.block]);
        let (reductions, expansions) = ends.map(|nodes| (nodes.output, nodes.expansion)).unzip();
        Ok(Endpoints { stem, reductions, expansions })
    }

    fn normalize(&self, layers: &mut Layers<'_>, image: NodeId) -> Result<NodeId, GraphError> {
        let Some(normalization) = &self.config.normalization else { return Ok(image) };
        let name = layers.name("normalize");
        layers.builder.channel_affine(&name, image, &normalization.scale, &normalization.shift)
    }

    fn wanted(&self) -> Vec<Reduction> {
        let reductions = self.config.spec.reductions();
        self.config.reductions.iter().map(|&number| reductions[number - 1]).collect()
    }
}

impl Backbone for EfficientNet {
    fn levels(&self) -> Vec<(usize, usize)> {
        self.wanted().iter().map(|reduction| (reduction.stride, reduction.channels)).collect()
    }

    fn build(&self, builder: &mut Builder, image: NodeId) -> Result<Vec<Level>, GraphError> {
        let wanted = self.wanted();
        let last = wanted.last().expect("checked when made");
        let endpoints = self.features(builder, image, last.block + 1)?;
        let nodes = self.config.reductions.iter().map(|&number| endpoints.reductions[number - 1]);
        let level = |(reduction, node): (&Reduction, NodeId)| Level {
            stride: reduction.stride,
            channels: reduction.channels,
            node,
        };
        Ok(wanted.iter().zip(nodes).map(level).collect())
    }
}
