//! The example runs and learns.
#![cfg(feature = "candle")]

#[path = "../examples/candle_loss.rs"]
mod candle_loss;

#[test]
fn the_loss_of_the_example_falls() {
    let history = candle_loss::train().unwrap();
    assert!(history.iter().all(|loss| loss.is_finite()), "{history:?}");
    assert!(history[history.len() - 1] < 0.6 * history[0], "{history:?}");
}
