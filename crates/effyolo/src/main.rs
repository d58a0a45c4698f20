//! The `effyolo` command.
fn main() {}
