//! Memory that a thread keeps from call to call, so that kernels allocate nothing once they have run.

use std::cell::Cell;
use std::thread::LocalKey;

/// The first `len` values of a buffer, which grows if it is shorter and keeps what it has.
pub(crate) fn at_least(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(buffer.len().max(len), 0.0);
    &mut buffer[..len]
}

/// Lends a thread's buffer. A call within `work` would get an empty one.
pub(crate) fn with<T: Default, R>(buffer: &'static LocalKey<Cell<T>>, work: impl FnOnce(&mut T) -> R) -> R {
    let mut value = buffer.take();
    let result = work(&mut value);
    buffer.set(value);
    result
}
