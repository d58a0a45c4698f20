//! COCO instances files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = detect_data::parse_coco(bytes) {
        let boxes = found.images.iter().flat_map(|image| image.boxes.iter().chain(&image.crowds));
        for labelled in boxes {
            assert!(labelled.class < found.categories.len() && labelled.cxcywh.w > 0.0);
        }
    }
});
