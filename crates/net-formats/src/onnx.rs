//! The initialisers of ONNX models. The graph itself is not read.
//!
//! Source: the ONNX specification (`ModelProto`, `GraphProto`, `TensorProto`).

use crate::archive::{Archive, Budget, Format, NamedArray};
use crate::bytes::Bytes;
use crate::wire::{Message, Value, varint};
use crate::{ElementType, FormatError, MAX_DIMS};

const FORMAT: &str = "ONNX";
/// Fields of `ModelProto`.
const VERSION: u64 = 1;
const GRAPH: u64 = 7;
/// Field of `GraphProto`.
const INITIALIZER: u64 = 5;

/// True if the bytes start with a version of the format and hold a graph.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let mut message = Message::new(FORMAT, bytes);
    if !matches!(message.next(), Ok(Some((VERSION, Value::Varint(1..=1000))))) {
        return false;
    }
    loop {
        match message.next() {
            Ok(Some((GRAPH, Value::Bytes(_)))) => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Reads the initialisers of a model by name.
///
/// # Errors
/// When the file is damaged, keeps its numbers in another file, or two initialisers have one name.
pub fn read(bytes: &[u8]) -> Result<Archive, FormatError> {
    let mut archive = Archive::new(Format::Onnx);
    let mut budget = Budget::for_file(FORMAT, bytes.len() as u64);
    let mut model = Message::new(FORMAT, bytes);
    while let Some((field, value)) = model.next()? {
        let (GRAPH, Value::Bytes(graph)) = (field, value) else { continue };
        let mut graph = Message::new(FORMAT, graph);
        while let Some((field, value)) = graph.next()? {
            if let (INITIALIZER, Value::Bytes(tensor)) = (field, value) {
                archive.require_room()?;
                initializer(tensor, &mut archive, &mut budget)?;
            }
        }
    }
    archive.ignored.sort();
    Ok(archive)
}

fn initializer(bytes: &[u8], archive: &mut Archive, budget: &mut Budget) -> Result<(), FormatError> {
    let mut tensor = Tensor::default();
    let mut message = Message::new(FORMAT, bytes);
    while let Some((field, value)) = message.next()? {
        tensor.field(field, value)?;
    }
    let name = tensor.name.clone();
    let Some(element) = element(tensor.kind) else {
        archive.ignore(name, "not an array of numbers");
        return Ok(());
    };
    let damaged = |problem: String| FormatError::damaged(FORMAT, format!("initialiser `{name}`"), problem);
    let count = budget.elements(&name, &tensor.dims)?;
    let values = match tensor.raw {
        Some(raw) if raw.len() == count * element.size() => element.decode_all(raw),
        Some(raw) => return Err(damaged(format!("{} bytes for {:?} of {element}", raw.len(), tensor.dims))),
        None if tensor.values.len() == count => tensor.values,
        None => return Err(damaged(format!("{} numbers for {:?}", tensor.values.len(), tensor.dims))),
    };
    let array = NamedArray { dims: tensor.dims, values, stored_as: element };
    match archive.arrays.insert(name.clone(), array) {
        None => Ok(()),
        Some(_) => Err(damaged("occurs twice".into())),
    }
}

/// A `TensorProto` as its fields come in.
#[derive(Debug, Default)]
struct Tensor<'a> {
    name: String,
    kind: u64,
    dims: Vec<usize>,
    raw: Option<&'a [u8]>,
    values: Vec<f32>,
}

impl<'a> Tensor<'a> {
    fn field(&mut self, field: u64, value: Value<'a>) -> Result<(), FormatError> {
        match (field, value) {
            (1, Value::Varint(dim)) => self.dim(dim),
            (1, Value::Bytes(packed)) => each(packed, |dim| self.dim(dim)),
            (2, Value::Varint(kind)) => {
                self.kind = kind;
                Ok(())
            }
            (4, Value::Fixed32(bits)) => {
                self.values.push(f32::from_bits(bits));
                Ok(())
            }
            (4, Value::Bytes(packed)) => {
                self.values.extend(packed.chunks_exact(4).map(|element| ElementType::F32.decode(element)));
                Ok(())
            }
            (5, Value::Bytes(packed)) => each(packed, |number| self.integer(number as i32 as i64)),
            (7, Value::Bytes(packed)) => each(packed, |number| self.integer(number as i64)),
            (8, Value::Bytes(name)) => {
                let name = std::str::from_utf8(name);
                self.name = name.map_err(|_| self.damaged("a name that is no UTF-8 text"))?.to_string();
                Ok(())
            }
            (9, Value::Bytes(raw)) => {
                self.raw = Some(raw);
                Ok(())
            }
            (10, Value::Bytes(packed)) => {
                self.values.extend(packed.chunks_exact(8).map(|element| ElementType::F64.decode(element)));
                Ok(())
            }
            (13, _) | (14, Value::Varint(1)) => {
                let problem = "keeps its numbers in another file; save the model with its data inside";
                Err(FormatError::unsupported(FORMAT, format!("initialiser `{}`", self.name), problem))
            }
            _ => Ok(()),
        }
    }

    fn dim(&mut self, dim: u64) -> Result<(), FormatError> {
        let dim = usize::try_from(dim).ok().filter(|_| self.dims.len() < MAX_DIMS);
        self.dims.push(dim.ok_or_else(|| self.damaged("too many or too large dimensions"))?);
        Ok(())
    }

    /// Integers; half precision is stored as its bits in this field.
    fn integer(&mut self, number: i64) -> Result<(), FormatError> {
        let value = match element(self.kind) {
            Some(ElementType::F16) => half::f16::from_bits(number as u16).to_f32(),
            Some(ElementType::BF16) => half::bf16::from_bits(number as u16).to_f32(),
            _ => number as f32,
        };
        self.values.push(value);
        Ok(())
    }

    fn damaged(&self, problem: &str) -> FormatError {
        FormatError::damaged(FORMAT, format!("initialiser `{}`", self.name), problem)
    }
}

fn each(packed: &[u8], mut take: impl FnMut(u64) -> Result<(), FormatError>) -> Result<(), FormatError> {
    let mut rest = Bytes::new(FORMAT, packed);
    while !rest.is_at_end() {
        take(varint(&mut rest)?)?;
    }
    Ok(())
}

/// ONNX's numbers of element types.
fn element(code: u64) -> Option<ElementType> {
    Some(match code {
        1 => ElementType::F32,
        2 => ElementType::U8,
        3 => ElementType::I8,
        5 => ElementType::I16,
        6 => ElementType::I32,
        7 => ElementType::I64,
        9 => ElementType::Bool,
        10 => ElementType::F16,
        11 => ElementType::F64,
        16 => ElementType::BF16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        [&[number << 3 | 2, len as u8 | 0x80, (len >> 7) as u8], content].concat()
    }

    fn model(initializers: &[Vec<u8>]) -> Vec<u8> {
        let graph: Vec<u8> = initializers.iter().flat_map(|tensor| field(5, tensor)).collect();
        [vec![0x08, 8], field(7, &graph)].concat()
    }

    fn tensor(kind: u8, name: &str, data: Vec<u8>) -> Vec<u8> {
        [vec![0x10, kind], field(1, &[2]), field(8, name.as_bytes()), data].concat()
    }

    #[test]
    fn numbers_in_each_of_their_fields() {
        let floats = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        let doubles = [1.5f64, -2.0].map(f64::to_le_bytes).concat();
        let file = model(&[
            tensor(1, "raw", field(9, &floats)),
            tensor(1, "floats", field(4, &floats)),
            tensor(11, "doubles", field(10, &doubles)),
            tensor(10, "halves", field(5, &[0x80, 0x78, 0x80, 0x80, 0x03])),
            tensor(7, "integers", field(7, &[3, 4])),
            tensor(8, "strings", Vec::new()),
        ]);
        let archive = read(&file).unwrap();
        for name in ["raw", "floats", "doubles"] {
            assert_eq!(archive.arrays[name].values, [1.5, -2.0], "{name}");
            assert_eq!(archive.arrays[name].dims, [2]);
        }
        assert_eq!(archive.arrays["halves"].values, [1.0, -2.0]);
        assert_eq!(archive.arrays["integers"].values, [3.0, 4.0]);
        assert_eq!(archive.ignored[0].name, "strings");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let raw = field(9, &[0; 8]);
        let cases = [
            ("numbers for", model(&[tensor(1, "w", Vec::new())])),
            ("bytes for", model(&[tensor(1, "w", field(9, &[0; 4]))])),
            ("occurs twice", model(&[tensor(1, "w", raw.clone()), tensor(1, "w", raw)])),
            ("another file", model(&[tensor(1, "w", field(13, b""))])),
        ];
        for (want, file) in cases {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
