//! Closed forms against graphs, and the cost columns of the scaling paper (arXiv 1905.11946).

use effnet_backbone::{GraphCost, StagedConfig, StagedNetwork, classifier_graph, graph_footprint};
use effnet_scaling::{
    Baseline, Cost, CostModel, Dimension, NamedBaseline, Network, PublishedScaling, PublishedVariant,
    ScaledNetwork, Scaling, StagedSpec, Variant,
};
use net_graph::{Backbone, Builder, Op, Padding};

fn scaled(name: &str, [depth, width, resolution]: [f64; 3]) -> ScaledNetwork<Network> {
    let baseline = NamedBaseline::find(name).unwrap();
    ScaledNetwork::new(&baseline, Scaling { depth, width, resolution }, 1).unwrap()
}

fn gigamacs(name: &str, multipliers: [f64; 3]) -> f64 {
    let scaled = scaled(name, multipliers);
    GraphCost::new(1000).cost(&*scaled.network, scaled.resolution).unwrap() / 1e9
}

/// `got` is `want` up to a share of it.
fn assert_near(got: f64, want: f64, share: f64, what: &str) {
    assert!((got / want - 1.0).abs() <= share, "{what}: got {got}, want {want} within {share}");
}

#[test]
fn the_closed_form_counts_what_the_graph_counts() {
    let odd = [(65, 97), (224, 224), (257, 300), (32, 32)];
    for variant in Variant::ALL {
        for (width, depth) in [(1.0, 1.0), (1.1, 1.2), (0.35, 0.5), (1.37, 2.9)] {
            let spec = variant.scaled(width, depth).unwrap();
            let graph = classifier_graph(&Network::EfficientNet(spec.clone()), 37).unwrap();
            for (height, side) in odd {
                let counted = graph_footprint(&graph, height, side).unwrap();
                assert_eq!(spec.footprint(height, side, 37), counted, "{} {width} {depth}", variant.name);
            }
        }
    }
}

/// The other members of the official repository; multiply-adds at their own sides.
#[test]
fn edgetpu_costs() {
    let want = [
        ("edgetpu-s", 5_438_392, 1.789, [1, 2, 4, 5, 4, 2], [24, 32, 48, 96, 144, 192]),
        ("edgetpu-m", 6_899_496, 3.013, [2, 3, 5, 6, 5, 3], [24, 32, 48, 96, 144, 192]),
        ("edgetpu-l", 10_589_712, 7.936, [2, 3, 6, 7, 6, 3], [32, 40, 56, 112, 176, 232]),
    ];
    for (name, params, gigamacs, repeats, channels) in want {
        let variant = Variant::find(name).unwrap();
        let network = variant.network();
        let cost = network.cost(variant.resolution, variant.resolution, 1000).total();
        assert_eq!(cost.params, params, "{name}");
        assert!((cost.macs as f64 / 1e9 - gigamacs).abs() < 5e-4, "{name}: {}", cost.macs);
        let whole = Network::EfficientNet(network.clone());
        assert_eq!((whole.repeats(), whole.channels()), (repeats.to_vec(), channels.to_vec()), "{name}");
        let blocks = network.blocks();
        let stages: Vec<_> = network.reductions().iter().map(|end| blocks[end.block].stage + 1).collect();
        assert_eq!(stages, [1, 2, 3, 5, 6], "{name}");
    }
    let small = Variant::find("edgetpu-s").unwrap().network();
    assert_eq!(small.cost(224, 224, 1001).total().params, 5_439_673);
    assert_eq!(small.blocks()[0].expanded_channels, 96);
    assert_eq!(Variant::find("edgetpu-l").unwrap().network().blocks()[0].expanded_channels, 128);
}

#[test]
fn the_other_baselines_cost_what_their_papers_say() {
    let want = [
        ("mobilenet-v1", 4_231_976, 568_740_352),
        ("mobilenet-v2", 3_504_872, 300_774_272),
        ("resnet-50", 25_557_032, 4_089_184_256),
    ];
    for (name, params, macs) in want {
        let scaled = scaled(name, [1.0; 3]);
        let footprint = GraphCost::new(1000).footprint(&scaled.network, scaled.resolution).unwrap();
        assert_eq!(footprint.cost, Cost { params, macs }, "{name}");
        assert!(footprint.activations.peak > 0 && footprint.activations.sum > footprint.activations.peak);
    }
}

#[test]
fn an_answer_from_memory_is_the_same() {
    let mut model = GraphCost::new(1000);
    let scaled = scaled("mobilenet-v2", [1.4, 1.2, 1.3]);
    let first = model.footprint(&scaled.network, scaled.resolution).unwrap();
    assert_eq!(model.footprint(&scaled.network, scaled.resolution).unwrap(), first);
    assert_ne!(model.footprint(&scaled.network, scaled.resolution + 32).unwrap(), first);
}

/// Table 2 prints two digits.
#[test]
fn table_2_parameters_and_multiply_adds() {
    for row in PublishedVariant::TABLE_2 {
        let variant = Variant::find(row.name).unwrap();
        let cost = variant.network().cost(variant.resolution, variant.resolution, 1000).total();
        assert_near(cost.params as f64 / 1e6, row.params_millions, 0.02, row.name);
        assert_near(cost.macs as f64 / 1e9, row.macs_billions, 0.05, row.name);
    }
}

