//! Graphs of all built-in networks, to be counted and timed.

use effnet_backbone::{EfficientNet, EfficientNetConfig, GraphCost, Padding, classifier_graph};
use effnet_scaling::{DetectorSpec, Network, SourceError};
use net_graph::Graph;
use yolo_neck_head::{DetectorError, DflHead, LayerNames, PanNeck, build_detector};

/// Bins a side of YOLOv8's head.
const REG_MAX: usize = 16;

/// The network with that many classes; its last node is what prediction reads.
pub(crate) fn network_graph(network: &Network, classes: usize) -> Result<Graph, SourceError> {
    match network {
        Network::Detector(spec) => Ok(detector_graph(spec, classes)?),
        Network::EfficientNet(_) | Network::Staged(_) => classifier_graph(network, classes),
    }
}

/// Counts every built-in network.
pub(crate) fn graph_cost(classes: usize) -> GraphCost {
    GraphCost::of_graphs(classes, network_graph)
}

fn detector_graph(spec: &DetectorSpec, class_count: usize) -> Result<Graph, DetectorError> {
    let backbone = EfficientNet::new(EfficientNetConfig {
        spec: spec.backbone.clone(),
        padding: Padding::Symmetric,
        bn_eps: 1e-3,
        bn_momentum: 0.03,
        drop_path: 0.0,
        dropout: 0.0,
        normalization: None,
        prefix: "backbone".into(),
        reductions: vec![3, 4, 5],
    });
    let names = LayerNames::Described { prefix: "neck".into() };
    let neck = PanNeck { channels: spec.neck_channels.to_vec(), repeats: spec.neck_repeats, names };
    let head = DflHead { name: "head".into(), class_count, reg_max: REG_MAX, box_bias: 1.0 };
    Ok(build_detector(&backbone, &neck, &head)?.graph)
}

#[cfg(test)]
mod tests {
    use super::*;
    use effnet_scaling::{Cost, NamedBaseline, ScaledNetwork, Scaling};

    /// The published cost of EfficientNets under YOLOv8's necks is not printed anywhere; these are counted from both
    /// papers' rules.
    #[test]
    fn detectors_cost_what_their_parts_cost() {
        let want = [("effyolo-n", 5.69, 11.7), ("effyolo-s", 10.01, 22.1), ("effyolo-b3-m", 24.54, 55.4)];
        for (name, params_millions, gigaflops) in want {
            let baseline = NamedBaseline::find(name).unwrap();
            let scaled = ScaledNetwork::new(&baseline, Scaling::ONE, 32).unwrap();
            let Cost { params, macs } = graph_cost(80).footprint(&scaled.network, 640).unwrap().cost;
            assert!((params as f64 / 1e6 - params_millions).abs() < 0.005, "{name}: {params}");
            assert!((2e-9 * macs as f64 - gigaflops).abs() < 0.05, "{name}: {macs}");
        }
    }
}
