use crate::{CspBackbone, DetectorError, DflHead, Head, HeadNodes, LayerNames, Neck, NeckScale, PanNeck};
use net_graph::{Backbone, Builder, Graph, Level, NodeId};

/// A whole detector as a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorGraph {
    /// All nodes.
    pub graph: Graph,
    /// The input, `[B, 3, H, W]`, RGB in `[0, 1]`; H and W multiples of [`DetectorGraph::max_stride`].
    pub image: NodeId,
    /// The backbone's levels, fine to coarse.
    pub features: Vec<Level>,
    /// The neck's levels, fine to coarse.
    pub levels: Vec<Level>,
    /// The head's maps and predictions.
    pub head: HeadNodes,
}

impl DetectorGraph {
    /// Stride of the coarsest level: image sides must be multiples of it.
    pub fn max_stride(&self) -> usize {
        self.head.strides.iter().copied().max().expect("a head has levels")
    }
}

/// Puts a detector together.
///
/// # Errors
/// When the neck or head does not suit the backbone's levels, or two layers have one name.
pub fn build_detector(
    backbone: &dyn Backbone,
    neck: &dyn Neck,
    head: &dyn Head,
) -> Result<DetectorGraph, DetectorError> {
    let mut builder = Builder::new();
    let image = builder.input("image", 3)?;
    let features = backbone.build(&mut builder, image)?;
    let levels = neck.build(&mut builder, &features)?;
    let head = head.build(&mut builder, &levels)?;
    Ok(DetectorGraph { graph: builder.finish(), image, features, levels, head })
}

/// The stock YOLOv8 detector, with Ultralytics' names: levels P3, P4, P5. `box_bias` as in [`DflHead`].
///
/// # Errors
/// When `class_count` is 0.
pub fn yolov8(scale: NeckScale, class_count: usize, box_bias: f32) -> Result<DetectorGraph, DetectorError> {
    let levels = vec![3, 4, 5];
    let (first, head) = (CspBackbone::ROWS, CspBackbone::ROWS + PanNeck::rows(levels.len()));
    let strides: Vec<usize> = levels.iter().map(|level| 1 << level).collect();
    let neck = PanNeck::new(scale.factors(), &strides, LayerNames::Rows { first });
    let head = DflHead { name: format!("model.{head}"), class_count, reg_max: 16, box_bias };
    build_detector(&CspBackbone::new(scale, levels), &neck, &head)
}
