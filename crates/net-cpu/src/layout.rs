//! Parameters in flat vectors.

use crate::NetError;
use net_graph::{Graph, Param, ParamId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Where a parameter's values lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// In the vector of trained values, and at the same place in gradients and optimiser moments.
    Trained(Range<usize>),
    /// In the vector of running statistics and constants.
    Buffer(Range<usize>),
}

/// Which part of the flat vectors belongs to which parameter. Parameters lie in the order of their names.
#[derive(Debug, Clone)]
pub struct ParamLayout {
    params: Vec<Param>,
    slots: Vec<Slot>,
    index: HashMap<String, ParamId>,
    in_name_order: Vec<ParamId>,
    trained: usize,
    buffers: usize,
}

impl ParamLayout {
    /// The layout of a graph's parameters.
    pub fn new(graph: &Graph) -> Self {
        let params = graph.params().to_vec();
        let mut in_name_order: Vec<ParamId> = (0..params.len()).map(ParamId).collect();
        in_name_order.sort_by(|a, b| params[a.0].name.cmp(&params[b.0].name));
        let mut slots = vec![Slot::Buffer(0..0); params.len()];
        let (mut trained, mut buffers) = (0, 0);
        for id in &in_name_order {
            let param = &params[id.0];
            let end = if param.role.is_trained() { &mut trained } else { &mut buffers };
            let range = *end..*end + param.len();
            *end = range.end;
            slots[id.0] = if param.role.is_trained() { Slot::Trained(range) } else { Slot::Buffer(range) };
        }
        let index = params.iter().enumerate().map(|(i, param)| (param.name.clone(), ParamId(i))).collect();
        ParamLayout { params, slots, index, in_name_order, trained, buffers }
    }

    /// Number of trained values.
    pub fn trained_len(&self) -> usize {
        self.trained
    }

    /// Number of running statistics and constants.
    pub fn buffer_len(&self) -> usize {
        self.buffers
    }

    /// All parameters and where they lie, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Param, &Slot)> {
        self.in_name_order.iter().map(|id| (&self.params[id.0], &self.slots[id.0]))
    }

    /// A parameter by name.
    pub fn find(&self, name: &str) -> Option<(&Param, &Slot)> {
        self.index.get(name).map(|id| (&self.params[id.0], &self.slots[id.0]))
    }

    /// Where a parameter of the graph lies.
    pub fn slot(&self, id: ParamId) -> &Slot {
        &self.slots[id.0]
    }

    /// Where a trained parameter lies in the trained vector.
    ///
    /// # Panics
    /// When the parameter is not trained.
    pub fn trained_range(&self, id: ParamId) -> Range<usize> {
        match &self.slots[id.0] {
            Slot::Trained(range) => range.clone(),
            Slot::Buffer(_) => panic!("`{}` is not trained", self.params[id.0].name),
        }
    }
}

/// The values of a network's parameters, one by one: what [`InferModel`](crate::InferModel) folds and packs.
pub trait Weights {
    /// Values of a parameter of the graph, in PyTorch's order of dimensions.
    fn values(&self, id: ParamId) -> Cow<'_, [f32]>;
}

impl Weights for Params {
    fn values(&self, id: ParamId) -> Cow<'_, [f32]> {
        Cow::Borrowed(self.values(id))
    }
}

/// Values of all parameters of a network.
#[derive(Debug, Clone)]
pub struct Params {
    /// What lies where.
    pub layout: Arc<ParamLayout>,
    /// Weights, biases, norm scales and shifts.
    pub trained: Vec<f32>,
    /// Running statistics and constants.
    pub buffers: Vec<f32>,
}

impl Params {
    /// Initial values. `stream` gives every parameter a source of numbers in `[0, 1)` of its own, so that a parameter
    /// starts the same whatever else the network has.
    pub fn init<F: FnMut() -> f64>(graph: &Graph, mut stream: impl FnMut(&Param) -> F) -> Self {
        let layout = Arc::new(ParamLayout::new(graph));
        let mut params = Params {
            trained: vec![0.0; layout.trained],
            buffers: vec![0.0; layout.buffers],
            layout: layout.clone(),
        };
        for (param, slot) in layout.iter() {
            let mut uniform = stream(param);
            params.slice_mut(slot).copy_from_slice(&param.init.values(param.len(), &mut uniform));
        }
        params
    }

    /// Values at a slot.
    pub fn slice(&self, slot: &Slot) -> &[f32] {
        match slot {
            Slot::Trained(range) => &self.trained[range.clone()],
            Slot::Buffer(range) => &self.buffers[range.clone()],
        }
    }

    /// Values at a slot, to write.
    pub fn slice_mut(&mut self, slot: &Slot) -> &mut [f32] {
        match slot {
            Slot::Trained(range) => &mut self.trained[range.clone()],
            Slot::Buffer(range) => &mut self.buffers[range.clone()],
        }
    }

    /// Values of a parameter of the graph.
    pub fn values(&self, id: ParamId) -> &[f32] {
        self.slice(self.layout.slot(id))
    }

    /// Values by name, in PyTorch's order of dimensions.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.layout.find(name).map(|(_, slot)| self.slice(slot))
    }

    /// Sets values by name, in PyTorch's order of dimensions.
    ///
    /// # Errors
    /// When there is no such parameter or the number of values differs.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<(), NetError> {
        let layout = self.layout.clone();
        let (param, slot) =
            layout.find(name).ok_or_else(|| NetError::UnknownParam { name: name.to_string() })?;
        if values.len() != param.len() {
            let (expected, dims) = (param.len(), param.dims.clone());
            return Err(NetError::ParamLength { name: name.to_string(), expected, dims, got: values.len() });
        }
        self.slice_mut(slot).copy_from_slice(values);
        Ok(())
    }
}
