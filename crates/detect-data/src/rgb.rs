//! Images in memory.

use box_geometry::Size;

/// An RGB image, one byte a channel.
///
/// # Shapes
/// `data` is `[H, W, 3]`: rows from the top, pixels from the left, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    size: Size,
    data: Vec<u8>,
}

impl RgbImage {
    /// An image from its bytes.
    ///
    /// # Panics
    /// When `data` does not have `height * width * 3` bytes.
    pub fn new(size: Size, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), size.height * size.width * 3, "bytes of an image of {size:?}");
        RgbImage { size, data }
    }

    /// An image of one grey.
    pub fn filled(size: Size, grey: u8) -> Self {
        RgbImage { size, data: vec![grey; size.height * size.width * 3] }
    }

    /// Height and width.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The bytes, `[H, W, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, `[H, W, 3]`.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The bytes, `[H, W, 3]`.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Bytes of row `y`.
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.size.width * 3;
        &self.data[y * stride..][..stride]
    }

    /// Bytes of row `y`.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        let stride = self.size.width * 3;
        &mut self.data[y * stride..][..stride]
    }

    /// Copies `source` so that its top-left corner lies at `(left, top)`; what lies outside is cropped.
    pub fn paste(&mut self, source: &RgbImage, left: isize, top: isize) {
        let overlap = |offset: isize, from: usize, to: usize| {
            let start = offset.clamp(0, to as isize);
            let end = (offset + from as isize).clamp(start, to as isize);
            (start as usize, end as usize, (start - offset) as usize)
        };
        let (x, x_end, source_x) = overlap(left, source.size.width, self.size.width);
        let (y, y_end, source_y) = overlap(top, source.size.height, self.size.height);
        if x == x_end {
            return;
        }
        for row in y..y_end {
            let from = &source.row(source_y + row - y)[source_x * 3..][..(x_end - x) * 3];
            self.row_mut(row)[x * 3..x_end * 3].copy_from_slice(from);
        }
    }
}
