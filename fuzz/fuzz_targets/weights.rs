//! Weights files of other frameworks: PyTorch, safetensors, TensorFlow, Keras, ONNX.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = net_formats::read(bytes, net_formats::Averages::Prefer);
});
