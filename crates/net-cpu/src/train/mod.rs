//! Training: a static schedule of forward and backward steps over one arena.

mod compile;
mod run;
mod state;
mod timing;

use crate::consumers::Consumers;
use crate::infer::unsupported;
use crate::memory::{self, Life};
use crate::placement::Placement;
use crate::{Images, NetError, ParamLayout, Params};
use compile::{Forward, Schedule};
use cpu_kernels::{Arena, Isa, MapMut, MapRef, Region, convert, parallel};
use net_graph::{Graph, NodeId, Op, Shape};
use state::State;
use std::sync::Arc;

/// A network laid out for training at one input size.
///
/// One step is [`TrainPlan::forward`], then writing every [`TrainPlan::output_grad`], then [`TrainPlan::backward`].
#[derive(Debug)]
pub struct TrainPlan {
    graph: Arc<Graph>,
    layout: Arc<ParamLayout>,
    outputs: Vec<NodeId>,
    shapes: Vec<Shape>,
    schedule: Schedule,
    /// Where each node's value and its gradient lie.
    values: Vec<Region>,
    grads: Vec<Region>,
    arena: Arena,
    state: State,
    isa: Isa,
    has_image_grad: bool,
}

impl TrainPlan {
    /// Compiles forward and backward schedules.
    ///
    /// `frozen` tells by name which parameters stay as they are: no gradient is computed for them, and a batch norm
    /// whose scale is frozen uses its running statistics.
    ///
    /// # Errors
    /// When the size does not suit the network, a node has no kernel, or one output is a part of another.
    pub fn new(
        graph: Arc<Graph>,
        layout: Arc<ParamLayout>,
        outputs: &[NodeId],
        size: (usize, usize, usize),
        isa: Isa,
        frozen: &dyn Fn(&str) -> bool,
    ) -> Result<Self, NetError> {
        Self::compile(graph, layout, outputs, size, isa, frozen, false)
    }

    /// [`TrainPlan::new`] whose backward pass also computes the gradient of the images, for
    /// [`TrainPlan::image_grad_nchw`].
    ///
    /// # Errors
    /// As there.
    pub fn with_image_grad(
        graph: Arc<Graph>,
        layout: Arc<ParamLayout>,
        outputs: &[NodeId],
        size: (usize, usize, usize),
        isa: Isa,
        frozen: &dyn Fn(&str) -> bool,
    ) -> Result<Self, NetError> {
        Self::compile(graph, layout, outputs, size, isa, frozen, true)
    }

    fn compile(
        graph: Arc<Graph>,
        layout: Arc<ParamLayout>,
        outputs: &[NodeId],
        size: (usize, usize, usize),
        isa: Isa,
        frozen: &dyn Fn(&str) -> bool,
        image_grad: bool,
    ) -> Result<Self, NetError> {
        let (batch, height, width) = size;
        let shapes = graph.shapes(batch, height, width)?;
        let consumers = Consumers::new(&graph, outputs);
        let schedule = compile::schedule(&graph, &consumers, outputs, frozen, image_grad)?;
        let (offsets, total) = memory::assign(&lives(&graph, &schedule, outputs, &shapes, image_grad));
        let region = |placement: &Placement, id: NodeId, first: usize| {
            let (root, channel) = placement.root(id);
            let whole = shapes[root.0];
            Region::dense(offsets[first + root.0], whole.positions(), whole.channels)
                .channels(channel, shapes[id.0].channels)
        };
        let values = graph.ids().map(|id| region(&schedule.values, id, 0)).collect();
        let grads: Vec<Region> = graph.ids().map(|id| region(&schedule.grads, id, shapes.len())).collect();
        check_apart(&graph, outputs, &grads)?;
        let state = State::new(&graph, &schedule, &shapes, isa);
        Ok(TrainPlan {
            arena: Arena::new(total),
            outputs: outputs.to_vec(),
            graph,
            layout,
            shapes,
            schedule,
            values,
            grads,
            state,
            isa,
            has_image_grad: image_grad,
        })
    }

    /// Computes the outputs for a batch of images, with batch statistics, and updates the running statistics.
    ///
    /// `uniform` gives numbers in `[0, 1)`, drawn node by node in the graph's order: one an image for each drop-path
    /// node with a rate above 0, one a value (image by image, channel by channel) for each such dropout node. A number
    /// below the rate drops.
    ///
    /// # Errors
    /// When the images are not of the plan's size.
    pub fn forward(
        &mut self,
        params: &mut Params,
        images: Images<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<(), NetError> {
        let steps = std::mem::take(&mut self.schedule.forward);
        let result = parallel::with_team(|| {
            steps.iter().try_for_each(|step| self.run_forward(step, params, images, uniform))
        });
        self.schedule.forward = steps;
        result
    }

    /// Adds the gradient of every trained parameter to `grads`, which is laid out as the trained parameters are.
    ///
    /// Needs the parameters of the last forward pass and the outputs' gradients, which it uses up.
    pub fn backward(&mut self, params: &Params, grads: &mut [f32]) {
        let steps = std::mem::take(&mut self.schedule.backward);
        parallel::with_team(|| steps.iter().for_each(|step| self.run_backward(step, params, grads)));
        self.schedule.backward = steps;
    }

    /// Shape of an output, as `[B, C, H, W]`.
    pub fn output_shape(&self, index: usize) -> Shape {
        self.shapes[self.outputs[index].0]
    }

    /// An output of the last forward pass: rows `(b, y, x)` of C channels.
    pub fn output(&self, index: usize) -> MapRef<'_> {
        self.arena.read(self.values[self.outputs[index].0])
    }

