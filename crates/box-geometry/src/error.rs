use crate::Size;

/// What can be wrong with sizes and buffers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum GeometryError {
    #[error("{what}: expected a height and width of at least 1, got {}x{}", size.height, size.width)]
    EmptySize { what: &'static str, size: Size },
    #[error("{what}: expected a stride of at least 1, got 0")]
    ZeroStride { what: &'static str },
    #[error(
        "network input of {}x{}: expected multiples of the stride {stride}; pad the image or choose another size",
        size.height, size.width
    )]
    NotDivisible { size: Size, stride: usize },
    #[error("predictions: expected rows of 4 + {classes} values, got {got} values, which is no multiple of {}", classes + 4)]
    PredictionLength { classes: usize, got: usize },
    #[error("predictions: expected at least one class, got 0")]
    NoClasses,
    #[error("rectangular batches: expected a batch size of at least 1, got 0")]
    EmptyBatch,
}
