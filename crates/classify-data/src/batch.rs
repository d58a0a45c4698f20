//! Pictures that go through a network together.

use std::ops::Range;

/// Pictures and what they show.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassBatch {
    /// Number within its epoch, from 0.
    pub number: usize,
    /// RGB bytes, `[B, S, S, 3]`.
    pub images: Vec<u8>,
    /// Side S of the pictures in pixels.
    pub side: usize,
    /// Probability of each class, `[B, K]`: smoothed and, with mixup or cutmix, blended.
    pub targets: Vec<f32>,
    /// Index in the data set of each picture.
    pub indices: Vec<usize>,
}

impl ClassBatch {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Blends each picture and its target with the one at the mirrored place of the batch: `share` of itself
    /// (Zhang et al., mixup, arXiv 1710.09412).
    pub(crate) fn mix(&mut self, share: f64) {
        let blend = |a: f64, b: f64| a * share + b * (1.0 - share);
        let (count, pixels) = (self.len(), self.side * self.side * 3);
        let images = self.images.clone();
        for (index, picture) in self.images.chunks_exact_mut(pixels).enumerate() {
            let partner = &images[(count - 1 - index) * pixels..][..pixels];
            picture
                .iter_mut()
                .zip(partner)
                .for_each(|(a, &b)| *a = blend((*a).into(), b.into()).round() as u8);
        }
        self.blend_targets(share);
    }

    /// Each picture takes columns and rows of `part` from the one at the mirrored place of the batch, and of its target
    /// the share of the area (Yun et al., CutMix, arXiv 1905.04899).
    pub(crate) fn cut_and_mix(&mut self, part: [Range<usize>; 2]) {
        let [columns, rows] = part;
        let (count, side) = (self.len(), self.side);
        let images = self.images.clone();
        for (index, picture) in self.images.chunks_exact_mut(side * side * 3).enumerate() {
            let partner = &images[(count - 1 - index) * side * side * 3..][..side * side * 3];
            for y in rows.clone() {
                let row = 3 * (y * side + columns.start)..3 * (y * side + columns.end);
                picture[row.clone()].copy_from_slice(&partner[row]);
            }
        }
        let taken = (columns.len() * rows.len()) as f64 / (side * side) as f64;
        self.blend_targets(1.0 - taken);
    }

    fn blend_targets(&mut self, share: f64) {
        let (count, blend) = (self.len(), |a: f64, b: f64| a * share + b * (1.0 - share));
        let classes = self.targets.len() / count;
        let targets = self.targets.clone();
        for (index, target) in self.targets.chunks_exact_mut(classes).enumerate() {
            let partner = &targets[(count - 1 - index) * classes..][..classes];
            target.iter_mut().zip(partner).for_each(|(a, &b)| *a = blend((*a).into(), b.into()) as f32);
        }
    }
}

/// A target of `classes` probabilities: `1 - smoothing` for the class, the rest spread over all.
pub(crate) fn smoothed(class: usize, classes: usize, smoothing: f64) -> impl Iterator<Item = f32> {
    let spread = smoothing / classes as f64;
    (0..classes).map(move |k| (spread + if k == class { 1.0 - smoothing } else { 0.0 }) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_target_sums_to_one() {
        let target: Vec<f32> = smoothed(1, 4, 0.1).collect();
        assert_eq!(target, [0.025, 0.925, 0.025, 0.025]);
    }

    #[test]
    fn mixing_blends_pictures_and_targets_alike() {
        let mut batch = ClassBatch {
            number: 0,
            images: vec![100, 100, 100, 200, 200, 200],
            side: 1,
            targets: vec![1.0, 0.0, 0.0, 1.0],
            indices: vec![7, 8],
        };
        batch.mix(0.75);
        assert_eq!(batch.images, [125, 125, 125, 175, 175, 175]);
        assert_eq!(batch.targets, [0.75, 0.25, 0.25, 0.75]);
    }

    #[test]
    fn cutting_takes_a_part_of_the_picture_and_its_share_of_the_target() {
        let mut batch = ClassBatch {
            number: 0,
            images: [[1; 12], [9; 12]].concat(),
            side: 2,
            targets: vec![1.0, 0.0, 0.0, 1.0],
            indices: vec![7, 8],
        };
        batch.cut_and_mix([1..2, 0..1]);
        let greys: Vec<u8> = batch.images.iter().step_by(3).copied().collect();
        assert_eq!(greys, [1, 9, 1, 1, 9, 1, 9, 9]);
        assert_eq!(batch.targets, [0.75, 0.25, 0.25, 0.75]);
    }
}
