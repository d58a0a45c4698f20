//! The rows form: the stock networks, EfficientNets, and what is said where a row is wrong.

use effyolo_config::{ConfigError, Model, ModelSpec};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name)
}

fn stock() -> String {
    std::fs::read_to_string(config("rows/yolov8.yaml")).unwrap()
}

fn efficientnet() -> String {
    std::fs::read_to_string(config("rows/yolov8-efficientnet-b0.yaml")).unwrap()
}

fn read(text: &str) -> Result<ModelSpec, ConfigError> {
    ModelSpec::from_yaml(text, "rows.yaml")
}

fn refused(text: &str) -> String {
    match read(text) {
        Err(error) => error.to_string(),
        Ok(_) => "(accepted)".into(),
    }
}

/// Name, shape and start of all parameters.
fn params(model: &Model) -> Vec<String> {
    model.graph.params().iter().map(|param| format!("{param:?}")).collect()
}

fn gflop(model: &Model) -> f64 {
    let shapes = model.graph.shapes(1, 640, 640).unwrap();
    2.0 * model.graph.cost(&shapes).macs as f64 / 1e9
}

#[test]
fn stock_networks_are_those_of_our_own_form() {
    for scale in ["n", "s", "m", "l", "x"] {
        let rows = ModelSpec::load(&config(&format!("rows/yolov8{scale}.yaml"))).unwrap();
        let own = ModelSpec::load(&config(&format!("detect/yolov8{scale}.yaml"))).unwrap();
        for classes in [80, 3] {
            let (rows, own) = (rows.build(Some(classes)).unwrap(), own.build(Some(classes)).unwrap());
            assert_eq!(params(&rows), params(&own), "{scale}");
            assert_eq!(rows.graph.nodes().len(), own.graph.nodes().len(), "{scale}");
            assert_eq!(gflop(&rows), gflop(&own), "{scale}");
            assert_eq!(rows.head().unwrap().strides, own.head().unwrap().strides);
            assert_eq!(rows.backbone_stages, own.backbone_stages, "{scale}");
        }
        assert!(rows.notes.is_empty(), "{:?}", rows.notes);
        assert_eq!((rows.classes, rows.stride()), (80, 32));
    }
}

#[test]
fn a_resolved_network_is_written_back() {
    for name in ["yolov8m.yaml", "yolov8s-efficientnet-b0.yaml"] {
        let mut spec = ModelSpec::load(&config("rows").join(name)).unwrap();
        spec.classes = 7;
        spec.set(&["lr0=0.002", "imgsz=330", "freeze=2"], "--set").unwrap();
        let again = read(&spec.to_yaml()).unwrap();
        assert_eq!((&again.backbone, again.task, again.classes), (&spec.backbone, spec.task, 7), "{name}");
        assert_eq!(again.train, spec.train);
        assert_eq!(params(&again.build(None).unwrap()), params(&spec.build(None).unwrap()));
        assert!(again.notes.is_empty(), "{:?}", again.notes);
    }
}

#[test]
fn the_scale_comes_from_a_key_or_the_name_or_is_the_first() {
    let width = |spec: &ModelSpec| {
        let graph = spec.build(None).unwrap().graph;
        graph.params().iter().find(|param| param.name == "model.0.conv.weight").unwrap().dims[0]
    };
    let first = read(&stock()).unwrap();
    assert_eq!((width(&first), first.notes.len()), (16, 1));
    assert!(first.notes[0].contains("scale `n`"), "{:?}", first.notes);
    let keyed = read(&stock().replace("nc: 80", "nc: 80\nscale: l")).unwrap();
    assert_eq!((width(&keyed), keyed.notes.len()), (64, 0));
    assert!(
        refused(&stock().replace("nc: 80", "nc: 80\nscale: q"))
            .contains("one of the `scales`: n, s, m, l, x")
    );
    let folder = tempfile::tempdir().unwrap();
    for (name, want) in
        [("yolov8s.yaml", 32), ("my-YOLOv8x_2.yaml", 80), ("yolo.yaml", 16), ("yolov8nano.yaml", 16)]
    {
        std::fs::write(folder.path().join(name), stock()).unwrap();
        assert_eq!(width(&ModelSpec::load(&folder.path().join(name)).unwrap()), want, "{name}");
    }
    let absent = ModelSpec::load(&folder.path().join("yolov9s.yaml")).unwrap_err().to_string();
    assert!(absent.contains("yolov9s.yaml"), "{absent}");
}

