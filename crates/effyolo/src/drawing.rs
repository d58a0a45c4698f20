//! Boxes, grounds and texts, drawn into images.

use anyhow::{Context, Result};
use box_geometry::{Size, Xyxy};
use detect_data::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::path::Path;

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

pub(crate) const WHITE: Colour = [255; 3];
pub(crate) const BLACK: Colour = [0; 3];
const JPEG_QUALITY: u8 = 92;
/// Image side for which the font has its own size.
const FONT_SIDE: usize = 700;

/// A box and what stands above it.
pub(crate) struct Label {
    /// In pixels of the image.
    pub(crate) xyxy: Xyxy,
    pub(crate) class: usize,
    pub(crate) text: String,
}

/// Draws all boxes, then all texts above them, so that no line crosses a text.
pub(crate) fn draw_labels(image: &mut RgbImage, labels: &[Label]) {
    let side = image.size().height.max(image.size().width);
    let line = (side / 300).max(2) as isize;
    let zoom = (side / FONT_SIDE).max(1);
    for label in labels {
        frame(image, &label.xyxy, line, colour(label.class));
    }
    for label in labels {
        tag(image, label, line, zoom);
    }
}

/// Images of one height side by side.
pub(crate) fn beside(left: &RgbImage, right: &RgbImage) -> RgbImage {
    let (mut size, gap) = (left.size(), 4);
    size.height = size.height.max(right.size().height);
    size.width += gap + right.size().width;
    let mut joined = RgbImage::filled(size, 255);
    joined.paste(left, 0, 0);
    joined.paste(right, (left.size().width + gap) as isize, 0);
    joined
}

/// Writes an image as JPEG.
pub(crate) fn save_jpeg(image: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let size = image.size();
    let (width, height) = (size.width as u32, size.height as u32);
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode(image.data(), width, height, ExtendedColorType::Rgb8)
        .with_context(|| format!("{}: encoding a JPEG of {width}x{height}", path.display()))?;
    Ok(yolo_train::write_atomically(path, &bytes)?)
}

/// Writes an image as PNG.
pub(crate) fn save_png(image: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let size = image.size();
    let (width, height) = (size.width as u32, size.height as u32);
    PngEncoder::new(&mut bytes)
        .write_image(image.data(), width, height, ExtendedColorType::Rgb8)
        .with_context(|| format!("{}: encoding a PNG of {width}x{height}", path.display()))?;
    Ok(yolo_train::write_atomically(path, &bytes)?)
}

