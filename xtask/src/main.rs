//! `cargo xtask`: the project's chores and tools.
fn main() {}