#[test]
fn multiples_without_scales() {
    let start = stock().find("\nscales:").unwrap() + 1;
    let end = stock().find("\nbackbone:").map(|at| at + 1).unwrap();
    let mut text = stock();
    text.replace_range(start..end, "depth_multiple: 0.33\nwidth_multiple: 0.25\n");
    let spec = read(&text).unwrap();
    let own = ModelSpec::load(&config("detect/yolov8n.yaml")).unwrap();
    assert_eq!(params(&spec.build(None).unwrap()), params(&own.build(None).unwrap()));
    text = text.replace("depth_multiple: 0.33\nwidth_multiple: 0.25\n", "");
    let spec = read(&text).unwrap();
    assert!(spec.notes[0].contains("YOLOv8l"), "{:?}", spec.notes);
}

#[test]
fn an_efficientnet_in_one_row() {
    for (scale, own, params_stated) in
        [("n", "effnet-b0-n.yaml", 5_692_220), ("s", "effnet-b0-s.yaml", 10_014_332)]
    {
        let rows = ModelSpec::load(&config(&format!("rows/yolov8{scale}-efficientnet-b0.yaml"))).unwrap();
        let own = ModelSpec::load(&config("detect").join(own)).unwrap();
        let (rows, own) = (rows.build(None).unwrap(), own.build(None).unwrap());
        let shapes = |model: &Model| -> Vec<Vec<usize>> {
            model.graph.params().iter().map(|param| param.dims.clone()).collect()
        };
        assert_eq!(shapes(&rows), shapes(&own), "{scale}");
        let backbone = |model: &Model| -> Vec<String> {
            params(model).into_iter().filter(|param| param.contains("backbone.")).collect()
        };
        assert_eq!(backbone(&rows), backbone(&own));
        assert_eq!(rows.backbone_stages, own.backbone_stages);
        let counted = rows.graph.cost(&rows.graph.shapes(1, 64, 64).unwrap()).params;
        assert_eq!((counted, gflop(&rows)), (params_stated, gflop(&own)), "{scale}");
    }
    let text = |row: &str| efficientnet().replace("[-1, 1, EfficientNet, [efficientnet-b0]]", row);
    for row in [
        "[-1, 1, EfficientNet_B0, []]",
        "[-1, 1, efficientnetb0, [None]]",
        "[-1, 1, EfficientNet, ['efficientnet_b0', False]]",
    ] {
        assert_eq!(read(&text(row)).unwrap().backbone, read(&efficientnet()).unwrap().backbone, "{row}");
    }
    let shrunk = read(&text("[-1, 1, EfficientNet, ['efficientnet-b0', 0.25, 0.5]]")).unwrap();
    assert!(shrunk.notes.iter().any(|note| note.contains("no pretrained weights")), "{:?}", shrunk.notes);
    assert_eq!(read(&shrunk.to_yaml()).unwrap().backbone, shrunk.backbone);
    let pretrained = read(&text("[-1, 1, EfficientNet_B0, [True]]")).unwrap();
    assert!(pretrained.notes.iter().any(|note| note.contains("--weights")), "{:?}", pretrained.notes);
    for (row, part) in [
        ("[-1, 1, EfficientNetV2, [s]]", "an EfficientNet of a known variant (b0, b1"),
        ("[-1, 1, EfficientNet_B0, [0.5]]", "no factors, or two"),
        ("[-1, 1, EfficientNet_B0, [[1]]]", "factors of width and depth"),
        ("[-1, 2, EfficientNet_B0, []]", "EfficientNet is not repeated"),
    ] {
        let message = refused(&text(row));
        assert!(message.contains(part), "{message}\n  should contain: {part}");
    }
}

