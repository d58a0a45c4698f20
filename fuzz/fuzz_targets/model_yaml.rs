//! Model files of both forms: what is accepted is written back to the same.
#![no_main]

use effyolo_config::ModelSpec;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(spec) = ModelSpec::from_yaml(text, "model.yaml") {
        let again =
            ModelSpec::from_yaml(&spec.to_yaml(), "again.yaml").expect("a resolved model is accepted");
        assert_eq!((again.backbone, again.task, again.classes), (spec.backbone, spec.task, spec.classes));
    }
});
