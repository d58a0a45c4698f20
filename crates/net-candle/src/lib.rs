//! Runs a network graph with composed candle operations on any device and in f64.
