//! Random mirror images.

use crate::{Generator, RgbImage, Sample, Transform};
use box_geometry::Xyxy;

/// Mirrors samples with given probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomFlip {
    /// Probability of turning upside down.
    pub up_down: f64,
    /// Probability of swapping left and right.
    pub left_right: f64,
}

impl Transform for RandomFlip {
    fn apply(&self, mut sample: Sample, generator: &mut Generator) -> Sample {
        if generator.chance(self.up_down) {
            flip_up_down(&mut sample);
        }
        if generator.chance(self.left_right) {
            flip_left_right(&mut sample);
        }
        sample
    }
}

impl RgbImage {
    /// Turns the image upside down.
    pub fn flip_up_down(&mut self) {
        let size = self.size();
        let stride = size.width * 3;
        let (upper, lower) = self.data_mut().split_at_mut(size.height / 2 * stride);
        for (above, below) in upper.chunks_exact_mut(stride).zip(lower.chunks_exact_mut(stride).rev()) {
            above.swap_with_slice(below);
        }
    }

    /// Swaps left and right.
    pub fn flip_left_right(&mut self) {
        for y in 0..self.size().height {
            let (pixels, _) = self.row_mut(y).as_chunks_mut::<3>();
            pixels.reverse();
        }
    }
}

fn flip_up_down(sample: &mut Sample) {
    sample.image.flip_up_down();
    let height = sample.image.size().height as f32;
    for labelled in &mut sample.boxes {
        let Xyxy { x1, y1, x2, y2 } = labelled.xyxy;
        labelled.xyxy = Xyxy::new(x1, height - y2, x2, height - y1);
    }
}

fn flip_left_right(sample: &mut Sample) {
    sample.image.flip_left_right();
    let width = sample.image.size().width as f32;
    for labelled in &mut sample.boxes {
        let Xyxy { x1, y1, x2, y2 } = labelled.xyxy;
        labelled.xyxy = Xyxy::new(width - x2, y1, width - x1, y2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabelledBox, RgbImage};
    use box_geometry::Size;

    fn sample() -> Sample {
        Sample {
            id: String::new(),
            image: RgbImage::new(Size { height: 3, width: 4 }, (0..36).collect()),
            boxes: vec![LabelledBox { class: 1, xyxy: Xyxy::new(0.0, 1.0, 1.0, 3.0) }],
        }
    }

    fn flipped(up_down: f64, left_right: f64) -> Sample {
        RandomFlip { up_down, left_right }.apply(sample(), &mut Generator::for_sample(0, 0, 0))
    }

    #[test]
    fn pixels_and_boxes_move_together() {
        let down = flipped(1.0, 0.0);
        assert_eq!(down.image.row(0), sample().image.row(2));
        assert_eq!(down.image.row(1), sample().image.row(1));
        assert_eq!(down.boxes[0].xyxy.to_array(), [0.0, 0.0, 1.0, 2.0]);
        let right = flipped(0.0, 1.0);
        assert_eq!(right.image.row(0), [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2]);
        assert_eq!(right.boxes[0].xyxy.to_array(), [3.0, 1.0, 4.0, 3.0]);
        assert_eq!(flipped(0.0, 0.0), sample());
    }
}
