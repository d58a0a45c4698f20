use half::{bf16, f16};
use std::fmt;

/// What a file stores numbers as. Every array is handed out as `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementType {
    /// 32-bit float; the only one that is not converted.
    F32,
    /// 64-bit float.
    F64,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// Signed byte.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// Unsigned byte.
    U8,
    /// A byte that is 0 or not.
    Bool,
}

impl ElementType {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// One element from its little-endian bytes.
    ///
    /// # Panics
    /// When there are not exactly [`Self::size`] bytes.
    pub(crate) fn decode(self, bytes: &[u8]) -> f32 {
        fn raw<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("as many bytes as an element has")
        }
        match self {
            Self::F32 => f32::from_le_bytes(raw(bytes)),
            Self::F64 => f64::from_le_bytes(raw(bytes)) as f32,
            Self::F16 => f16::from_le_bytes(raw(bytes)).to_f32(),
            Self::BF16 => bf16::from_le_bytes(raw(bytes)).to_f32(),
            Self::I8 => i8::from_le_bytes(raw(bytes)).into(),
            Self::I16 => i16::from_le_bytes(raw(bytes)).into(),
            Self::I32 => i32::from_le_bytes(raw(bytes)) as f32,
            Self::I64 => i64::from_le_bytes(raw(bytes)) as f32,
            Self::U8 => bytes[0].into(),
            Self::Bool => (bytes[0] != 0).into(),
        }
    }

    /// All elements of little-endian bytes, whose number is a multiple of the size.
    pub(crate) fn decode_all(self, bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(self.size()).map(|element| self.decode(element)).collect()
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ElementType as E;

    #[test]
    fn every_type_becomes_the_same_number() {
        let bytes: [(E, Vec<u8>); 8] = [
            (E::F32, 2f32.to_le_bytes().into()),
            (E::F64, 2f64.to_le_bytes().into()),
            (E::F16, half::f16::from_f32(2.0).to_le_bytes().into()),
            (E::BF16, half::bf16::from_f32(2.0).to_le_bytes().into()),
            (E::I8, vec![2]),
            (E::I16, vec![2, 0]),
            (E::I32, vec![2, 0, 0, 0]),
            (E::I64, vec![2, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (element, bytes) in bytes {
            assert_eq!(element.decode_all(&bytes), [2.0], "{element}");
            assert_eq!(element.size(), bytes.len());
        }
        assert_eq!(E::I8.decode(&[255]), -1.0);
        assert_eq!((E::U8.decode(&[255]), E::Bool.decode(&[7])), (255.0, 1.0));
    }
}
