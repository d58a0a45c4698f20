/// What can be wrong with the inputs of the loss.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum LossError {
    #[error(
        "{what}: expected {expected} values ({images} images x {anchors} anchor points x {channels}), got {got}"
    )]
    Length { what: &'static str, expected: usize, images: usize, anchors: usize, channels: usize, got: usize },
    #[error(
        "ground truth {index} of image {image}: class {class}, but the loss was made for {classes} classes"
    )]
    Class { image: usize, index: usize, class: usize, classes: usize },
    #[error("target row {row}: image {image}, but the batch has {images} images")]
    Image { row: usize, image: usize, images: usize },
    #[error("detection loss: expected at least {least} {what}, got {got}")]
    TooFew { what: &'static str, least: usize, got: usize },
    #[cfg(feature = "candle")]
    #[error("{what}: expected a tensor [B, {anchors}, {channels}], got {got:?}")]
    Shape { what: &'static str, anchors: usize, channels: usize, got: Vec<usize> },
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
