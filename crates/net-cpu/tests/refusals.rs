//! What training refuses: it has no kernel for it, or would give a wrong gradient.

use net_cpu::{Isa, NetError, ParamLayout, TrainPlan};
use net_graph::{Builder, Conv, Init, NodeId, Padding};
use std::sync::Arc;

/// The plan for the outputs that `build` makes of a map of 4 channels.
fn plan(build: impl FnOnce(&mut Builder, NodeId) -> Vec<NodeId>) -> Result<TrainPlan, NetError> {
    let mut b = Builder::new();
    let image = b.input("image", 4).unwrap();
    let outputs = build(&mut b, image);
    let graph = Arc::new(b.finish());
    let layout = Arc::new(ParamLayout::new(&graph));
    TrainPlan::new(graph, layout, &outputs, (1, 4, 4), Isa::best(), &|_| false)
}

fn conv(b: &mut Builder, name: &str, x: NodeId, groups: usize) -> NodeId {
    let conv = Conv { kernel: 3, stride: 1, padding: Padding::Same, groups };
    b.conv(name, x, 4, conv, Init::Constant(1.0), None).unwrap()
}

fn refused(result: Result<TrainPlan, NetError>) -> bool {
    matches!(result, Err(NetError::Unsupported { .. }))
}

#[test]
fn convolutions_in_groups_of_several_channels() {
    let mixed = |groups| {
        plan(|b, x| {
            let routing = b.global_avg_pool("routing", x).unwrap();
            let conv = Conv { kernel: 3, stride: 1, padding: Padding::Same, groups };
            vec![b.cond_conv("mixed", x, routing, 4, conv, Init::Constant(1.0)).unwrap()]
        })
    };
    assert!(refused(mixed(2)) && mixed(1).is_ok() && mixed(4).is_ok());
    assert!(refused(plan(|b, x| vec![conv(b, "grouped", x, 2)])));
    assert!(plan(|b, x| vec![conv(b, "dense", x, 1)]).is_ok());
    assert!(plan(|b, x| vec![conv(b, "depthwise", x, 4)]).is_ok());
}

#[test]
fn outputs_that_are_parts_of_each_other() {
    assert!(refused(plan(|b, x| {
        let whole = conv(b, "conv", x, 1);
        vec![b.slice("part", whole, 1, 2).unwrap(), whole]
    })));
    assert!(refused(plan(|b, x| {
        let parts = [conv(b, "left", x, 1), conv(b, "right", x, 1)];
        vec![parts[0], b.concat("joined", &parts).unwrap()]
    })));
    assert!(refused(plan(|b, x| vec![conv(b, "conv", x, 1); 2])));
    assert!(
        plan(|b, x| {
            let whole = conv(b, "conv", x, 1);
            vec![b.slice("first", whole, 0, 2).unwrap(), b.slice("second", whole, 2, 2).unwrap()]
        })
        .is_ok()
    );
}
