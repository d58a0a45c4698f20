//! The letterbox transform: an image scaled into a network input with its sides kept in proportion, the rest padded.
//!
//! Roundings are half-to-even, as in the reference implementations.

use crate::{GeometryError, Size, Xyxy};

/// How an image is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterboxOptions {
    /// With a stride, pad only to the next multiple of it instead of to the full target.
    pub auto_stride: Option<usize>,
    /// Images smaller than the target are enlarged; otherwise they are only padded.
    pub scale_up: bool,
    /// The image is stretched over the whole target; nothing is padded.
    pub scale_fill: bool,
}

/// Pixels added at each edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// Below.
    pub bottom: usize,
    /// To the left.
    pub left: usize,
    /// To the right.
    pub right: usize,
}

/// How boxes go back to the original image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InverseRule {
    /// As YOLOv8 8.0 to 8.2 did: one gain for both axes, padding computed from the size before rounding. Up to a pixel
    /// off.
    Classic,
    /// As 8.4 does: the padding and the scale of each axis that were really applied; the exact inverse.
    Current,
}

/// The letterbox of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    original: Size,
    resized: Size,
    padding: Padding,
    gain: [f64; 2],
}

impl Letterbox {
    /// Fits an image of size `original` into a network input of size `target`.
    ///
    /// # Errors
    /// When a side or the stride of `auto_stride` is 0.
    pub fn new(original: Size, target: Size, options: &LetterboxOptions) -> Result<Self, GeometryError> {
        check("letterbox: original image", original)?;
        check("letterbox: target", target)?;
        if options.auto_stride == Some(0) {
            return Err(GeometryError::ZeroStride { what: "letterbox" });
        }
        if options.scale_fill {
            let gain =
                [target.width as f64 / original.width as f64, target.height as f64 / original.height as f64];
            let padding = Padding { top: 0, bottom: 0, left: 0, right: 0 };
            return Ok(Letterbox { original, resized: target, padding, gain });
        }
        let gain = fitting_gain(original, target, options.scale_up);
        let resized = Size {
            height: scaled(original.height, gain).min(target.height),
            width: scaled(original.width, gain).min(target.width),
        };
        let spare = |target: usize, resized: usize| match options.auto_stride {
            Some(stride) => (target - resized) % stride,
            None => target - resized,
        };
        let (left, right) = halves(spare(target.width, resized.width));
        let (top, bottom) = halves(spare(target.height, resized.height));
        Ok(Letterbox { original, resized, padding: Padding { top, bottom, left, right }, gain: [gain; 2] })
    }

    /// Size of the original image.
    pub fn original(&self) -> Size {
        self.original
    }

    /// Size of the image after scaling, before padding.
    pub fn resized(&self) -> Size {
        self.resized
    }

    /// What is padded.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// Gains `[x, y]` before the resized size was rounded.
    pub fn gain(&self) -> [f64; 2] {
        self.gain
    }

    /// Size of the network input.
    pub fn output(&self) -> Size {
        Size {
            height: self.resized.height + self.padding.top + self.padding.bottom,
            width: self.resized.width + self.padding.left + self.padding.right,
        }
    }

    /// A box from original pixels to network-input pixels.
    pub fn forward(&self, bbox: &Xyxy) -> Xyxy {
        let [x, y] = self.real_scale();
        bbox.scale(x as f32, y as f32).shift(self.padding.left as f32, self.padding.top as f32)
    }

    /// A box from network-input pixels to original pixels, clipped to the original image.
    pub fn inverse(&self, bbox: &Xyxy, rule: InverseRule) -> Xyxy {
        let [gain_x, gain_y] = match rule {
            InverseRule::Classic => self.gain,
            InverseRule::Current => self.real_scale(),
        };
        let [left, top] = match rule {
            InverseRule::Classic => self.classic_padding(),
            InverseRule::Current => [self.padding.left as f64, self.padding.top as f64],
        };
        let back = |value: f32, padding: f64, gain: f64| ((value as f64 - padding) / gain) as f32;
        Xyxy {
            x1: back(bbox.x1, left, gain_x),
            y1: back(bbox.y1, top, gain_y),
            x2: back(bbox.x2, left, gain_x),
            y2: back(bbox.y2, top, gain_y),
        }
        .clip(self.original)
    }

    /// Scales `[x, y]` that were really applied: resized over original size.
    fn real_scale(&self) -> [f64; 2] {
        [
            self.resized.width as f64 / self.original.width as f64,
            self.resized.height as f64 / self.original.height as f64,
        ]
    }

    /// Left and top padding as the classic rule has it: from the size before rounding.
    fn classic_padding(&self) -> [f64; 2] {
        let half = |output: usize, original: usize, gain: f64| {
            ((output as f64 - original as f64 * gain) / 2.0 - 0.1).round_ties_even()
        };
        let (output, [gain_x, gain_y]) = (self.output(), self.gain);
        [half(output.width, self.original.width, gain_x), half(output.height, self.original.height, gain_y)]
    }
}

/// The gain at which an image just fits.
fn fitting_gain(original: Size, target: Size, scale_up: bool) -> f64 {
    let gain =
        (target.height as f64 / original.height as f64).min(target.width as f64 / original.width as f64);
    if scale_up { gain } else { gain.min(1.0) }
}

/// A side after scaling; a very thin image keeps one pixel.
fn scaled(side: usize, gain: f64) -> usize {
    ((side as f64 * gain).round_ties_even() as usize).max(1)
}

/// Spare pixels shared among two edges; the second takes the odd one.
fn halves(spare: usize) -> (usize, usize) {
    (spare / 2, spare - spare / 2)
}

pub(crate) fn check(what: &'static str, size: Size) -> Result<(), GeometryError> {
    if size.height == 0 || size.width == 0 { Err(GeometryError::EmptySize { what, size }) } else { Ok(()) }
}
