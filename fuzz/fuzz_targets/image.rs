//! Headers and decoders of images, within a small limit of pixels.
#![no_main]

use detect_data::{ImageHeader, RgbImage};

/// Keeps a run fast, and shows where a limit is not held.
const MAX_PIXELS: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let header = ImageHeader::read(bytes, MAX_PIXELS);
    if let Ok(image) = RgbImage::decode(bytes, MAX_PIXELS) {
        assert_eq!(header.expect("what decodes has a header").size, image.size());
        assert!(image.size().height * image.size().width <= MAX_PIXELS);
    }
});
