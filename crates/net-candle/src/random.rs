//! Numbers of candle's own generator.

use candle_core::{Device, Tensor};

/// Numbers drawn from candle at a time.
const DRAWN: usize = 1024;

/// Numbers in `[0, 1)` by candle's generator, which cannot be seeded on the CPU: two runs differ. Give your own source
/// where runs must repeat.
pub fn unseeded() -> impl FnMut() -> f64 {
    let mut numbers: Vec<f64> = Vec::new();
    move || {
        if numbers.is_empty() {
            let drawn = Tensor::rand(0f64, 1f64, DRAWN, &Device::Cpu).and_then(|drawn| drawn.to_vec1());
            numbers = drawn.expect("candle draws numbers on the CPU");
        }
        numbers.pop().expect("just filled")
    }
}
