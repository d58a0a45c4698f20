//! YOLO label files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(labels) = detect_data::parse_labels(bytes, 3) {
        assert!(labels.boxes.iter().all(|labelled| labelled.class < 3 && labelled.cxcywh.w > 0.0));
    }
});