/// A colour for each class: hues that follow each other by the golden ratio, at three brightnesses.
fn colour(class: usize) -> Colour {
    let hue = (class as f64 * 0.618_034).fract() * 6.0;
    let brightness = [0.95, 0.75, 0.55][class / 7 % 3];
    let channel = |offset: f64| {
        let distance = ((hue + offset) % 6.0 - 3.0).abs() - 1.0;
        ((0.15 + 0.85 * distance.clamp(0.0, 1.0)) * brightness * 255.0) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

/// White or black, whichever is easier to read on `background`.
pub(crate) fn text_colour(background: Colour) -> Colour {
    let [r, g, b] = background.map(f64::from);
    if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { BLACK } else { WHITE }
}

fn frame(image: &mut RgbImage, xyxy: &Xyxy, line: isize, colour: Colour) {
    let [x1, y1, x2, y2] = xyxy.to_array().map(|edge| edge.round() as isize);
    fill(image, x1, y1, x2, y1 + line, colour);
    fill(image, x1, y2 - line, x2, y2, colour);
    fill(image, x1, y1, x1 + line, y2, colour);
    fill(image, x2 - line, y1, x2, y2, colour);
}

/// Width and height of a character of [`write()`] in pixels.
pub(crate) fn character_size() -> Size {
    let font = RasterHeight::Size16;
    Size { height: font.val(), width: get_raster_width(FontWeight::Regular, font) }
}

/// Writes a line of text whose first character has its upper left corner there.
pub(crate) fn write(image: &mut RgbImage, text: &str, left: usize, top: usize, colour: Colour) {
    for (index, character) in text.chars().enumerate() {
        let left = (left + index * character_size().width) as isize;
        glyph(image, character, left, top as isize, 1, colour);
    }
}

/// The text on a filled ground above the box, or inside it where there is no room above.
fn tag(image: &mut RgbImage, label: &Label, line: isize, zoom: usize) {
    let font = RasterHeight::Size16;
    let step = (get_raster_width(FontWeight::Regular, font) * zoom) as isize;
    let height = (font.val() * zoom) as isize;
    let width = step * label.text.chars().count() as isize + 2 * line;
    let space = image.size().width as isize - width;
    let x = (label.xyxy.x1.round() as isize).min(space).max(0);
    let top = label.xyxy.y1.round() as isize;
    let y = if top >= height { top - height } else { top.max(0) };
    let ground = colour(label.class);
    fill(image, x, y, x + width, y + height, ground);
    for (index, character) in label.text.chars().enumerate() {
        let left = x + line + step * index as isize;
        glyph(image, character, left, y, zoom, text_colour(ground));
    }
}

fn glyph(image: &mut RgbImage, character: char, left: isize, top: isize, zoom: usize, colour: Colour) {
    let raster = |character| get_raster(character, FontWeight::Regular, RasterHeight::Size16);
    let glyph = raster(character).or_else(|| raster('?')).expect("the font has a question mark");
    for (row, line) in glyph.rows().enumerate() {
        for (column, &strength) in line.iter().enumerate() {
            for (dy, dx) in (0..zoom).flat_map(|dy| (0..zoom).map(move |dx| (dy, dx))) {
                let (x, y) = (left + (column * zoom + dx) as isize, top + (row * zoom + dy) as isize);
                blend(image, x, y, colour, strength);
            }
        }
    }
}

/// Fills columns `x1..x2` of rows `y1..y2` as far as they lie in the image.
pub(crate) fn fill(image: &mut RgbImage, x1: isize, y1: isize, x2: isize, y2: isize, colour: Colour) {
    let size = image.size();
    let columns = x1.clamp(0, size.width as isize)..x2.clamp(0, size.width as isize);
    for y in y1.clamp(0, size.height as isize)..y2.clamp(0, size.height as isize) {
        let row = image.row_mut(y as usize);
        columns.clone().for_each(|x| row[3 * x as usize..][..3].copy_from_slice(&colour));
    }
}

fn blend(image: &mut RgbImage, x: isize, y: isize, colour: Colour, strength: u8) {
    let size = image.size();
    if x < 0 || y < 0 || x >= size.width as isize || y >= size.height as isize {
        return;
    }
    let pixel = &mut image.row_mut(y as usize)[3 * x as usize..][..3];
    let mix = |old: u8, new: u8| {
        ((old as u32 * (255 - strength as u32) + new as u32 * strength as u32) / 255) as u8
    };
    pixel.iter_mut().zip(colour).for_each(|(old, new)| *old = mix(*old, new));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(xyxy: Xyxy) -> Label {
        Label { xyxy, class: 1, text: "WBC 0.93".into() }
    }

    #[test]
    fn a_box_colours_its_edge_and_leaves_its_middle() {
        let mut image = RgbImage::filled(Size { height: 120, width: 200 }, 128);
        draw_labels(&mut image, &[label(Xyxy::new(20.0, 40.0, 180.0, 110.0))]);
        assert_eq!(image.row(75)[3 * 20..][..3], colour(1));
        assert_eq!(image.row(75)[3 * 100..][..3], [128; 3]);
        assert!(image.row(32).contains(&colour(1)[0]), "a ground for the text above the box");
    }

    #[test]
    fn boxes_at_and_beyond_the_edge_are_cut() {
        let mut image = RgbImage::filled(Size { height: 20, width: 30 }, 0);
        draw_labels(
            &mut image,
            &[label(Xyxy::new(-50.0, -50.0, 300.0, 300.0)), label(Xyxy::new(29.0, 19.0, 30.0, 20.0))],
        );
    }

    #[test]
    fn neighbouring_classes_differ_clearly() {
        for class in 0..20 {
            let distance: i32 =
                colour(class).iter().zip(colour(class + 1)).map(|(&a, b)| (a as i32 - b as i32).abs()).sum();
            assert!(distance > 100, "{:?} {:?}", colour(class), colour(class + 1));
        }
    }
}
