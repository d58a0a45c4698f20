use box_geometry::{Detection, GeometryError, InverseRule, Letterbox, NmsOptions, postprocess};

/// A batch of images fitted to one network input.
#[derive(Debug, Clone, Copy)]
pub struct LetterboxedImages<'a> {
    /// `[B, 3, H, W]`, RGB in `[0, 1]`.
    pub pixels: &'a [f32],
    /// How each image was fitted, `[B]`; all with one output size, H x W.
    pub letterboxes: &'a [Letterbox],
}

/// What is reported, and how boxes go back to the original image.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectOptions {
    /// Confidence and suppression.
    pub nms: NmsOptions,
    /// Rule of the way back.
    pub inverse: InverseRule,
}

/// Something that finds objects in images, whatever runs the network.
pub trait Detector {
    /// What can go wrong.
    type Error: From<GeometryError>;

    /// Number of classes K.
    fn class_count(&self) -> usize;

    /// Decoded predictions of each image, `[A, 4 + K]`: centre x, centre y, width, height in network-input pixels, then
    /// class scores.
    ///
    /// # Errors
    /// When the images do not suit the network.
    fn predict(&mut self, images: &LetterboxedImages<'_>) -> Result<Vec<Vec<f32>>, Self::Error>;

    /// Detections of each image by falling score, in pixels of the original image and clipped to it.
    ///
    /// # Errors
    /// As [`Detector::predict`].
    ///
    /// # Panics
    /// When there are not as many predictions as letterboxes.
    fn detect(
        &mut self,
        images: &LetterboxedImages<'_>,
        options: &DetectOptions,
    ) -> Result<Vec<Vec<Detection>>, Self::Error> {
        let predictions = self.predict(images)?;
        assert_eq!(predictions.len(), images.letterboxes.len(), "one prediction a letterbox");
        let classes = self.class_count();
        let in_original = |(rows, letterbox): (&Vec<f32>, &Letterbox)| {
            let found = postprocess(rows, classes, &options.nms)?;
            let back =
                |one: Detection| Detection { xyxy: letterbox.inverse(&one.xyxy, options.inverse), ..one };
            Ok(found.into_iter().map(back).collect())
        };
        predictions.iter().zip(images.letterboxes).map(in_original).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::{LetterboxOptions, Size};

    /// Says the same of every image.
    struct Fixed(Vec<f32>);

    impl Detector for Fixed {
        type Error = GeometryError;

        fn class_count(&self) -> usize {
            2
        }

        fn predict(&mut self, images: &LetterboxedImages<'_>) -> Result<Vec<Vec<f32>>, GeometryError> {
            Ok(vec![self.0.clone(); images.letterboxes.len()])
        }
    }

    #[test]
    fn detections_come_back_to_the_original_image() {
        let fit = LetterboxOptions { auto_stride: None, scale_up: true, scale_fill: false };
        let letterbox =
            Letterbox::new(Size { height: 100, width: 200 }, Size { height: 100, width: 100 }, &fit).unwrap();
        // The network sees the image at half size with 25 rows of padding above it.
        let rows = vec![
            50.0, 50.0, 20.0, 10.0, 0.9, 0.1, //
            51.0, 50.0, 20.0, 10.0, 0.8, 0.1, // suppressed by the first
            50.0, 50.0, 20.0, 10.0, 0.1, 0.2, // below the confidence
        ];
        let nms = NmsOptions {
            confidence: 0.25,
            iou: 0.7,
            agnostic: false,
            multi_label: false,
            max_candidates: 100,
            max_detections: 10,
            classes: None,
        };
        let options = DetectOptions { nms, inverse: InverseRule::Current };
        let images = LetterboxedImages { pixels: &[], letterboxes: &[letterbox] };
        let found = Fixed(rows).detect(&images, &options).unwrap();
        assert_eq!((found.len(), found[0].len()), (1, 1));
        let one = &found[0][0];
        assert_eq!((one.class, one.score), (0, 0.9));
        assert_eq!([one.xyxy.x1, one.xyxy.y1, one.xyxy.x2, one.xyxy.y2], [80.0, 40.0, 120.0, 60.0]);
    }
}
