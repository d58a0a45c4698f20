//! Shapes and fixtures of the benches.

pub mod shapes;
