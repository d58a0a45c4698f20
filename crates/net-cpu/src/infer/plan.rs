mod cond_conv;

use super::InferModel;
use super::fuse::{Kind, Step};
use crate::memory::{self, Life};
use crate::{Images, NetError};
use cpu_kernels::conv::depthwise_after;
use cpu_kernels::{
    Arena, MapRef, Region, Window, activation, convert, decode, depthwise, elementwise, gate, norm, parallel,
    pool, upsample,
};
use net_graph::{Conv, NodeId, Padding, Shape};
use std::sync::Arc;

/// An inference model laid out for one input size. All maps lie in one arena, and threads keep their scratch buffers: a run
/// allocates nothing but a job for each thread that it calls in.
#[derive(Debug)]
pub struct InferPlan {
    pub(super) model: Arc<InferModel>,
    pub(super) shapes: Vec<Shape>,
    /// Where each node's value lies; only values of steps that have run are meaningful.
    regions: Vec<Region>,
    arena: Arena,
}

impl InferPlan {
    pub(super) fn new(
        model: Arc<InferModel>,
        batch: usize,
        height: usize,
        width: usize,
    ) -> Result<Self, NetError> {
        let shapes = model.graph.shapes(batch, height, width)?;
        let lives = lives(&model, &shapes);
        let (offsets, total) = memory::assign(&lives);
        let region = |id: NodeId| {
            let (root, channel) = model.placement.root(id);
            let whole = shapes[root.0];
            Region::dense(offsets[root.0], whole.positions(), whole.channels)
                .channels(channel, shapes[id.0].channels)
        };
        let regions = model.graph.ids().map(region).collect();
        Ok(InferPlan { arena: Arena::new(total), regions, shapes, model })
    }

    /// Computes the outputs for a batch of images.
    ///
    /// # Errors
    /// When the images are not of the plan's size.
    pub fn run(&mut self, images: Images<'_>) -> Result<(), NetError> {
        let model = self.model.clone();
        parallel::with_team(|| model.steps.iter().try_for_each(|step| self.run_any(step, images)))
    }

    /// One step, be it the first or another.
    pub(super) fn run_any(&mut self, step: &Step, images: Images<'_>) -> Result<(), NetError> {
        match &step.kind {
            Kind::Images { affine } => {
                let shape = self.shapes[step.result.0];
                images.check(shape)?;
                let affine = affine.as_ref().map(|(scale, shift)| (&scale[..], &shift[..]));
                let ([], [mut y]) = self.arena.borrow([], [self.regions[step.result.0]]);
                images.convert(self.model.isa, shape, affine, &mut y);
            }
            _ => self.run_step(step),
        }
        Ok(())
    }

    /// Shape of an output, as `[B, C, H, W]`.
    pub fn output_shape(&self, index: usize) -> Shape {
        self.shapes[self.model.outputs[index].0]
    }

