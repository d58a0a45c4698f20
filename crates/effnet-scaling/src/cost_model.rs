use crate::error::SourceError;
use crate::{Network, NetworkSpec};

/// Says what a network costs: multiply-adds, milliseconds, bytes ... `N` is the network of a
/// [`Baseline`](crate::Baseline).
///
/// ```
/// use effnet_scaling::{CostModel, NetworkSpec, SourceError};
/// /// Only the size of the weights counts.
/// struct WeightBytes;
/// impl CostModel<NetworkSpec> for WeightBytes {
///     fn cost(&mut self, network: &NetworkSpec, resolution: usize) -> Result<f64, SourceError> {
///         Ok(4.0 * network.cost(resolution, resolution, 1000).total().params as f64)
///     }
/// }
/// assert_eq!(WeightBytes.cost(&NetworkSpec::b0(), 224).unwrap(), 4.0 * 5_288_548.0);
/// ```
pub trait CostModel<N> {
    /// Cost for one square image of `resolution` pixels a side: a finite number above 0. `&mut`, since models measure
    /// and remember.
    ///
    /// # Errors
    /// When it cannot be told.
    fn cost(&mut self, network: &N, resolution: usize) -> Result<f64, SourceError>;
}

/// Multiply-adds of an EfficientNet classifier, in closed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// Classes of the classifier.
    pub classes: usize,
}

impl CostModel<NetworkSpec> for MultiplyAdds {
    fn cost(&mut self, network: &NetworkSpec, resolution: usize) -> Result<f64, SourceError> {
        Ok(network.cost(resolution, resolution, self.classes).total().macs as f64)
    }
}

impl CostModel<Network> for MultiplyAdds {
    /// # Errors
    /// For networks other than EfficientNets, which are counted from their graphs (see `effnet_backbone::GraphCost`).
    fn cost(&mut self, network: &Network, resolution: usize) -> Result<f64, SourceError> {
        match network {
            Network::EfficientNet(spec) => self.cost(spec, resolution),
            Network::Staged(spec) => Err(format!("{:?} networks have no closed form", spec.block).into()),
            Network::Detector(_) => Err("detectors have no closed form".into()),
        }
    }
}
