use crate::{GraphError, Op, Padding, Param, ParamId, Shape};

/// Index of a node in its graph. Inputs of a node have smaller indices than the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One operation, where its inputs come from, and how many channels it yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique dotted name, such as `backbone.blocks.1.0.bn1`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its inputs, in order.
    pub inputs: Vec<NodeId>,
    /// Channels of its value.
    pub channels: usize,
}

/// A network: nodes in an order in which they can run, and their parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) params: Vec<Param>,
}

impl Graph {
    /// All nodes, inputs before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All node ids, inputs before users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// All parameters, in order of creation.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// One parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    /// Marks, node by node, what has to run to compute `outputs`.
    pub fn needed_for(&self, outputs: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        outputs.iter().for_each(|id| needed[id.0] = true);
        for id in (0..self.nodes.len()).rev() {
            if needed[id] {
                self.nodes[id].inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        needed
    }

    /// Shape of every node for a batch of images.
    ///
    /// # Errors
    /// When a window does not fit its map, or maps that are added or joined differ in size.
    pub fn shapes(&self, batch: usize, height: usize, width: usize) -> Result<Vec<Shape>, GraphError> {
        if batch == 0 || height == 0 || width == 0 {
            return Err(GraphError::EmptyInput { batch, height, width });
        }
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let shape = node.shape(&shapes, Shape { batch, channels: node.channels, height, width })?;
            shapes.push(shape);
        }
        Ok(shapes)
    }
}

impl Node {
    /// The node's shape, given those of the nodes before it; `image` is the input's.
    fn shape(&self, shapes: &[Shape], image: Shape) -> Result<Shape, GraphError> {
        let Some(first) = self.inputs.first().map(|id| shapes[id.0]) else { return Ok(image) };
        let sized = |height, width| Shape { batch: first.batch, channels: self.channels, height, width };
        match &self.op {
            Op::Conv2d { conv, .. } | Op::CondConv { conv, .. } => {
                self.window(first, conv.padding, conv.kernel, conv.stride)
            }
            Op::MaxPool { kernel, stride } => self.window(first, Padding::Symmetric, *kernel, *stride),
            Op::GlobalAvgPool | Op::Linear { .. } => Ok(sized(1, 1)),
            Op::Upsample { factor } => Ok(sized(first.height * factor, first.width * factor)),
            Op::DecodeDetections { strides, .. } => {
                let maps = &self.inputs[..strides.len()];
                Ok(sized(1, maps.iter().map(|id| shapes[id.0].height * shapes[id.0].width).sum()))
            }
            Op::Add | Op::Concat => {
                for id in &self.inputs[1..] {
                    let other = shapes[id.0];
                    if (other.height, other.width) != (first.height, first.width) {
                        return Err(GraphError::ShapeMismatch {
                            node: self.name.clone(),
                            left: first,
                            right: other,
                        });
                    }
                }
                Ok(sized(first.height, first.width))
            }
            _ => Ok(sized(first.height, first.width)),
        }
    }

    fn window(&self, x: Shape, padding: Padding, kernel: usize, stride: usize) -> Result<Shape, GraphError> {
        let too_small =
            || GraphError::TooSmall { node: self.name.clone(), kernel, height: x.height, width: x.width };
        let rows = padding.resolve(x.height, kernel, stride).ok_or_else(too_small)?;
        let columns = padding.resolve(x.width, kernel, stride).ok_or_else(too_small)?;
        Ok(Shape { batch: x.batch, channels: self.channels, height: rows.out, width: columns.out })
    }
}
