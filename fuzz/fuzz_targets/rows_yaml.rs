//! Rows under a fixed head of the file: what is accepted is built.
#![no_main]

use effyolo_config::ModelSpec;

libfuzzer_sys::fuzz_target!(|rows: &str| {
    let text = format!("nc: 3\nwidth_multiple: 0.25\nbackbone:\n  - {rows}\n");
    if let Ok(spec) = ModelSpec::from_yaml(&text, "rows.yaml") {
        let side = spec.stride();
        let graph = spec.build(Some(2)).expect("accepted rows are built").graph;
        assert!(graph.shapes(1, side, side).is_ok());
    }
});