/// Stages of an EfficientNet as a list, of which Index rows pick three.
fn torchvision(p5: &str) -> String {
    let rows = format!(
        "backbone:
  - [-1, 1, TorchVision, [1280, efficientnet_b0, DEFAULT, True, 2, True]]
  - [0, 1, Index, [40, 4]]
  - [0, 1, Index, [112, 6]]
  - [0, 1, Index, {p5}]
  - [-1, 1, SPPF, [1024, 5]] # 4

head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 3, C2f, [512]] # 7
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 1], 1, Concat, [1]]
  - [-1, 3, C2f, [256]] # 10
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, 7], 1, Concat, [1]]
  - [-1, 3, C2f, [512]] # 13
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 4], 1, Concat, [1]]
  - [-1, 3, C2f, [1024]] # 16
  - [[10, 13, 16], 1, Detect, [nc]]
"
    );
    format!("nc: 80\nscales: {{n: [0.33, 0.25, 1024]}}\nscale: n\n{rows}")
}

#[test]
fn stages_of_an_efficientnet_as_a_list() {
    let own = ModelSpec::load(&config("detect/effnet-b0-n.yaml")).unwrap().build(None).unwrap();
    let spec = read(&torchvision("[320, 8]")).unwrap();
    let model = spec.build(None).unwrap();
    assert!((gflop(&model) - gflop(&own)).abs() < 1e-9, "{} and {}", gflop(&model), gflop(&own));
    for part in ["--weights", "normalize: imagenet"] {
        assert!(spec.notes.iter().any(|note| note.contains(part)), "{:?}", spec.notes);
    }
    assert_eq!(read(&spec.to_yaml()).unwrap().backbone, spec.backbone);
    let head = read(&torchvision("[1280, 9]")).unwrap().build(None).unwrap();
    let names: Vec<_> = head.graph.params().iter().map(|param| param.name.as_str()).collect();
    assert!(names.contains(&"backbone.conv_head.weight") && names.contains(&"backbone.bn2.running_var"));
    for (p5, part) in [
        ("[80, 5]", "0 (the image), 2, 3, 4, 6, 8"),
        ("[512, 8]", "expected its 320 channels, got 512"),
        ("[320, 10]", "from 0 to 9"),
    ] {
        let message = refused(&torchvision(p5));
        assert!(message.contains(part), "{message}\n  should contain: {part}");
    }
    let direct = torchvision("[320, 8]").replace("[-1, 1, SPPF, [1024, 5]] # 4", "[0, 1, SPPF, [1024, 5]]");
    assert!(refused(&direct).contains("several maps"));
}

