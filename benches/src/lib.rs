//! What the benches share: shapes, values, checks of answers, and how long is measured.

pub mod candle_maps;
pub mod check;
pub mod composed;
pub mod networks;
pub mod pictures;
pub mod settings;
pub mod shapes;
pub mod values;
