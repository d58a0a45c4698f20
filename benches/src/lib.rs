//! Shapes and fixtures of the benches.