#[test]
fn a_wrong_row_is_named_with_what_is_known() {
    let cases = [
        (
            "[-1, 3, C2f, [128, True]]",
            "[-1, 3, C3k2, [128, True]]",
            "`backbone[2][2]`: expected a module that is known: Conv, C2f",
        ),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, C2F, [128, True]]", "did you mean C2f?"),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, os.system, [ls]]", "nothing is imported"),
        (
            "[-1, 3, C2f, [128, True]]",
            "[-1, 3, C2f]",
            "`backbone[2]`: expected a row [from, repeats, module, arguments]",
        ),
        (
            "[-1, 3, C2f, [128, True]]",
            "[-1, 0, C2f, [128, True]]",
            "`backbone[2][1]`: expected a whole number from 1",
        ),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, C2f, [0, True]]", "`backbone[2][3][0]`"),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, C2f, [1e9, True]]", "`backbone[2][3][0]`"),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, C2f, [128, maybe]]", "expected true or false"),
        ("[-1, 3, C2f, [128, True]]", "[-1, 3, C2f, [128, True, 1, 0.25]]", "`backbone[2][3][3]`"),
        ("[64, 3, 2]", "[64, 4, 2]", "an odd kernel size"),
        ("[64, 3, 2]", "[64, 3, 2, 0]", "no other padding is known"),
        ("[64, 3, 2]", "[64, 3, 2, None, 4]", "groups are not known"),
        ("[64, 3, 2]", "[]", "[channels, kernel, stride, padding, groups, dilation]"),
        (
            "[[-1, 6], 1, Concat, [1]]",
            "[[-1, 4], 1, Concat, [1]]",
            "`head[1]`: row 11 (Concat): `from`: expected maps of one stride",
        ),
        ("[[-1, 6], 1, Concat, [1]]", "[[-1, 99], 1, Concat, [1]]", "row 11 (Concat): `from` 99"),
        (
            "[[-1, 6], 1, Concat, [1]]",
            "[[-1, 11], 1, Concat, [1]]",
            "`from` 11: expected a value before this row",
        ),
        ("[[-1, 6], 1, Concat, [1]]", "[[-1, -12], 1, Concat, [1]]", "`from` -12"),
        ("[[-1, 6], 1, Concat, [1]]", "[[], 1, Concat, [1]]", "1 to 64 numbers"),
        ("[[-1, 6], 1, Concat, [1]]", "[[-1, 6], 1, Concat, [2]]", "the axis of the channels"),
        ("[[-1, 6], 1, Concat, [1]]", "[[-1, 6], 1, SPPF, [256]]", "expected one value, got 2"),
        ("[None, 2, nearest]", "[None, 2, bilinear]", "one of nearest"),
        ("[None, 2, nearest]", "[[20, 20], 2, nearest]", "upsampling is by a factor"),
        ("[[15, 18, 21], 1, Detect, [nc]]", "[[21, 18, 15], 1, Detect, [nc]]", "from fine to coarse"),
        ("[[15, 18, 21], 1, Detect, [nc]]", "[[15, 18, 21], 1, Detect, [7]]", "from 80 to 80, got 7"),
        ("[[15, 18, 21], 1, Detect, [nc]]", "[[15, 18, 21], 1, Segment, [nc]]", "a module that is known"),
        ("[[15, 18, 21], 1, Detect, [nc]]", "[-1, 1, SPPF, [256]]", "one Detect, in the last row"),
        ("nc: 80", "", "`nc` is missing"),
        ("nc: 80", "nc: 80\nactivation: nn.ReLU()", "`activation`: expected nn.SiLU()"),
        ("nc: 80", "nc: 80\nkpt_shape: [17, 3]", "`kpt_shape`: there is no such key"),
        ("n: [0.33, 0.25, 1024]", "n: [0.33, .nan, 1024]", "`scales.n[1]`"),
        ("n: [0.33, 0.25, 1024]", "n: [0.33, 0.25]", "[depth, width, largest width]"),
    ];
    for (from, to, part) in cases {
        assert!(stock().contains(from), "{from}");
        let message = refused(&stock().replacen(from, to, 1));
        assert!(message.starts_with("rows.yaml: "), "{to}: {message}");
        assert!(message.contains(part), "{message}\n  should contain: {part}");
    }
    assert!(
        refused(&stock().replace("activation", "").replace("backbone: #", "backbone: [] #"))
            .contains("rows.yaml")
    );
}

#[test]
fn rows_that_nobody_reads_are_left_out_and_named() {
    let text = stock()
        .replace("[-1, 1, SPPF, [1024, 5]] # 9", "[-1, 1, SPPF, [1024, 5]]\n  - [3, 1, Conv, [64]]")
        .replace("head:\n  - [-1, 1, nn.Upsample", "head:\n  - [9, 1, nn.Upsample");
    // All numbers behind the new row move on by one.
    let text = text.replace("12]", "13]").replace("[15, 18, 21]", "[16, 19, 22]");
    let spec = read(&text).unwrap();
    assert!(
        spec.notes.iter().any(|note| note.contains("row 10 (Conv) is read by no other row")),
        "{:?}",
        spec.notes
    );
    let params = spec.build(None).unwrap().graph;
    assert!(params.params().iter().all(|param| !param.name.starts_with("model.10.")));
}

