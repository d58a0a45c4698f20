//! The random affine and perspective map of YOLOv8's training pipeline, and which boxes survive it.

use crate::{Generator, LabelledBox, Matrix, Sample, Transform, warp};
use box_geometry::{Size, Xyxy};

/// A surviving box is wider and higher than this, in pixels.
const MIN_SIDE: f64 = 2.0;
/// A surviving box keeps more than this share of its scaled area.
const MIN_AREA_SHARE: f64 = 0.1;
/// A surviving box is less than this many times longer than wide.
const MAX_ASPECT: f64 = 100.0;
const EPSILON: f64 = 1e-16;

/// How far each part of the map may go; 0 switches it off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineRanges {
    /// Rotation in degrees, to both sides.
    pub degrees: f64,
    /// Shift as a share of the output side, to both sides.
    pub translate: f64,
    /// Scale runs over `1 - scale .. 1 + scale`; below 1.
    pub scale: f64,
    /// Shear in degrees, to both sides and along both axes.
    pub shear: f64,
    /// Perspective terms per pixel, to both sides.
    pub perspective: f64,
}

/// Maps a sample (a mosaic of twice the output side, or a letterboxed image) to a square output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomAffine {
    /// Ranges of the parts.
    pub ranges: AffineRanges,
    /// Side of the output in pixels.
    pub output: usize,
}

impl RandomAffine {
    /// Draws a map from pixels of an image of size `input` to output pixels, and its scale. The parts apply in the
    /// order: centre to the origin, perspective, rotation and scale, shear, translation; the numbers are drawn in
    /// that order too.
    pub fn draw(&self, input: Size, generator: &mut Generator) -> (Matrix, f64) {
        let ranges = &self.ranges;
        let centre = Matrix::translation(-(input.width as f64) / 2.0, -(input.height as f64) / 2.0);
        let mut symmetric = |bound: f64| generator.symmetric(bound);
        let perspective = Matrix::perspective(symmetric(ranges.perspective), symmetric(ranges.perspective));
        let degrees = symmetric(ranges.degrees);
        let scale = 1.0 + symmetric(ranges.scale);
        let rotation = Matrix::rotation(degrees.to_radians(), scale);
        let mut shear = || symmetric(ranges.shear).to_radians().tan();
        let shear = Matrix::shear(shear(), shear());
        let mut shift = || (0.5 + symmetric(ranges.translate)) * self.output as f64;
        let translation = Matrix::translation(shift(), shift());
        let matrix = translation.after(&shear).after(&rotation).after(&perspective).after(&centre);
        (matrix, scale)
    }
}

impl Transform for RandomAffine {
    fn apply(&self, mut sample: Sample, generator: &mut Generator) -> Sample {
        let output = Size { height: self.output, width: self.output };
        let (matrix, scale) = self.draw(sample.image.size(), generator);
        if matrix != Matrix::IDENTITY || sample.image.size() != output {
            sample.image = warp(&sample.image, &matrix, output);
        }
        let moved = sample.boxes.iter().filter_map(|labelled| map_box(labelled, &matrix, scale, output));
        sample.boxes = moved.collect();
        sample
    }
}

/// The box around the mapped corners, clipped to the output; `None` where too little of it is left.
fn map_box(labelled: &LabelledBox, matrix: &Matrix, scale: f64, output: Size) -> Option<LabelledBox> {
    let old = labelled.xyxy;
    let corners = [(old.x1, old.y1), (old.x2, old.y1), (old.x2, old.y2), (old.x1, old.y2)]
        .map(|(x, y)| matrix.map(x as f64, y as f64));
    let edge = |pick: fn(f64, f64) -> f64, start: f64| {
        corners.iter().fold((start, start), |(x, y), corner| (pick(x, corner.0), pick(y, corner.1)))
    };
    let ((x1, y1), (x2, y2)) = (edge(f64::min, f64::INFINITY), edge(f64::max, f64::NEG_INFINITY));
    let xyxy = Xyxy::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32).clip(output);
    survives(&old, &xyxy, scale).then_some(LabelledBox { class: labelled.class, xyxy })
}

