//! Compiles a network graph for the CPU, to infer or to train.
