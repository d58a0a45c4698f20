//! Four images on one canvas (YOLOv4, arXiv 2004.10934, section 3.3; geometry as in YOLOv8).

use crate::{BORDER, Generator, LabelledBox, RgbImage, Sample};
use box_geometry::Size;

/// A 2x2 mosaic: each image touches a common point with the corner that faces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mosaic {
    /// Side of the canvas in pixels, twice the image size.
    pub canvas: usize,
    /// The common point, x from the left.
    pub centre_x: usize,
    /// The common point, y from the top.
    pub centre_y: usize,
}

impl Mosaic {
    /// Draws the common point, x first, from the middle half of the canvas for images whose long side is `image_size`.
    pub fn draw(image_size: usize, generator: &mut Generator) -> Self {
        let mut centre = || generator.uniform(0.5 * image_size as f64, 1.5 * image_size as f64) as usize;
        Mosaic { canvas: 2 * image_size, centre_x: centre(), centre_y: centre() }
    }

    /// Where the top-left corner of an image of size `size` lies; tiles are top-left, top-right, bottom-left,
    /// bottom-right.
    fn offset(&self, tile: usize, size: Size) -> (isize, isize) {
        let left = if tile.is_multiple_of(2) { size.width } else { 0 };
        let above = if tile < 2 { size.height } else { 0 };
        (self.centre_x as isize - left as isize, self.centre_y as isize - above as isize)
    }

    /// Lays out top-left, top-right, bottom-left and bottom-right; what lies outside the canvas is cropped, and boxes
    /// of which nothing is left are dropped. The result bears the id of the first.
    pub fn compose(&self, tiles: [&Sample; 4]) -> Sample {
        let size = Size { height: self.canvas, width: self.canvas };
        let mut image = RgbImage::filled(size, BORDER);
        let mut boxes = Vec::new();
        for (tile, sample) in tiles.into_iter().enumerate() {
            let (left, top) = self.offset(tile, sample.image.size());
            image.paste(&sample.image, left, top);
            let moved = sample.boxes.iter().map(|labelled| LabelledBox {
                class: labelled.class,
                xyxy: labelled.xyxy.shift(left as f32, top as f32).clip(size),
            });
            boxes
                .extend(moved.filter(|labelled| labelled.xyxy.width() > 0.0 && labelled.xyxy.height() > 0.0));
        }
        Sample { id: tiles[0].id.clone(), image, boxes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::Xyxy;

    fn tile(number: u8, height: usize, width: usize) -> Sample {
        let data = (0..height * width * 3).map(|i| number * 60 + (i % 50) as u8).collect();
        let whole = Xyxy::new(0.0, 0.0, width as f32, height as f32);
        Sample {
            id: number.to_string(),
            image: RgbImage::new(Size { height, width }, data),
            boxes: vec![LabelledBox { class: number as usize, xyxy: whole }],
        }
    }

    /// For every canvas pixel the tile and source pixel that it shows.
    fn plain(mosaic: &Mosaic, tiles: &[Sample; 4], x: usize, y: usize) -> [u8; 3] {
        let (cx, cy) = (mosaic.centre_x, mosaic.centre_y);
        let tile = usize::from(x >= cx) + 2 * usize::from(y >= cy);
        let size = tiles[tile].image.size();
        let source = |at: usize, centre: usize, side: usize| {
            if at >= centre {
                Some(at - centre).filter(|at| *at < side)
            } else {
                (at + side).checked_sub(centre)
            }
        };
        match (source(x, cx, size.width), source(y, cy, size.height)) {
            (Some(sx), Some(sy)) => tiles[tile].image.row(sy)[sx * 3..][..3].try_into().unwrap(),
            _ => [BORDER; 3],
        }
    }

    #[test]
    fn every_pixel_comes_from_the_right_place() {
        let tiles = [tile(0, 24, 32), tile(1, 32, 20), tile(2, 32, 32), tile(3, 7, 32)];
        for index in 0..20 {
            let mosaic = Mosaic::draw(32, &mut Generator::for_sample(3, 0, index));
            let composed = mosaic.compose(tiles.each_ref());
            for (y, x) in (0..64).flat_map(|y| (0..64).map(move |x| (y, x))) {
                let got = &composed.image.row(y)[x * 3..][..3];
                assert_eq!(got, plain(&mosaic, &tiles, x, y), "{mosaic:?} at {x}, {y}");
            }
        }
    }

    #[test]
    fn boxes_are_shifted_and_clipped() {
        let tiles = [tile(0, 32, 32), tile(1, 32, 20), tile(2, 24, 32), tile(3, 7, 32)];
        let composed = Mosaic { canvas: 64, centre_x: 20, centre_y: 45 }.compose(tiles.each_ref());
        let boxes: Vec<_> =
            composed.boxes.iter().map(|labelled| (labelled.class, labelled.xyxy.to_array())).collect();
        let want = [
            (0, [0.0, 13.0, 20.0, 45.0]),
            (1, [20.0, 13.0, 40.0, 45.0]),
            (2, [0.0, 45.0, 20.0, 64.0]),
            (3, [20.0, 45.0, 52.0, 52.0]),
        ];
        assert_eq!(boxes, want);
    }

    #[test]
    fn boxes_outside_the_canvas_are_dropped() {
        let mut outside = tile(0, 32, 32);
        outside.boxes[0].xyxy = Xyxy::new(0.0, 0.0, 8.0, 8.0);
        let others = [tile(1, 8, 8), tile(2, 8, 8), tile(3, 8, 8)];
        let tiles = [&outside, &others[0], &others[1], &others[2]];
        let composed = Mosaic { canvas: 64, centre_x: 20, centre_y: 20 }.compose(tiles);
        assert_eq!(composed.boxes.iter().map(|labelled| labelled.class).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn centres_are_whole_and_lie_in_the_middle_half() {
        for index in 0..500 {
            let mosaic = Mosaic::draw(320, &mut Generator::for_sample(0, 0, index));
            assert!((160..480).contains(&mosaic.centre_x) && (160..480).contains(&mosaic.centre_y));
        }
    }
}
