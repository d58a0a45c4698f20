//! Bilinear scaling without antialiasing, as OpenCV's `INTER_LINEAR` does it: half-pixel centres, borders repeated.

use crate::RgbImage;
use box_geometry::Size;
use cpu_kernels::Isa;

/// Size that an image has after loading: the long side becomes `image_size`, the other keeps the proportion, rounded
/// up.
pub fn loading_size(original: Size, image_size: usize) -> Size {
    let long = original.height.max(original.width);
    if long == image_size {
        return original;
    }
    let ratio = image_size as f64 / long as f64;
    let side = |side: usize| ((side as f64 * ratio).ceil() as usize).clamp(1, image_size);
    Size { height: side(original.height), width: side(original.width) }
}

/// The image scaled to `size`; a value differs from exact bilinear interpolation by less than one grey level.
pub fn resize(image: &RgbImage, size: Size) -> RgbImage {
    if image.size() == size {
        return image.clone();
    }
    let mut output = RgbImage::filled(size, 0);
    resize_into(image, size, &mut output, 0, 0);
    output
}

/// Scales the image to `size` and writes it to `canvas`, its top-left corner at `(left, top)`.
///
/// # Panics
/// When it does not fit there.
pub(crate) fn resize_into(image: &RgbImage, size: Size, canvas: &mut RgbImage, left: usize, top: usize) {
    let Size { height, width } = canvas.size();
    assert!(left + size.width <= width && top + size.height <= height, "{size:?} at ({left}, {top})");
    let from = [image.size().height, image.size().width];
    let target = &mut canvas.data_mut()[(top * width + left) * 3..];
    cpu_kernels::resize::rgb8(Isa::best(), image.data(), from, target, [size.height, size.width], width * 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_averages_four_pixels() {
        let image =
            RgbImage::new(Size { height: 2, width: 2 }, [[10; 3], [20; 3], [30; 3], [40; 3]].concat());
        assert_eq!(resize(&image, Size { height: 1, width: 1 }).data(), [25, 25, 25]);
    }

    #[test]
    fn loading_rounds_the_short_side_up() {
        let size = |height, width| Size { height, width };
        assert_eq!(loading_size(size(480, 640), 320), size(240, 320));
        assert_eq!(loading_size(size(641, 481), 320), size(320, 241));
        assert_eq!(loading_size(size(100, 50), 320), size(320, 160));
        assert_eq!(loading_size(size(320, 17), 320), size(320, 17));
        assert_eq!(loading_size(size(1, 5000), 320), size(1, 320));
    }
}
