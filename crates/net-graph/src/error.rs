use crate::Shape;

/// What can be wrong with a graph, or with the size it is asked to run at.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the message names.
pub enum GraphError {
    #[error("node `{node}`: a node of that name exists already; give each layer its own name")]
    DuplicateNode { node: String },
    #[error("parameter `{param}`: a parameter of that name exists already; two layers would share a weight")]
    DuplicateParam { param: String },
    #[error("node `{node}`: expected {expected}, got {got}")]
    Channels { node: String, expected: String, got: String },
    #[error(
        "node `{node}`: inputs must have one shape, got {left} and {right}; is the image side a multiple of the largest stride?"
    )]
    ShapeMismatch { node: String, left: Shape, right: Shape },
    #[error(
        "node `{node}`: a {kernel}x{kernel} window does not fit a {height}x{width} map; use a larger image"
    )]
    TooSmall { node: String, kernel: usize, height: usize, width: usize },
    #[error("input: expected a batch, height and width of at least 1, got {batch}x{height}x{width}")]
    EmptyInput { batch: usize, height: usize, width: usize },
}
