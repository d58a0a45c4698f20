use crate::{Graph, NodeId, Op, Shape};
use std::ops::{Add, AddAssign};

/// Parameters and multiply-adds.
///
/// Multiply-adds (MACs) are those of convolutions, linear layers and the expectation over the detection head's bins; where
/// an image mixes its kernel from experts, also one for every value of every expert; batch norm, activations and pooling are not counted. FLOPs in the YOLO literature are twice this number; "FLOPS" in
/// the EfficientNet papers is this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Values of weights, biases, norm scales and shifts and constants; running statistics are not counted.
    pub params: u64,
    /// Multiply-adds for one forward pass of the whole batch.
    pub macs: u64,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, macs: self.macs + other.macs }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

/// One row of a summary.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerCost {
    /// Name of the node.
    pub name: String,
    /// Kind of the node.
    pub kind: &'static str,
    /// Shape of its value.
    pub shape: Shape,
    /// Its cost.
    pub cost: Cost,
}

impl Graph {
    /// Cost of every node, given the shapes of [`Graph::shapes`].
    pub fn layer_costs(&self, shapes: &[Shape]) -> Vec<LayerCost> {
        let row = |(index, node): (usize, &crate::Node)| LayerCost {
            name: node.name.clone(),
            kind: node.op.kind(),
            shape: shapes[index],
            cost: Cost { params: self.param_count(&node.op), macs: self.macs(NodeId(index), shapes) },
        };
        self.nodes.iter().enumerate().map(row).collect()
    }

    /// Cost of the whole network, given the shapes of [`Graph::shapes`].
    pub fn cost(&self, shapes: &[Shape]) -> Cost {
        self.layer_costs(shapes).iter().fold(Cost::default(), |sum, layer| sum + layer.cost)
    }

    fn param_count(&self, op: &Op) -> u64 {
        let counted = |id: &crate::ParamId| {
            let param = self.param(*id);
            if param.role.is_trained() || param.role == crate::Role::Constant {
                param.len() as u64
            } else {
                0
            }
        };
        op.params().iter().map(counted).sum()
    }

    /// Multiply-adds of a node, given the shapes of [`Graph::shapes`].
    pub fn macs(&self, id: NodeId, shapes: &[Shape]) -> u64 {
        let positions = shapes[id.0].positions() as u64;
        match &self.node(id).op {
            Op::Conv2d { weight, .. } | Op::Linear { weight, .. } => {
                positions * self.param(*weight).len() as u64
            }
            Op::CondConv { weight, .. } => {
                let param = self.param(*weight);
                let kernel = (param.len() / param.dims[0]) as u64;
                positions * kernel + (shapes[id.0].batch * param.len()) as u64
            }
            Op::DecodeDetections { reg_max, .. } => positions * 4 * *reg_max as u64,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, Conv, Cost, Init, Padding};

    #[test]
    fn a_convolution_costs_its_weights_at_every_position() {
        let mut b = Builder::new();
        let image = b.input("image", 3).unwrap();
        let conv = Conv { kernel: 3, stride: 2, padding: Padding::Symmetric, groups: 1 };
        b.conv("conv", image, 16, conv, Init::Constant(0.0), Some(Init::Constant(0.0))).unwrap();
        let graph = b.finish();
        let shapes = graph.shapes(2, 64, 64).unwrap();
        assert_eq!(graph.cost(&shapes), Cost { params: 16 * 27 + 16, macs: 2 * 32 * 32 * 16 * 27 });
    }

    #[test]
    fn mixing_costs_every_value_of_every_expert_once_an_image() {
        let mut b = Builder::new();
        let image = b.input("image", 3).unwrap();
        let routing = b.global_avg_pool("routing", image).unwrap();
        let conv = Conv { kernel: 3, stride: 2, padding: Padding::Symmetric, groups: 1 };
        b.cond_conv("conv", image, routing, 16, conv, Init::Constant(0.0)).unwrap();
        let graph = b.finish();
        let shapes = graph.shapes(2, 64, 64).unwrap();
        assert_eq!(shapes[2].dims(), [2, 16, 32, 32]);
        let kernel = 16 * 27;
        assert_eq!(graph.param(crate::ParamId(0)).dims, [3, kernel]);
        let (kernel, experts) = (kernel as u64, 3);
        assert_eq!(
            graph.cost(&shapes),
            Cost { params: experts * kernel, macs: 2 * (32 * 32 * kernel + experts * kernel) }
        );
    }
}
