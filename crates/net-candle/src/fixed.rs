use crate::{CandleNet, CandleNetError};
use candle_core::Tensor;
use net_graph::{Graph, NodeId};

/// A graph with values that do not change, to infer with.
///
/// It runs as [`CandleNet::forward`] in [`crate::Mode::Eval`] does, without a look at whether values have changed.
#[derive(Debug)]
pub struct FixedNet {
    /// Its variables are not reachable from outside.
    net: CandleNet,
}

impl FixedNet {
    /// A network with the values that another has at this moment.
    ///
    /// # Errors
    /// When candle fails.
    pub fn new(net: &CandleNet) -> Result<Self, CandleNetError> {
        Ok(FixedNet { net: net.with_own_values()? })
    }

    /// The outputs for images `[B, C, H, W]`.
    ///
    /// # Errors
    /// As for [`CandleNet::forward`].
    pub fn forward(&self, images: &Tensor, outputs: &[NodeId]) -> Result<Vec<Tensor>, CandleNetError> {
        self.net.infer(images, outputs)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        self.net.graph()
    }
}
