//! A pickle interpreter for `torch.save` that runs nothing.
//!
//! Opcodes build nodes in a flat store, so that no nesting and no cycle costs stack. Only names of [`known`] can be
//! loaded; what they "call" is a match arm of this file. Every opcode makes at most one node and every opcode takes at
//! least one byte, so time and memory are linear in the length of the pickle.
//!
//! Source: the documentation of Python's `pickletools` (protocols 0 to 5) and of `torch.save`.

use crate::archive::MAX_ENTRIES;
use crate::bytes::Bytes;
use crate::{ElementType, FormatError};
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) const FORMAT: &str = "PyTorch";
/// Opcodes of one pickle; a state dict needs about thirty a tensor. One byte can take fifty in memory.
const MAX_OPCODES: u64 = 1_000_000;

/// Index of a node in its [`Pickle`].
pub(crate) type NodeId = usize;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `None`, a number or another value that nobody here looks at.
    Inert,
    Int(i64),
    Text(String),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    Global(Global),
    Storage(Box<Storage>),
    /// Shared: a parameter is its tensor.
    Tensor(Rc<TensorSpec>),
}

/// What the allowed names stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    Dict,
    RebuildTensor,
    RebuildParameter,
    Storage(ElementType),
    Inert,
}

/// Where a tensor's elements lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) element: ElementType,
    pub(crate) len: u64,
}

/// A strided view of a storage; offsets and strides in elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorSpec {
    pub(crate) storage: Storage,
    pub(crate) offset: u64,
    pub(crate) dims: Vec<usize>,
    pub(crate) strides: Vec<u64>,
}

/// A finished pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

