//! Images in memory.

use crate::DataError;
use box_geometry::Size;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, ImageResult};
use std::io::Cursor;
use std::path::Path;

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

    /// Reads and decodes a file; the format is taken from its content, an EXIF orientation is applied, an alpha channel
    /// is dropped, grey becomes RGB.
    ///
    /// # Errors
    /// When the file cannot be read or is no image.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = read(path)?;
        RgbImage::decode(&bytes).map_err(|source| DataError::Image { path: path.to_path_buf(), source })
    }

    /// Decodes the bytes of a file; see [`open`](Self::open).
    ///
    /// # Errors
    /// When they are no image.
    pub fn decode(bytes: &[u8]) -> Result<Self, image::ImageError> {
        let mut decoder = reader(bytes)?.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        let size = Size { height: image.height() as usize, width: image.width() as usize };
        Ok(RgbImage { size, data: image.into_raw() })
    }

    /// Size of the image in a file, with its orientation applied, from the header alone.
    ///
    /// # Errors
    /// When the file cannot be read or its header is not that of an image.
    pub fn size_in_file(path: &Path) -> Result<Size, DataError> {
        let bytes = read(path)?;
        size_in_header(&bytes).map_err(|source| DataError::Image { path: path.to_path_buf(), source })
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

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })
}

fn reader(bytes: &[u8]) -> ImageResult<ImageReader<Cursor<&[u8]>>> {
    Ok(ImageReader::new(Cursor::new(bytes)).with_guessed_format()?)
}

fn size_in_header(bytes: &[u8]) -> ImageResult<Size> {
    let mut decoder = reader(bytes)?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let size = Size { height: height as usize, width: width as usize };
    Ok(match decoder.orientation()? {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => Size { height: size.width, width: size.height },
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => size,
    })
}