fn survives(old: &Xyxy, new: &Xyxy, scale: f64) -> bool {
    let sides = |xyxy: &Xyxy| (xyxy.x2 as f64 - xyxy.x1 as f64, xyxy.y2 as f64 - xyxy.y1 as f64);
    let ((old_width, old_height), (width, height)) = (sides(old), sides(new));
    let share = width * height / (old_width * scale * (old_height * scale) + EPSILON);
    let aspect = (width / (height + EPSILON)).max(height / (width + EPSILON));
    width > MIN_SIDE && height > MIN_SIDE && share > MIN_AREA_SHARE && aspect < MAX_ASPECT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUTPUT: Size = Size { height: 320, width: 320 };

    fn kept(xyxy: [f32; 4], matrix: &Matrix, scale: f64) -> Option<[f32; 4]> {
        let labelled = LabelledBox { class: 0, xyxy: Xyxy::from(xyxy) };
        map_box(&labelled, matrix, scale, OUTPUT).map(|labelled| labelled.xyxy.to_array())
    }

    #[test]
    fn a_box_inside_moves_and_scales() {
        let matrix = Matrix::translation(10.0, 20.0).after(&Matrix::rotation(0.0, 2.0));
        assert_eq!(kept([10.0, 20.0, 30.0, 50.0], &matrix, 2.0), Some([30.0, 60.0, 70.0, 120.0]));
    }

    #[test]
    fn a_turned_box_grows_to_its_corners() {
        let quarter = Matrix::translation(0.0, 100.0).after(&Matrix::rotation(90f64.to_radians(), 1.0));
        let [x1, y1, x2, y2] = kept([10.0, 20.0, 30.0, 60.0], &quarter, 1.0).unwrap();
        assert!((x1 - 20.0).abs() < 1e-4 && (x2 - 60.0).abs() < 1e-4, "{x1} {x2}");
        assert!((y1 - 70.0).abs() < 1e-4 && (y2 - 90.0).abs() < 1e-4, "{y1} {y2}");
    }

    #[test]
    fn a_tenth_of_the_area_is_too_little() {
        let moved = |x: f64| kept([0.0, 0.0, 100.0, 100.0], &Matrix::translation(x, 0.0), 1.0);
        assert!(moved(-89.0).is_some());
        assert!(moved(-90.0).is_none());
    }

    #[test]
    fn the_old_area_is_scaled_before_it_is_compared() {
        let half = Matrix::rotation(0.0, 0.25);
        assert!(kept([0.0, 0.0, 100.0, 100.0], &half, 0.25).is_some());
        assert!(kept([0.0, 0.0, 100.0, 100.0], &half, 1.0).is_none());
    }

    #[test]
    fn a_side_of_two_pixels_is_too_small() {
        assert!(kept([0.0, 0.0, 2.0, 50.0], &Matrix::IDENTITY, 1.0).is_none());
        assert!(kept([0.0, 0.0, 2.5, 50.0], &Matrix::IDENTITY, 1.0).is_some());
    }

    #[test]
    fn a_hundred_times_longer_than_wide_is_too_thin() {
        assert!(kept([0.0, 0.0, 300.0, 3.0], &Matrix::IDENTITY, 1.0).is_none());
        assert!(kept([0.0, 0.0, 300.0, 3.5], &Matrix::IDENTITY, 1.0).is_some());
    }

    #[test]
    fn without_ranges_a_square_image_stays_and_a_mosaic_shows_its_middle() {
        let ranges = AffineRanges { degrees: 0.0, translate: 0.0, scale: 0.0, shear: 0.0, perspective: 0.0 };
        let affine = RandomAffine { ranges, output: 320 };
        let mut generator = Generator::for_sample(0, 0, 0);
        assert_eq!(affine.draw(OUTPUT, &mut generator), (Matrix::IDENTITY, 1.0));
        let canvas = Size { height: 640, width: 640 };
        assert_eq!(affine.draw(canvas, &mut generator), (Matrix::translation(-160.0, -160.0), 1.0));
    }

    proptest! {
        #[test]
        fn surviving_boxes_lie_in_the_output(
            index in any::<u64>(), x in 0f32..600.0, y in 0f32..600.0, w in 1f32..300.0, h in 1f32..300.0
        ) {
            let ranges = AffineRanges { degrees: 45.0, translate: 0.3, scale: 0.9, shear: 10.0, perspective: 1e-3 };
            let affine = RandomAffine { ranges, output: 320 };
            let canvas = Size { height: 640, width: 640 };
            let (matrix, scale) = affine.draw(canvas, &mut Generator::for_sample(0, 0, index));
            if let Some([x1, y1, x2, y2]) = kept([x, y, x + w, y + h], &matrix, scale) {
                prop_assert!(0.0 <= x1 && x1 + 2.0 < x2 && x2 <= 320.0);
                prop_assert!(0.0 <= y1 && y1 + 2.0 < y2 && y2 <= 320.0);
            }
        }
    }
}
