//! Weights files and run states of our own.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = yolo_train::WeightsFile::parse(bytes, "fuzzed");
    let _ = yolo_train::RunState::parse(bytes, "fuzzed");
});
