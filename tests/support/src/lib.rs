//! Reference values and comparisons for tests.
