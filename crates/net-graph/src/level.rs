use crate::{Builder, GraphError, NodeId};

/// One map of a feature pyramid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Image pixels a cell, in both axes: 8 for P3, 16 for P4 ...
    pub stride: usize,
    /// Channels of the map.
    pub channels: usize,
    /// The node that computes it.
    pub node: NodeId,
}

/// Something that turns images into a pyramid of feature maps.
///
/// Implement this one trait to put another backbone under the neck and head.
pub trait Backbone {
    /// Stride and channels of the levels it yields, strides strictly increasing; known before anything is built.
    fn levels(&self) -> Vec<(usize, usize)>;

    /// Appends the backbone's nodes. `image` is `[B, 3, H, W]`, RGB in `[0, 1]`.
    ///
    /// # Errors
    /// When a node does not fit the graph, such as a name that is taken.
    fn build(&self, builder: &mut Builder, image: NodeId) -> Result<Vec<Level>, GraphError>;
}
