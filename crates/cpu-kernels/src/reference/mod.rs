//! Plain references of the kernels, in f64 and in the order of the formulas: what the tests and benches compare with.

pub mod activation;
pub mod bf16;
pub mod conv;
pub mod decode;
pub mod depthwise;
pub mod norm;
pub mod pool;
