//! Convolutions with kernels of experts, and what is fused to them.

use super::{Fuser, Kind, scale_rows, unsupported};
use crate::NetError;
use cpu_kernels::conv::Finish;
use cpu_kernels::experts::{ExpertShape, Experts};
use net_graph::{Conv, Graph, NodeId, Op, ParamId};

/// Shape of the experts of a node; none where its groups have no kernel.
pub(crate) fn expert_shape(graph: &Graph, id: NodeId, conv: Conv, weight: ParamId) -> Option<ExpertShape> {
    let (outputs, inputs) = (graph.node(id).channels, graph.node(graph.node(id).inputs[0]).channels);
    let is_depthwise = conv.groups > 1;
    let has_kernel = !is_depthwise || (conv.groups == outputs && conv.groups == inputs);
    let Conv { kernel, stride, .. } = conv;
    let experts = graph.param(weight).dims[0];
    has_kernel.then_some(ExpertShape { experts, outputs, inputs, is_depthwise, kernel, stride })
}

impl Fuser<'_> {
    /// The batch norm that follows is folded into every expert: what scales each of the kernels that are mixed scales
    /// the mix, and the shift is one bias for all.
    pub(super) fn cond_conv(
        &mut self,
        id: NodeId,
        conv: Conv,
        weight: ParamId,
        inputs: &mut Vec<NodeId>,
        result: &mut NodeId,
    ) -> Result<Kind, NetError> {
        let reason = "only dense and depthwise convolutions have a CPU kernel";
        let shape = expert_shape(self.graph, id, conv, weight);
        let shape = shape.ok_or_else(|| unsupported(self.graph, id, reason))?;
        let mut weight = self.weights.values(weight).into_owned();
        let mut bias = vec![0.0; shape.outputs];
        if let Some(norm) = self.next(*result, |op| matches!(op, Op::BatchNorm { .. })) {
            let (scale, shift) = self.norm(norm);
            weight.chunks_exact_mut(shape.kernel_len()).for_each(|expert| scale_rows(expert, &scale));
            bias = shift;
            self.take(norm, result);
        }
        let activation = self.take_activation(result);
        let mut gated = false;
        if !shape.is_depthwise {
            gated = self.take_gate(inputs);
            self.take_residual(inputs, result);
        }
        let experts = Experts::new(self.isa, &weight, &shape);
        let finish = Finish { bias, activation, precision: self.precision_of(*result) };
        Ok(Kind::CondConv { conv, experts, finish, gated })
    }
}
