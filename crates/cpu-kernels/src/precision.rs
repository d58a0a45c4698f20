//! In which numbers dense convolutions are multiplied in inference.

use crate::Isa;

/// Numbers that the inputs and weights of dense convolutions are rounded to. Sums, and all else, are f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// The upper half of an f32: 8 bits of exponent, 7 of fraction.
    Bf16,
}

impl Precision {
    /// Lower-case name: `f32`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// What multiplies in this precision with `isa`: the instruction set, `avx512_bf16`, or that bf16 is emulated.
    pub fn kernel_name(self, isa: Isa) -> String {
        match self {
            Precision::F32 => isa.name().to_string(),
            Precision::Bf16 if isa.multiplies_bf16() => "avx512_bf16".to_string(),
            Precision::Bf16 => format!("{}, bf16 emulated", isa.name()),
        }
    }
}
