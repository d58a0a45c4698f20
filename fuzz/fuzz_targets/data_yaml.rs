//! Data files.
#![no_main]

use effyolo_config::DataSpec;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(spec) = DataSpec::from_yaml(text, "data.yaml", Path::new("folder")) {
        assert!(!spec.names.is_empty());
    }
});