impl Pickle {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn text(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one pickle and leaves `bytes` behind its end.
pub(crate) fn read(bytes: &mut Bytes<'_>) -> Result<Pickle, FormatError> {
    let mut machine = Machine {
        bytes: bytes.clone(),
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        pairs_left: MAX_OPCODES as usize,
        tensors_left: MAX_ENTRIES,
    };
    let root = machine.run()?;
    *bytes = machine.bytes;
    Ok(Pickle { nodes: machine.nodes, root })
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
    /// Pairs that dicts may still be made from: one list can be named by many calls.
    pairs_left: usize,
    /// Tensors that may still be made: a call takes five bytes, a tensor hundreds.
    tensors_left: usize,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<NodeId, FormatError> {
        for _ in 0..MAX_OPCODES {
            let opcode = self.bytes.u8()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(FormatError::Limit {
            format: FORMAT,
            place: "pickle".into(),
            what: "opcodes",
            limit: MAX_OPCODES,
        })
    }

    fn step(&mut self, opcode: u8) -> Result<(), FormatError> {
        match opcode {
            0x80 => self.bytes.take(1).map(|_| ()), // PROTO
            0x95 => self.bytes.take(8).map(|_| ()), // FRAME
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop_or_mark(),
            b'1' => self.pop_to_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | 0x8f => self.constant(opcode),
            b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' | b'I' | b'L' | b'F' => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | b'S' | b'V' => self.text(opcode),
            b't' | 0x85 | 0x86 | 0x87 | b'l' | b'd' | 0x91 => self.gather(opcode),
            b'a' | b'e' | 0x90 | b's' | b'u' => self.extend(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'R' | 0x81 | 0x92 => self.call(opcode),
            b'b' => self.pop().map(|_| ()), // BUILD: attributes of an object that is read without them.
            b'q' | b'r' | b'p' | 0x94 => self.memoize(opcode),
            b'h' | b'j' | b'g' => self.recall(opcode),
            b'Q' => self.persistent(),
            _ => Err(self.bytes.damaged(format!("opcode 0x{opcode:02x} is none that torch.save writes"))),
        }
    }

    fn push(&mut self, node: Node) -> Result<(), FormatError> {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    /// What the innermost open mark leaves to be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, FormatError> {
        let above = &self.stack[self.floor().min(self.stack.len())..];
        above.last().copied().ok_or_else(|| self.bytes.damaged("an opcode takes more values than there are"))
    }

    fn pop(&mut self) -> Result<NodeId, FormatError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_or_mark(&mut self) -> Result<(), FormatError> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, FormatError> {
        let mark = self.marks.pop().ok_or_else(|| self.bytes.damaged("an opcode needs a mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<NodeId>, FormatError> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        values.reverse();
        Ok(values)
    }

    fn constant(&mut self, opcode: u8) -> Result<(), FormatError> {
        self.push(match opcode {
            b')' => Node::Tuple(Vec::new()),
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            _ => Node::Inert,
        })
    }

    fn number(&mut self, opcode: u8) -> Result<(), FormatError> {
        let node = match opcode {
            b'J' => Node::Int(i32::from_le_bytes(self.bytes.array()?).into()),
            b'K' => Node::Int(self.bytes.u8()?.into()),
            b'M' => Node::Int(self.bytes.u16()?.into()),
            0x8a => {
                let len = self.bytes.u8()?;
                self.long(len.into())?
            }
            0x8b => {
                let len = self.bytes.u32()?;
                self.long(len.into())?
            }
            b'I' | b'L' => {
                let line = self.bytes.line()?;
                line.trim_end_matches('L').parse().map_or(Node::Inert, Node::Int)
            }
            b'G' => {
                self.bytes.take(8)?;
                Node::Inert
            }
            _ => {
                self.bytes.line()?;
                Node::Inert
            }
        };
        self.push(node)
    }

    /// A little-endian two's complement number; one that does not fit 64 bits is nothing that a tensor needs.
    fn long(&mut self, len: u64) -> Result<Node, FormatError> {
        let digits = self.bytes.take(len)?;
        if digits.len() > 8 {
            return Ok(Node::Inert);
        }
        let negative = digits.last().is_some_and(|digit| digit & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..digits.len()].copy_from_slice(digits);
        Ok(Node::Int(i64::from_le_bytes(all)))
    }

    fn text(&mut self, opcode: u8) -> Result<(), FormatError> {
        let len = match opcode {
            b'S' | b'V' => {
                let text = self.bytes.line()?.trim_matches(['\'', '"']).to_string();
                return self.push(Node::Text(text));
            }
            0x8c | b'U' | b'C' => self.bytes.u8()?.into(),
            0x8d | 0x8e => self.bytes.u64()?,
            _ => self.bytes.u32()?.into(),
        };
        let text = self.bytes.take(len)?;
        // Byte strings are only looked at where they are text (strings of Python 2).
        let node = std::str::from_utf8(text).map_or(Node::Inert, |text| Node::Text(text.into()));
        self.push(node)
    }

    fn gather(&mut self, opcode: u8) -> Result<(), FormatError> {
        let values = match opcode {
            0x85..=0x87 => self.pop_many(usize::from(opcode - 0x84))?,
            _ => self.pop_to_mark()?,
        };
        let node = match opcode {
            b'd' => Node::Dict(self.pairs(&values)?),
            b'l' | 0x91 => Node::List(values),
            _ => Node::Tuple(values),
        };
        self.push(node)
    }

    fn pairs(&self, values: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, FormatError> {
        let (pairs, rest) = values.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.bytes.damaged("a dict got a key without a value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    /// Adds to the list or dict below.
    fn extend(&mut self, opcode: u8) -> Result<(), FormatError> {
        let values = match opcode {
            b'a' => self.pop_many(1)?,
            b's' => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        let target = self.top()?;
        let pairs = if matches!(opcode, b's' | b'u') { self.pairs(&values)? } else { Vec::new() };
        match (&mut self.nodes[target], opcode) {
            (Node::List(list), b'a' | b'e' | 0x90) => list.extend(values),
            (Node::Dict(dict), b's' | b'u') => dict.extend(pairs),
            (Node::Inert, _) => {}
            _ => return Err(self.bytes.damaged("items are added to what is neither list nor dict")),
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), FormatError> {
        let find = |module: &str, name: &str| known(module, name).ok_or_else(|| refused(module, name));
        let global = if opcode == b'c' {
            let module = self.bytes.line()?;
            find(module, self.bytes.line()?)?
        } else {
            let values = self.pop_many(2)?;
            match (&self.nodes[values[0]], &self.nodes[values[1]]) {
                (Node::Text(module), Node::Text(name)) => find(module, name)?,
                _ => return Err(self.bytes.damaged("the name of a class is not text")),
            }
        };
        self.push(Node::Global(global))
    }

    fn call(&mut self, opcode: u8) -> Result<(), FormatError> {
        if opcode == 0x92 {
            self.pop()?; // NEWOBJ_EX: named arguments
        }
        let arguments_id = self.pop()?;
        let callee = self.pop()?;
        let global = match &self.nodes[callee] {
            Node::Global(global) => *global,
            Node::Inert => Global::Inert,
            _ => return Err(self.bytes.damaged("something is called that is no function")),
        };
        let Node::Tuple(arguments) = &self.nodes[arguments_id] else {
            return Err(self.bytes.damaged("arguments are not a tuple"));
        };
        let node = match global {
            Global::Inert => Node::Inert,
            Global::Dict => self.dict(arguments_id)?,
            Global::RebuildTensor => {
                let tensor = self.tensor(arguments)?;
                self.tensors_left -= 1;
                Node::Tensor(tensor.into())
            }
            Global::RebuildParameter => match arguments.first().map(|id| &self.nodes[*id]) {
                Some(Node::Tensor(tensor)) => Node::Tensor(tensor.clone()),
                _ => return Err(self.bytes.damaged("a parameter without its tensor")),
            },
            Global::Storage(_) => return Err(self.bytes.damaged("a storage is called")),
        };
        self.push(node)
    }

    /// `OrderedDict()` or `OrderedDict([[key, value], ...])`.
    fn dict(&mut self, arguments: NodeId) -> Result<Node, FormatError> {
        let Node::Tuple(arguments) = &self.nodes[arguments] else { unreachable!("checked by the caller") };
        let Some(Node::List(items)) = arguments.first().map(|id| &self.nodes[*id]) else {
            return Ok(Node::Dict(Vec::new()));
        };
        let left = self.pairs_left.checked_sub(items.len());
        self.pairs_left = left.ok_or_else(|| self.bytes.damaged("dicts of more pairs than a file needs"))?;
        let pair = |id: &NodeId| match &self.nodes[*id] {
            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(self.bytes.damaged("a dict is made from what are no pairs")),
        };
        items.iter().map(pair).collect::<Result<_, _>>().map(Node::Dict)
    }

    /// Arguments of `_rebuild_tensor_v2`: storage, offset, dimensions, strides, and what only training needs.
    fn tensor(&self, arguments: &[NodeId]) -> Result<TensorSpec, FormatError> {
        if self.tensors_left == 0 {
            let (place, limit) = ("pickle".into(), MAX_ENTRIES as u64);
            return Err(FormatError::Limit { format: FORMAT, place, what: "tensors", limit });
        }
        let node = |index: usize| arguments.get(index).map(|id| &self.nodes[*id]);
        let (Some(Node::Storage(storage)), Some(Node::Int(offset))) = (node(0), node(1)) else {
            return Err(self.bytes.damaged("a tensor without storage and offset"));
        };
        let dims = self.numbers(node(2))?;
        let strides = self.numbers(node(3))?;
        let offset = u64::try_from(*offset).map_err(|_| self.bytes.damaged("a negative offset"))?;
        if dims.len() != strides.len() {
            return Err(self.bytes.damaged(format!("{} dimensions, {} strides", dims.len(), strides.len())));
        }
        let dims = dims.into_iter().map(usize::try_from).collect::<Result<_, _>>();
        let dims = dims.map_err(|_| self.bytes.damaged("a dimension that does not fit this machine"))?;
        Ok(TensorSpec { storage: Storage::clone(storage), offset, dims, strides })
    }

    fn numbers(&self, node: Option<&Node>) -> Result<Vec<u64>, FormatError> {
        let Some(Node::Tuple(items)) = node else {
            return Err(self.bytes.damaged("dimensions that are not a tuple"));
        };
        if items.len() > crate::MAX_DIMS {
            return Err(self.bytes.damaged(format!("an array of {} dimensions", items.len())));
        }
        let number = |id: &NodeId| match &self.nodes[*id] {
            Node::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let numbers = items.iter().map(number).collect::<Option<_>>();
        numbers.ok_or_else(|| self.bytes.damaged("dimensions that are not whole numbers from 0"))
    }

    /// `("storage", type, key, device, elements)`, in old files with a view that nobody writes any more.
    fn persistent(&mut self) -> Result<(), FormatError> {
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id] else {
            return Err(self.bytes.damaged("a storage is not named by a tuple"));
        };
        let part = |index: usize| parts.get(index).map(|id| &self.nodes[*id]);
        let (Some(Node::Global(Global::Storage(element))), Some(Node::Text(key)), Some(Node::Int(len))) =
            (part(1), part(2), part(4))
        else {
            return Err(self.bytes.damaged("a storage without type, key and length"));
        };
        if matches!(part(5), Some(node) if *node != Node::Inert) {
            let problem = format!("storage `{key}` is a view, as written before PyTorch 0.4; save it again");
            return Err(FormatError::unsupported(FORMAT, "pickle", problem));
        }
        if key.len() > 64 {
            return Err(self.bytes.damaged("a storage key of more than 64 bytes"));
        }
        let len = u64::try_from(*len).map_err(|_| self.bytes.damaged("a storage of negative length"))?;
        let storage = Storage { key: key.clone(), element: *element, len };
        self.push(Node::Storage(storage.into()))
    }

    fn memo_index(&mut self, opcode: u8) -> Result<u64, FormatError> {
        Ok(match opcode {
            b'q' | b'h' => self.bytes.u8()?.into(),
            b'r' | b'j' => self.bytes.u32()?.into(),
            0x94 => self.memo.len() as u64,
            _ => {
                let line = self.bytes.line()?;
                line.parse().map_err(|_| self.bytes.damaged("a memo entry without a number"))?
            }
        })
    }

    fn memoize(&mut self, opcode: u8) -> Result<(), FormatError> {
        let index = self.memo_index(opcode)?;
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), FormatError> {
        let index = self.memo_index(opcode)?;
        let found = self.memo.get(&index).copied();
        self.stack.push(found.ok_or_else(|| self.bytes.damaged(format!("no memo entry {index}")))?);
        Ok(())
    }
}

/// Everything that a pickle may name. What is inert only occurs beside weights, in training checkpoints.
fn known(module: &str, name: &str) -> Option<Global> {
    let global = match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") => Global::Dict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch", "FloatStorage") => Global::Storage(ElementType::F32),
        ("torch", "DoubleStorage") => Global::Storage(ElementType::F64),
        ("torch", "HalfStorage") => Global::Storage(ElementType::F16),
        ("torch", "BFloat16Storage") => Global::Storage(ElementType::BF16),
        ("torch", "CharStorage") => Global::Storage(ElementType::I8),
        ("torch", "ShortStorage") => Global::Storage(ElementType::I16),
        ("torch", "IntStorage") => Global::Storage(ElementType::I32),
        ("torch", "LongStorage") => Global::Storage(ElementType::I64),
        ("torch", "ByteStorage") => Global::Storage(ElementType::U8),
        ("torch", "BoolStorage") => Global::Storage(ElementType::Bool),
        ("torch", "Size" | "device" | "float32" | "float64" | "float16" | "bfloat16" | "int64") => {
            Global::Inert
        }
        ("argparse", "Namespace") => Global::Inert,
        ("builtins" | "__builtin__", "int" | "float" | "list" | "dict" | "set" | "tuple" | "str") => {
            Global::Inert
        }
        ("_codecs", "encode") => Global::Inert,
        ("numpy", "dtype" | "ndarray") => Global::Inert,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Global::Inert,
        ("datetime", "datetime" | "date" | "timedelta") => Global::Inert,
        ("pathlib" | "pathlib._local", "Path" | "PosixPath" | "WindowsPath" | "PurePosixPath") => {
            Global::Inert
        }
        _ => return None,
    };
    Some(global)
}

fn refused(module: &str, name: &str) -> FormatError {
    let of = |package: &str| module == package || module.starts_with(&format!("{package}."));
    let advice = if of("ultralytics") {
        "it is a whole model object of Ultralytics YOLO, whose code and weights are under AGPL-3.0: mind that \
         licence, and save `model.state_dict()` there to read its arrays here"
    } else if module.starts_with("__torch__") {
        "it is a TorchScript program; save `model.state_dict()` instead"
    } else {
        "only dicts and tensors are; save `model.state_dict()` there and convert that file"
    };
    let short = |text: &str| text.chars().take(100).collect::<String>();
    FormatError::RefusedGlobal { name: format!("{}.{}", short(module), short(name)), advice }
}