    /// The gradient of an output, to be written between forward and backward. Its old values mean nothing.
    pub fn output_grad(&mut self, index: usize) -> MapMut<'_> {
        let ([], [grad]) = self.arena.borrow([], [self.grads[self.outputs[index].0]]);
        grad
    }

    /// Writes an output of the last forward pass to `y` as `[B, C, H, W]`.
    ///
    /// # Panics
    /// When `y` has another length.
    pub fn output_nchw(&self, index: usize, y: &mut [f32]) {
        let shape = self.output_shape(index);
        convert::nhwc_to_nchw(self.isa, self.output(index), shape.batch, shape.height, shape.width, y);
    }

    /// Sets the gradient of an output, given as `[B, C, H, W]`, between forward and backward.
    ///
    /// # Panics
    /// When `grad` has another length.
    pub fn set_output_grad_nchw(&mut self, index: usize, grad: &[f32]) {
        let (isa, Shape { batch, channels, height, width }) = (self.isa, self.output_shape(index));
        convert::nchw_to_nhwc(isa, grad, batch, channels, height, width, None, &mut self.output_grad(index));
    }

    /// Writes the gradient of the images after a backward pass to `y` as `[B, C, H, W]`; 0 where no output needs them.
    ///
    /// # Panics
    /// When the plan was not made by [`TrainPlan::with_image_grad`], or `y` has another length.
    pub fn image_grad_nchw(&self, y: &mut [f32]) {
        assert!(self.has_image_grad, "the plan was made without the gradient of the images");
        let Some(Forward::Images { input, affine }) = self.schedule.images() else { return y.fill(0.0) };
        let Shape { batch, channels, height, width } = self.shapes[input.0];
        let grad = self.arena.read(self.grads[affine.unwrap_or(input).0]);
        convert::nhwc_to_nchw(self.isa, grad, batch, height, width, y);
        if let Some(Op::ChannelAffine { scale, .. }) = affine.map(|id| &self.graph.node(id).op) {
            for (plane, values) in y.chunks_exact_mut(height * width).enumerate() {
                values.iter_mut().for_each(|value| *value *= scale[plane % channels]);
            }
        }
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len() * size_of::<f32>()
    }
}

/// Refuses outputs one of which is a part of another: their gradients would lie in the same memory.
fn check_apart(graph: &Graph, outputs: &[NodeId], grads: &[Region]) -> Result<(), NetError> {
    for (i, a) in outputs.iter().enumerate() {
        if outputs[i + 1..].iter().any(|b| !grads[a.0].is_disjoint(&grads[b.0])) {
            return Err(unsupported(graph, *a, "it shares memory with another output"));
        }
    }
    Ok(())
}

/// When the memory of each value (first half) and each gradient (second half) is in use.
fn lives(
    graph: &Graph,
    schedule: &Schedule,
    outputs: &[NodeId],
    shapes: &[Shape],
    image_grad: bool,
) -> Vec<Life> {
    let count = shapes.len();
    let mut lives: Vec<Life> = shapes.iter().chain(shapes).map(|shape| Life::new(shape.len())).collect();
    let mut value = |id: NodeId, time: usize| lives[schedule.values.root(id).0.0].at(time);
    for (time, step) in schedule.forward.iter().enumerate() {
        step.inputs(graph).iter().chain([&step.result()]).for_each(|id| value(*id, time));
    }
    let border = schedule.forward.len();
    outputs.iter().for_each(|id| value(*id, border));
    for (i, step) in schedule.backward.iter().enumerate() {
        step.values(graph).iter().for_each(|id| value(*id, border + 1 + i));
    }
    let mut grad = |id: NodeId, time: usize| lives[count + schedule.grads.root(id).0.0].at(time);
    outputs.iter().for_each(|id| grad(*id, border));
    for (i, step) in schedule.backward.iter().enumerate() {
        step.grads(graph).iter().for_each(|id| grad(*id, border + 1 + i));
    }
    let kept = schedule.images().filter(|_| image_grad);
    kept.iter().for_each(|step| grad(step.result(), border + 1 + schedule.backward.len()));
    lives
}
