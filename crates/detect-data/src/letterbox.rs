//! Pixels of a letterboxed image.

use crate::RgbImage;
use crate::resize::resize_into;
use box_geometry::Letterbox;

/// Grey of everything that lies outside an image.
pub const BORDER: u8 = 114;

/// The image scaled and padded as `transform` says; padding is [`BORDER`] grey.
///
/// # Panics
/// When the transform is for an image of another size.
pub fn letterbox(image: &RgbImage, transform: &Letterbox) -> RgbImage {
    assert_eq!(image.size(), transform.original(), "size of the image that the letterbox is for");
    let padding = transform.padding();
    if transform.output() == image.size() && transform.resized() == image.size() {
        return image.clone();
    }
    let mut output = RgbImage::filled(transform.output(), BORDER);
    if transform.resized() == image.size() {
        output.paste(image, padding.left as isize, padding.top as isize);
    } else {
        resize_into(image, transform.resized(), &mut output, padding.left, padding.top);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::{LetterboxOptions, Size};

    #[test]
    fn pads_with_grey_around_the_scaled_image() {
        let image = RgbImage::filled(Size { height: 30, width: 60 }, 200);
        let options = LetterboxOptions { auto_stride: None, scale_up: true, scale_fill: false };
        let transform = Letterbox::new(image.size(), Size { height: 41, width: 40 }, &options).unwrap();
        let output = letterbox(&image, &transform);
        assert_eq!(output.size(), Size { height: 41, width: 40 });
        for y in 0..41 {
            let want = if (10..30).contains(&y) { 200 } else { BORDER };
            assert!(output.row(y).iter().all(|byte| *byte == want), "row {y}");
        }
    }

    #[test]
    fn nothing_changes_where_nothing_is_to_do() {
        let image = RgbImage::new(Size { height: 2, width: 2 }, (0..12).collect());
        let options = LetterboxOptions { auto_stride: Some(2), scale_up: false, scale_fill: false };
        let transform = Letterbox::new(image.size(), Size { height: 4, width: 4 }, &options).unwrap();
        assert_eq!(letterbox(&image, &transform), image);
    }
}