/// Multiply-adds of MobileNets and their scaled forms agree within 4 % of table 3, plus half of its last digit.
#[test]
fn table_3_mobilenets() {
    for row in PublishedScaling::TABLE_3.iter().filter(|row| row.baseline != "resnet-50") {
        let [depth, width, resolution] = row.multipliers.unwrap_or([1.4, 1.2, 1.3]);
        let got = gigamacs(row.baseline, [depth, width, resolution]);
        let got_288 = gigamacs(row.baseline, [depth, width, resolution.min(288.0 / 224.0)]);
        let compound = resolution == 1.3;
        let allowed = 0.04 * row.macs_billions + 0.05;
        let near = |got: f64| (got - row.macs_billions).abs() <= allowed;
        assert!(near(got) || compound && near(got_288), "{row:?}: {got} or {got_288}");
    }
}

/// The printed figures of depth and width fit only when they change places; the compound one is not reproduced.
#[test]
fn table_3_resnet() {
    let printed = |multipliers| {
        let row =
            |row: &&PublishedScaling| row.baseline == "resnet-50" && row.multipliers == Some(multipliers);
        PublishedScaling::TABLE_3.iter().find(row).unwrap().macs_billions
    };
    let (depth, width) = ([4.0, 1.0, 1.0], [1.0, 2.0, 1.0]);
    assert_near(gigamacs("resnet-50", [1.0; 3]), printed([1.0; 3]), 0.01, "base");
    assert_near(gigamacs("resnet-50", [1.0, 1.0, 2.0]), printed([1.0, 1.0, 2.0]), 0.01, "resolution");
    assert_near(gigamacs("resnet-50", depth), printed(width), 0.01, "depth, printed as width");
    assert_near(gigamacs("resnet-50", width), printed(depth), 0.01, "width, printed as depth");
    assert_near(gigamacs("resnet-50", [1.4, 1.2, 288.0 / 224.0]), 14.45, 0.001, "compound at 288");
    assert_near(gigamacs("resnet-50", [1.4, 1.2, 1.3]), 15.95, 0.001, "compound at 291");
}

/// The paper prints 1.8 to 1.9 for the single dimensions, which its released builder does not give; the compound and
/// the baseline agree.
#[test]
fn table_7() {
    let reproducible = [0.39, 1.58, 1.45, 1.54, 1.80];
    for (row, want) in PublishedScaling::TABLE_7.iter().zip(reproducible) {
        let got = gigamacs(row.baseline, row.multipliers.unwrap());
        assert!((got - want).abs() < 0.006, "{row:?}: {got}");
    }
    let compound = PublishedScaling::TABLE_7[4];
    assert_near(gigamacs("b0", compound.multipliers.unwrap()), compound.macs_billions, 0.01, "compound");
}

/// Points of figure 3, in billions of multiply-adds.
#[test]
fn figure_3_costs() {
    let curves: [(Dimension, &[(f64, f64)]); 3] = [
        (Dimension::Width, &[(1.0, 0.39), (1.4, 0.74), (1.8, 1.18), (2.6, 2.39), (3.8, 5.06), (5.0, 8.71)]),
        (Dimension::Depth, &[(1.0, 0.39), (2.0, 0.78), (3.0, 1.18), (4.0, 1.58), (6.0, 2.37), (8.0, 3.16)]),
        (
            Dimension::Resolution,
            &[(1.0, 0.39), (1.3, 0.72), (1.5, 0.89), (1.7, 1.13), (1.9, 1.46), (2.2, 1.92), (2.5, 2.45)],
        ),
    ];
    for (dimension, points) in curves {
        for &(factor, want) in points {
            let Scaling { depth, width, resolution } = Scaling::single(dimension, factor);
            let got = gigamacs("b0", [depth, width, resolution]);
            assert!((got - want).abs() < 0.0125, "{dimension} {factor}: {got}, want {want}");
        }
    }
}

#[test]
fn the_other_baselines_are_backbones() {
    let cases = [
        (StagedSpec::mobilenet_v1(), [256, 512, 1024], "blocks.4.1.bn2.act"),
        (StagedSpec::mobilenet_v2(), [32, 96, 320], "blocks.6.0.bn3"),
        (StagedSpec::resnet50(), [512, 1024, 2048], "layer4.2.act3"),
    ];
    for (spec, channels, last) in cases {
        let backbone = StagedNetwork::new(StagedConfig {
            spec,
            padding: Padding::Symmetric,
            bn_eps: 1e-3,
            bn_momentum: 0.03,
            prefix: "backbone".into(),
            strides: vec![8, 16, 32],
        });
        let mut builder = Builder::new();
        let image = builder.input("image", 3).unwrap();
        let levels = backbone.build(&mut builder, image).unwrap();
        let graph = builder.finish();
        let shapes = graph.shapes(1, 96, 64).unwrap();
        assert_eq!(levels.iter().map(|level| level.channels).collect::<Vec<_>>(), channels);
        for (level, (stride, channels)) in levels.iter().zip(backbone.levels()) {
            assert_eq!(shapes[level.node.0].dims(), [1, channels, 96 / stride, 64 / stride]);
        }
        assert_eq!(graph.node(levels[2].node).name, format!("backbone.{last}"));
        let pooled = graph.nodes().iter().filter(|node| matches!(node.op, Op::MaxPool { .. })).count();
        assert_eq!(pooled, usize::from(last.starts_with("layer")));
    }
}
