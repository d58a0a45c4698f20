//! CPU kernels over slices, NHWC, with SIMD chosen at run time.
