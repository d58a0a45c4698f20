//! In which numbers dense convolutions are multiplied in inference.

use std::borrow::Cow;

use crate::Isa;

/// Numbers that inputs and weights of dense convolutions are rounded to in inference. Sums are f32 in either case.
///
/// Inputs are rounded where a convolution before writes them ([`Fused`](crate::conv::Fused)), weights when they are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// The upper half of an f32: 8 bits of exponent, 7 of fraction.
    Bf16,
}

/// Bits of an f32 that a bf16 value has.
pub(crate) const BF16_BITS: u32 = 0xffff_0000;

/// The nearest bf16 value, of two the one whose last bit is 0. NaN stays NaN.
#[inline(always)]
pub(crate) fn nearest_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let to_nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    f32::from_bits((if value.is_nan() { bits | 0x0040_0000 } else { to_nearest }) & BF16_BITS)
}

impl Precision {
    /// Lower-case name: `f32`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// What multiplies in this precision with `isa`: `avx512_bf16` for bf16 where the CPU has it, else the instruction set.
    pub fn kernel_name(self, isa: Isa) -> &'static str {
        match self {
            Precision::Bf16 if isa.multiplies_bf16() => "avx512_bf16",
            _ => isa.name(),
        }
    }

    /// Values in this precision.
    pub fn round(self, values: &[f32]) -> Cow<'_, [f32]> {
        match self {
            Precision::F32 => Cow::Borrowed(values),
            Precision::Bf16 => Cow::Owned(values.iter().copied().map(nearest_bf16).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference;

    /// Bits of any number, and of those that lie at or beside the middle between two bf16 values.
    fn bits() -> impl Strategy<Value = u32> {
        let beside_middle =
            (any::<u16>(), 0x7ffeu32..0x8003).prop_map(|(high, low)| (u32::from(high) << 16) + low);
        prop_oneof![any::<u32>(), beside_middle]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn rounding_equals_reference(bits in bits()) {
            let value = f32::from_bits(bits);
            let (rounded, expected) = (nearest_bf16(value), reference::bf16::round(value));
            prop_assert!(rounded.to_bits() & 0xffff == 0);
            prop_assert!(
                (rounded.is_nan() && expected.is_nan()) || f64::from(rounded) == expected,
                "{value:e}: {rounded:e}, expected {expected:e}"
            );
        }
    }

    #[test]
    fn ties_go_to_even_and_the_largest_to_infinity() {
        for (value, expected) in [
            (1.0 + 0.5f32.powi(8), 1.0),
            (1.0 + 3.0 * 0.5f32.powi(8), 1.0 + 0.5f32.powi(6)),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (f32::from_bits(0x8000), 0.0),
            (-0.0, -0.0),
        ] {
            assert_eq!(nearest_bf16(value).to_bits(), expected.to_bits(), "{value:e}");
        }
        // A NaN whose only bit of payload is cut off.
        assert!(nearest_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }
}