#[test]
fn of_an_efficientnet_only_what_is_read_is_built() {
    let rows = |first: &str, from: &str| {
        format!(
            "nc: 1\nwidth_multiple: 0.25\nbackbone:\n  - {first}\n{from}head:\n  - [-1, 1, Detect, [nc]]\n"
        )
    };
    let one = rows("[-1, 1, EfficientNet_B0, []]", "  - [2, 1, SPPF, [256, 5]]\n");
    let picked = rows(
        "[-1, 1, TorchVision, [1, efficientnet_b0, None, True, 2, True]]",
        "  - [0, 1, Index, [320, 8]]\n  - [0, 1, Index, [40, 4]]\n  - [-1, 1, SPPF, [256, 5]]\n",
    );
    for text in [one, picked] {
        let spec = read(&text).unwrap();
        let names: Vec<String> =
            spec.build(None).unwrap().graph.params().iter().map(|param| param.name.clone()).collect();
        let has = |part: &str| names.iter().any(|name| name.starts_with(part));
        assert!(has("backbone.blocks.2.") && !has("backbone.blocks.3."), "{text}");
        assert_eq!(spec.stride(), 8);
    }
}

#[test]
fn growth_is_bounded() {
    let joins = "  - [[-1, -1], 1, Concat, [1]]\n".repeat(60);
    let text =
        format!("nc: 1\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]]\n{joins}head:\n  - [-1, 1, Detect, [nc]]\n");
    assert!(refused(&text).contains("at most 65536 channels"));
    let downs = "  - [-1, 1, Conv, [8, 3, 8]]\n".repeat(30);
    let text = format!("nc: 1\nbackbone:\n{downs}head:\n  - [-1, 1, Detect, [nc]]\n");
    assert!(refused(&text).contains("stride"));
    let wide = "  - [-1, 1, Conv, [65536, 15, 1]]\n".repeat(3);
    let text = format!("nc: 1\nbackbone:\n{wide}head:\n  - [-1, 1, Detect, [nc]]\n");
    assert!(refused(&text).contains("2000000000 parameters"));
    let many = "  - [-1, 1, Conv, [8, 1, 1]]\n".repeat(501);
    assert!(
        refused(&format!("nc: 1\nbackbone:\n{many}head:\n  - [-1, 1, Detect, [nc]]\n"))
            .contains("1 to 500 rows")
    );
}

/// Rows with wrong parts here and there.
fn some_rows() -> impl Strategy<Value = String> {
    let from =
        prop_oneof![Just("-1".to_string()), "[-4-9]", Just("[-1, 0]".into()), Just("[0, 1, 2]".into())];
    let module = prop::sample::select(vec![
        "Conv, [8, 3, 2]",
        "Conv, [16, 1]",
        "C2f, [16, True]",
        "SPPF, [8, 5]",
        "nn.Upsample, [None, 2, nearest]",
        "Concat, [1]",
        "Detect, [nc]",
        "EfficientNet_B0, []",
        "TorchVision, [1280, efficientnet_b0, None, True, 2, True]",
        "Index, [40, 4]",
        "Index, [320, 8]",
        "Index, [3, 0]",
        "Unknown, [1]",
        "Conv, [-3]",
    ]);
    prop::collection::vec((from, 1usize..4, module), 1..10).prop_map(|rows| {
        rows.into_iter()
            .map(|(from, repeats, module)| format!("  - [{from}, {repeats}, {module}]\n"))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_rows_are_built_or_refused(backbone in some_rows(), head in some_rows(), multiple in 0.1f64..2.0) {
        let text = format!(
            "nc: 3\ndepth_multiple: {multiple}\nbackbone:\n{backbone}head:\n{head}  - [-1, 1, Detect, [nc]]\n"
        );
        if let Ok(spec) = read(&text) {
            let again = read(&spec.to_yaml()).unwrap();
            prop_assert_eq!(again.backbone, spec.backbone.clone());
            let side = spec.stride() * 2;
            let graph = spec.build(Some(2)).unwrap().graph;
            prop_assert!(graph.shapes(1, side, side).is_ok());
        }
    }
}