    /// An output of the last run: rows `(b, y, x)` of C channels.
    pub fn output(&self, index: usize) -> MapRef<'_> {
        self.arena.read(self.regions[self.model.outputs[index].0])
    }

    /// An output of the last run as `[B, C, H, W]`.
    pub fn output_nchw(&self, index: usize) -> Vec<f32> {
        let shape = self.output_shape(index);
        let mut values = vec![0.0; shape.len()];
        convert::nhwc_to_nchw(
            self.model.isa,
            self.output(index),
            shape.batch,
            shape.height,
            shape.width,
            &mut values,
        );
        values
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len() * size_of::<f32>()
    }

    fn run_step(&mut self, step: &Step) {
        let isa = self.model.isa;
        let y_region = self.regions[step.result.0];
        let x_shape = self.shapes[step.inputs[0].0];
        let y_shape = self.shapes[step.result.0];
        if let Kind::Concat = step.kind {
            return self.concat(step.result);
        }
        if let Kind::Decode { strides, bins } = &step.kind {
            return self.decode(step, strides, bins);
        }
        let x_region = self.regions[step.inputs[0].0];
        // Values that a kernel does not read are lent in place of those that there are none of.
        let read = |index: usize| step.inputs.get(index).map_or(x_region, |id| self.regions[id.0]);
        let reads = [x_region, read(1), read(2)];
        if let Kind::ConvDepthwise { .. } = step.kind {
            return self.conv_depthwise(step);
        }
        if let Kind::CondConv { .. } = step.kind {
            return self.cond_conv(step);
        }
        let ([x, second, third], [mut y]) = self.arena.borrow(reads, [y_region]);
        match &step.kind {
            Kind::Conv { conv, weight, finish, gated } => {
                let residual = if *gated { third } else { second };
                let residual = (step.inputs.len() > 1 + usize::from(*gated)).then_some(residual);
                let fused = finish.fused(gated.then_some(second), residual);
                weight.forward(isa, x, &window(*conv, x_shape, y_shape), &fused, &mut y);
            }
            Kind::Depthwise { conv, weight, finish } => {
                let window = window(*conv, x_shape, y_shape);
                depthwise::forward(isa, x, weight, &window, &finish.epilogue(0..y.channels()), &mut y);
            }
            Kind::ScaleShift { scale, shift, activation } => {
                norm::forward(isa, x, scale, shift, *activation, &mut y)
            }
            Kind::Activation(activation) => activation::forward(isa, *activation, x, &mut y),
            Kind::Add => elementwise::add(isa, x, second, &mut y),
            Kind::Gate => gate::forward(isa, x, second, &mut y),
            Kind::GlobalAvgPool => pool::global_avg_pool(isa, x, x_shape.batch, &mut y),
            Kind::MaxPool { kernel, stride } => {
                pool::max_pool(isa, x, &pool_window(*kernel, *stride, x_shape, y_shape), &mut y)
            }
            Kind::Upsample { factor } => {
                upsample::forward(isa, x, x_shape.batch, x_shape.height, x_shape.width, *factor, &mut y);
            }
            other => unreachable!("{other:?} has a way of its own"),
        }
    }

    fn conv_depthwise(&mut self, step: &Step) {
        let Kind::ConvDepthwise { conv, depthwise, between, weight } = &step.kind else {
            unreachable!("the caller has looked")
        };
        let isa = self.model.isa;
        let [x_shape, shape, y_shape] = [step.inputs[0], *between, step.result].map(|id| self.shapes[id.0]);
        let windows = [&window(*conv, x_shape, shape), &window(*depthwise, shape, y_shape)];
        let pooled = step.pooled.map_or(Region::dense(0, 0, 0), |id| self.regions[id.0]);
        let writes = [self.regions[step.result.0], pooled];
        let ([x], [mut y, mut pooled]) = self.arena.borrow([self.regions[step.inputs[0].0]], writes);
        let pooled = step.pooled.is_some().then_some(&mut pooled);
        depthwise_after::forward(isa, x, weight, windows, &mut y, pooled);
    }

    fn concat(&mut self, id: NodeId) {
        let model = self.model.clone();
        for (input, channel) in model.placement.copies(&model.graph, id) {
            let part = self.regions[id.0].channels(channel, self.shapes[input.0].channels);
            let ([x], [mut y]) = self.arena.borrow([self.regions[input.0]], [part]);
            elementwise::copy(model.isa, x, &mut y);
        }
    }

    fn decode(&mut self, step: &Step, strides: &[usize], bins: &[f32]) {
        let (boxes, classes) = step.inputs.split_at(strides.len());
        let anchors = self.shapes[step.result.0].width;
        let mut first = 0;
        for ((boxes, classes), stride) in boxes.iter().zip(classes).zip(strides) {
            let map = self.shapes[boxes.0];
            let reads = [self.regions[boxes.0], self.regions[classes.0]];
            let ([boxes, classes], [mut y]) = self.arena.borrow(reads, [self.regions[step.result.0]]);
            decode::decode_level(
                self.model.isa,
                boxes,
                classes,
                map.batch,
                map.height,
                map.width,
                *stride,
                bins,
                first,
                anchors,
                &mut y,
            );
            first += map.height * map.width;
        }
    }
}

/// The window of a convolution between two shapes.
pub(crate) fn window(conv: Conv, x: Shape, y: Shape) -> Window {
    let before =
        |size| conv.padding.resolve(size, conv.kernel, conv.stride).map_or(0, |extent| extent.before);
    Window {
        batch: x.batch,
        in_height: x.height,
        in_width: x.width,
        out_height: y.height,
        out_width: y.width,
        kernel: conv.kernel,
        stride: conv.stride,
        pad_top: before(x.height),
        pad_left: before(x.width),
    }
}

/// The window of a max-pool between two shapes.
pub(crate) fn pool_window(kernel: usize, stride: usize, x: Shape, y: Shape) -> Window {
    window(Conv { kernel, stride, padding: Padding::Symmetric, groups: 1 }, x, y)
}

/// When the memory of each node that owns some is in use.
fn lives(model: &InferModel, shapes: &[Shape]) -> Vec<Life> {
    let mut lives: Vec<Life> = shapes.iter().map(|shape| Life::new(shape.len())).collect();
    for (time, step) in model.steps.iter().enumerate() {
        for id in step.inputs.iter().chain([&step.result]).chain(&step.pooled) {
            lives[model.placement.root(*id).0.0].at(time);
        }
    }
    model.outputs.iter().for_each(|id| lives[model.placement.root(*id).0.0].at(model.steps.len()));
    lives
}
