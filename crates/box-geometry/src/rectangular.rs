//! Rectangular batches: images of alike aspect ratio share a network input that is no larger than they need.

use crate::letterbox::check;
use crate::{GeometryError, Size};

/// Images that go through the network together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RectangularBatch {
    /// Indices of the images, by rising height / width.
    pub images: Vec<usize>,
    /// Size of the network input.
    pub size: Size,
}

/// Sorts images by height / width (equal ones keep their order), cuts them into batches of `batch`, and gives each
/// batch the smallest input that holds its images at a long side of `image_size`: each side is
/// `ceil(side / stride + pad) * stride`. `pad` is 0.5 in validation, 0 in rectangular training.
///
/// # Errors
/// When `batch`, `stride` or a side is 0.
pub fn rectangular_batches(
    originals: &[Size],
    batch: usize,
    image_size: usize,
    stride: usize,
    pad: f64,
) -> Result<Vec<RectangularBatch>, GeometryError> {
    if batch == 0 {
        return Err(GeometryError::EmptyBatch);
    }
    if stride == 0 {
        return Err(GeometryError::ZeroStride { what: "rectangular batches" });
    }
    originals.iter().try_for_each(|&size| check("rectangular batches: image", size))?;
    let aspect = |image: usize| originals[image].height as f64 / originals[image].width as f64;
    let mut order: Vec<usize> = (0..originals.len()).collect();
    order.sort_by(|&a, &b| aspect(a).total_cmp(&aspect(b)));
    let side = |share: f64| (share * image_size as f64 / stride as f64 + pad).ceil() as usize * stride;
    let batch_of = |images: &[usize]| {
        let [height, width] = shares(aspect(images[0]), aspect(images[images.len() - 1]));
        RectangularBatch { images: images.to_vec(), size: Size { height: side(height), width: side(width) } }
    };
    Ok(order.chunks(batch).map(batch_of).collect())
}

/// Height and width as shares of the long side, for images whose height / width lies in `lowest ..= highest`.
fn shares(lowest: f64, highest: f64) -> [f64; 2] {
    if highest < 1.0 {
        [highest, 1.0]
    } else if lowest > 1.0 {
        [1.0, 1.0 / lowest]
    } else {
        [1.0, 1.0]
    }
}
