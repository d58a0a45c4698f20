//! Image files to RGB images.

use crate::regular_file::{FileProblem, read_regular};
use crate::{DataError, RgbImage};
use box_geometry::Size;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
};
use std::io::Cursor;
use std::path::Path;

/// Pixels of the largest image that is decoded where nobody says otherwise: 10,000 x 10,000.
pub const DEFAULT_MAX_PIXELS: usize = 100_000_000;

/// Bytes a pixel takes in the widest format (RGBA in 32-bit floats); no decoder needs more for its result, and no file
/// is longer.
const BYTES_PER_PIXEL: u64 = 16;
/// What a decoder may use beside its result; also the length that is granted to the file of any image.
const SPARE_BYTES: u64 = 64 << 20;

/// Why an image is not used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImageProblem {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// The header announces more pixels than are decoded.
    #[error(
        "expected at most {limit} pixels, but the header says {} x {}; scale the image down or raise the limit \
         (`max_pixels` in the data file)",
        .size.width, .size.height
    )]
    TooManyPixels {
        /// Size in the header.
        size: Size,
        /// Pixels allowed.
        limit: usize,
    },
    /// No image, one that ends early, or one of a kind that is not known.
    #[error("expected an image (jpg, png, bmp, gif, webp, tiff), but decoding failed: {0}")]
    Decode(String),
}

impl From<ImageError> for ImageProblem {
    fn from(error: ImageError) -> Self {
        // Some decoders write several lines.
        let words: Vec<String> = error.to_string().split_whitespace().map(String::from).collect();
        ImageProblem::Decode(words.join(" "))
    }
}

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Size with the orientation applied.
    pub size: Size,
    /// True where further pictures follow the first, which is the one that is used.
    pub is_animated: bool,
}

impl RgbImage {
    /// Reads and decodes a file of at most [`DEFAULT_MAX_PIXELS`] pixels; see [`decode`](Self::decode).
    ///
    /// # Errors
    /// When it is no regular file, cannot be read, is too large, or is no image.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_within(path, DEFAULT_MAX_PIXELS)
    }

    /// Reads and decodes a file of at most `max_pixels` pixels; see [`decode`](Self::decode).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_within(path: &Path, max_pixels: usize) -> Result<Self, DataError> {
        let decode = |bytes: Vec<u8>| Self::decode(&bytes, max_pixels);
        read_image(path, max_pixels)
            .and_then(decode)
            .map_err(|problem| DataError::Image { path: path.to_path_buf(), problem })
    }

    /// Decodes the bytes of a file. The format is taken from the content, an EXIF orientation is applied, 16 bits
    /// become 8, grey, palettes and CMYK become RGB; an alpha channel is dropped, so transparent pixels show the colour
    /// that is stored for them. Of several pictures the first is taken.
    ///
    /// # Errors
    /// When they are no image, or its header announces more than `max_pixels` pixels.
    pub fn decode(bytes: &[u8], max_pixels: usize) -> Result<Self, ImageProblem> {
        let reader = reader(bytes, max_pixels)?;
        let is_cut_short = reader.format() == Some(ImageFormat::Jpeg) && !has_end_marker(bytes);
        let mut decoder = reader.into_decoder()?;
        let size = check_pixels(&decoder, max_pixels)?;
        decoder.set_limits(limits(size.height * size.width))?;
        if is_cut_short {
            return Err(ImageProblem::Decode("the JPEG has no end marker: the file was cut short".into()));
        }
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        let size = Size { height: image.height() as usize, width: image.width() as usize };
        Ok(RgbImage::new(size, image.into_raw()))
    }
}

impl ImageHeader {
    /// The header of a file's bytes; nothing is decoded, but for GIF, whose second picture is looked for.
    ///
    /// # Errors
    /// When it is not that of an image, or announces more than `max_pixels` pixels.
    pub fn read(bytes: &[u8], max_pixels: usize) -> Result<Self, ImageProblem> {
        let reader = reader(bytes, max_pixels)?;
        let format = reader.format();
        let mut decoder = reader.into_decoder()?;
        let size = check_pixels(&decoder, max_pixels)?;
        let is_animated = is_animated(bytes, format, limits(size.height * size.width))?;
        let turned = Size { height: size.width, width: size.height };
        let size = if turns_sides(decoder.orientation()?) { turned } else { size };
        Ok(ImageHeader { size, is_animated })
    }
}

/// The bytes of an image file; no file of an image within the limit is longer than this reads.
pub(crate) fn read_image(path: &Path, max_pixels: usize) -> Result<Vec<u8>, ImageProblem> {
    Ok(read_regular(path, byte_limit(max_pixels))?)
}

/// Whether an end marker follows the start of the last scan. The decoder fills what is missing with grey, and does not
/// say so. Thumbnails in front of the picture have markers of their own.
fn has_end_marker(bytes: &[u8]) -> bool {
    let scan = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap_or(0);
    bytes[scan..].windows(2).any(|pair| pair == [0xff, 0xd9])
}

fn byte_limit(max_pixels: usize) -> u64 {
    (max_pixels as u64).saturating_mul(BYTES_PER_PIXEL).saturating_add(SPARE_BYTES)
}

/// What a decoder may allocate for an image of so many pixels. Parts of a file may claim to be larger than the whole.
fn limits(pixels: usize) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(byte_limit(pixels));
    limits
}

fn reader(bytes: &[u8], max_pixels: usize) -> ImageResult<ImageReader<Cursor<&[u8]>>> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits(max_pixels));
    Ok(reader)
}

fn check_pixels(decoder: &impl ImageDecoder, limit: usize) -> Result<Size, ImageProblem> {
    let (width, height) = decoder.dimensions();
    let size = Size { height: height as usize, width: width as usize };
    if u64::from(width) * u64::from(height) > limit as u64 {
        return Err(ImageProblem::TooManyPixels { size, limit });
    }
    Ok(size)
}

fn turns_sides(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => true,
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}

fn is_animated(bytes: &[u8], format: Option<ImageFormat>, limits: Limits) -> ImageResult<bool> {
    let bytes = Cursor::new(bytes);
    match format {
        Some(ImageFormat::Png) => PngDecoder::with_limits(bytes, limits)?.is_apng(),
        Some(ImageFormat::WebP) => Ok(WebPDecoder::new(bytes)?.has_animation()),
        Some(ImageFormat::Gif) => {
            let mut decoder = GifDecoder::new(bytes)?;
            decoder.set_limits(limits)?;
            // A damaged second picture is a second picture.
            Ok(decoder.into_frames().nth(1).is_some())
        }
        _ => Ok(false),
    }
}
