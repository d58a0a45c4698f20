//! Runs the steps of a schedule.

mod cond_conv;

use super::TrainPlan;
use super::compile::{Backward, Forward, Into};
use super::state::{NormState, Packed};
use crate::infer::{kernel_activation, pool_window, window};
use crate::{Images, NetError, Params};
use cpu_kernels::activation::{self, Activation};
use cpu_kernels::{Isa, MapMut, MapRef, conv, depthwise, elementwise, gate, norm, pool, upsample};
use net_graph::{Conv, NodeId, Op, Padding, ParamId};

/// The geometry of a convolution; a linear layer is a 1x1 convolution of a 1x1 map.
pub(crate) fn conv_of(op: &Op) -> Conv {
    match op {
        Op::Conv2d { conv, .. } => *conv,
        Op::Linear { .. } => Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 },
        other => panic!("{} is not a convolution", other.kind()),
    }
}

fn weight_and_bias(op: &Op) -> (ParamId, Option<ParamId>) {
    match op {
        Op::Conv2d { weight, bias, .. } => (*weight, *bias),
        Op::Linear { weight, bias } => (*weight, Some(*bias)),
        other => panic!("{} is not a convolution", other.kind()),
    }
}

impl TrainPlan {
    pub(super) fn run_forward(
        &mut self,
        step: &Forward,
        params: &mut Params,
        images: Images<'_>,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<(), NetError> {
        match *step {
            Forward::Images { input, affine } => self.images(input, affine, images)?,
            Forward::Norm { norm, activation } => self.norm_forward(norm, activation, params),
            Forward::Node(id) => self.node_forward(id, params, uniform),
        }
        Ok(())
    }

    fn images(&mut self, input: NodeId, affine: Option<NodeId>, images: Images<'_>) -> Result<(), NetError> {
        let shape = self.shapes[input.0];
        images.check(shape)?;
        let graph = self.graph.clone();
        let affine = affine.map(|id| (&graph.node(id).op, id));
        let (affine, result) = match affine {
            Some((Op::ChannelAffine { scale, shift }, id)) => (Some((&scale[..], &shift[..])), id),
            _ => (None, input),
        };
        let ([], [mut y]) = self.arena.borrow([], [self.values[result.0]]);
        images.convert(self.isa, shape, affine, &mut y);
        Ok(())
    }

    fn norm_forward(&mut self, id: NodeId, activation: Option<NodeId>, params: &mut Params) {
        let graph = self.graph.clone();
        let node = graph.node(id);
        let Op::BatchNorm { gamma, beta, mean, var, eps, momentum } = node.op else {
            unreachable!("norm step")
        };
        let result = activation.unwrap_or(id);
        let activation = self.activation_of(activation);
        let x_region = self.values[node.inputs[0].0];
        let state = self.state.norms.get_mut(&id).expect("every norm has a state");
        let ([x], [mut y]) = self.arena.borrow([x_region], [self.values[result.0]]);
        if self.schedule.trained[gamma.0] {
            norm::statistics(self.isa, x, &mut state.mean, &mut state.var);
            let count = x.positions() as f64;
            let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
            follow(params, mean, &state.mean, momentum, 1.0);
            follow(params, var, &state.var, momentum, unbiased);
        } else {
            state.mean.copy_from_slice(params.values(mean));
            state.var.copy_from_slice(params.values(var));
        }
        state.prepare(params.values(gamma), params.values(beta), eps);
        norm::forward(self.isa, x, &state.scale, &state.shift, activation, &mut y);
    }

    fn activation_of(&self, node: Option<NodeId>) -> Activation {
        match node.map(|id| &self.graph.node(id).op) {
            Some(Op::Activation(activation)) => kernel_activation(*activation),
            _ => Activation::Identity,
        }
    }

    fn node_forward(&mut self, id: NodeId, params: &Params, uniform: &mut dyn FnMut() -> f64) {
        let graph = self.graph.clone();
        let node = graph.node(id);
        let isa = self.isa;
        if node.op == Op::Concat {
            return self.concat_forward(id);
        }
        if let Op::CondConv { .. } = node.op {
            return self.cond_conv_forward(id, params);
        }
        if let Op::DropPath { rate } | Op::Dropout { rate } = node.op {
            let factors = self.state.factors.get_mut(&id).expect("every drop node has factors");
            let mut draw = || if uniform() < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 };
            factors.iter_mut().for_each(|factor| *factor = draw());
        }
        let (x_shape, y_shape) = (self.shapes[node.inputs[0].0], self.shapes[id.0]);
        let reads = [self.values[node.inputs[0].0], self.values[node.inputs.last().expect("has inputs").0]];
        let ([x, last], [mut y]) = self.arena.borrow(reads, [self.values[id.0]]);
        match &node.op {
            op @ (Op::Conv2d { .. } | Op::Linear { .. }) => {
                let (weight, bias) = weight_and_bias(op);
                let bias = bias.map(|bias| params.values(bias));
                let window = window(conv_of(op), x_shape, y_shape);
                match self.state.packed.get_mut(&id).expect("every convolution is packed") {
                    Packed::Dense { forward, .. } => {
                        forward.repack(params.values(weight));
                        let epilogue = conv::Fused { bias, ..conv::Fused::NONE };
                        conv::forward(isa, x, forward, &window, &epilogue, &mut y);
                    }
                    Packed::Experts { .. } => unreachable!("it has one kernel"),
                    Packed::Depthwise(packed) => {
                        depthwise::pack(params.values(weight), y_shape.channels, window.kernel, packed);
                        let epilogue = depthwise::Epilogue { bias, ..depthwise::Epilogue::NONE };
                        depthwise::forward(isa, x, packed, &window, &epilogue, &mut y);
                    }
                }
            }
            Op::ChannelAffine { scale, shift } => {
                norm::forward(isa, x, scale, shift, Activation::Identity, &mut y)
            }
            Op::Activation(activation) => activation::forward(isa, kernel_activation(*activation), x, &mut y),
            Op::Add => elementwise::add(isa, x, last, &mut y),
            Op::Gate => gate::forward(isa, x, last, &mut y),
            Op::GlobalAvgPool => pool::global_avg_pool(isa, x, x_shape.batch, &mut y),
            Op::MaxPool { kernel, stride } => {
                pool::max_pool(isa, x, &pool_window(*kernel, *stride, x_shape, y_shape), &mut y)
            }
            Op::Upsample { factor } => {
                upsample::forward(isa, x, x_shape.batch, x_shape.height, x_shape.width, *factor, &mut y)
            }
            Op::DropPath { .. } => elementwise::scale_images(isa, x, &self.state.factors[&id], false, &mut y),
            Op::Dropout { .. } => elementwise::multiply(isa, x, &self.state.factors[&id], false, &mut y),
            other => unreachable!("{} has no forward step of its own", other.kind()),
        }
    }

    fn concat_forward(&mut self, id: NodeId) {
        for (input, channel) in self.schedule.values.copies(&self.graph, id) {
            let part = self.values[id.0].channels(channel, self.shapes[input.0].channels);
            let ([x], [mut y]) = self.arena.borrow([self.values[input.0]], [part]);
            elementwise::copy(self.isa, x, &mut y);
        }
    }

    pub(super) fn run_backward(&mut self, step: &Backward, params: &Params, grads: &mut [f32]) {
        match step {
            Backward::Zero { node, start, len } => {
                let ([], [mut grad]) = self.arena.borrow([], [self.grads[node.0].channels(*start, *len)]);
                grad.fill(0.0);
            }
            Backward::Step { forward: Forward::Norm { norm, activation }, into } => {
                self.norm_backward(*norm, *activation, into[0], params, grads);
            }
            Backward::Step { forward, into } => self.node_backward(forward.first(), into, params, grads),
        }
    }

    fn norm_backward(
        &mut self,
        id: NodeId,
        activation: Option<NodeId>,
        into: Into,
        params: &Params,
        grads: &mut [f32],
    ) {
        let graph = self.graph.clone();
        let node = graph.node(id);
        let Op::BatchNorm { gamma, beta, .. } = node.op else { unreachable!("norm step") };
        let result = activation.unwrap_or(id);
        let activation = self.activation_of(activation);
        let trained = self.schedule.trained[gamma.0];
        let state = &self.state.norms[&id];
        let x_region = self.values[node.inputs[0].0];
        let ([x], [mut dy]) = self.arena.borrow([x_region], [self.grads[result.0]]);
        let gamma_range = self.layout.trained_range(gamma);
        let beta_range = self.layout.trained_range(beta);
        let mut d_gamma = vec![0.0; node.channels];
        let mut d_beta = vec![0.0; node.channels];
        let (gamma_values, beta_values) = (params.values(gamma), params.values(beta));
        norm::backward_in_place(
            self.isa,
            x,
            &state.mean,
            &state.inv_std,
            gamma_values,
            beta_values,
            activation,
            trained,
            &mut dy,
            &mut d_gamma,
            &mut d_beta,
        );
        if trained {
            add_to(&mut grads[gamma_range], &d_gamma);
        }
        if self.schedule.trained[beta.0] {
            add_to(&mut grads[beta_range], &d_beta);
        }
        if matches!(into, Into::Write | Into::Accumulate) {
            let ([dy], [mut dx]) = self.arena.borrow([self.grads[result.0]], [self.grads[node.inputs[0].0]]);
            pass_on(self.isa, dy, into, &mut dx);
        }
    }

    fn node_backward(&mut self, id: NodeId, into: &[Into], params: &Params, grads: &mut [f32]) {
        let graph = self.graph.clone();
        let node = graph.node(id);
        if let Op::CondConv { .. } = node.op {
            return self.cond_conv_backward(id, into, params, grads);
        }
        if let Op::Conv2d { .. } | Op::Linear { .. } = node.op {
            self.conv_backward_params(id, params, grads);
        }
        let mut channel = 0;
        for (index, (&input, &into)) in node.inputs.iter().zip(into).enumerate() {
            let mut dy_region = self.grads[id.0];
            if node.op == Op::Concat {
                dy_region = dy_region.channels(channel, self.shapes[input.0].channels);
                channel += self.shapes[input.0].channels;
            }
            if !matches!(into, Into::Write | Into::Accumulate) {
                continue;
            }
            let accumulate = into == Into::Accumulate;
            let (x_shape, y_shape) = (self.shapes[input.0], self.shapes[id.0]);
            // Values that no kernel below reads may be anywhere by now, so they are borrowed only where needed.
            let isa = self.isa;
            let dx_region = self.grads[input.0];
            match &node.op {
                Op::Activation(activation) => {
                    let ([x, dy], [mut dx]) =
                        self.arena.borrow([self.values[input.0], dy_region], [dx_region]);
                    activation::backward(isa, kernel_activation(*activation), x, dy, accumulate, &mut dx);
                }
                Op::Gate => {
                    let other = node.inputs[1 - index];
                    let ([other, dy], [mut dx]) =
                        self.arena.borrow([self.values[other.0], dy_region], [dx_region]);
                    match index {
                        0 => gate::backward_x(isa, dy, other, accumulate, &mut dx),
                        _ => gate::backward_gate(isa, other, dy, accumulate, &mut dx),
                    }
                }
                Op::MaxPool { kernel, stride } => {
                    let reads = [self.values[input.0], self.values[id.0], dy_region];
                    let ([x, y, dy], [mut dx]) = self.arena.borrow(reads, [dx_region]);
                    pool::max_pool_backward(
                        isa,
                        x,
                        y,
                        dy,
                        &pool_window(*kernel, *stride, x_shape, y_shape),
                        accumulate,
                        &mut dx,
                    );
                }
                op => {
                    let ([dy], [mut dx]) = self.arena.borrow([dy_region], [dx_region]);
                    match op {
                        Op::Conv2d { .. } | Op::Linear { .. } => {
                            let window = window(conv_of(op), x_shape, y_shape);
                            match &self.state.packed[&id] {
                                Packed::Dense { backward: Some(packed), .. } => {
                                    conv::backward_data(isa, dy, packed, &window, accumulate, &mut dx);
                                }
                                Packed::Experts { .. } => unreachable!("it has one kernel"),
                                Packed::Dense { backward: None, .. } => {
                                    unreachable!("packed where an input gradient is wanted")
                                }
                                Packed::Depthwise(packed) => {
                                    depthwise::backward_data(isa, dy, packed, &window, accumulate, &mut dx)
                                }
                            }
                        }
                        Op::Add | Op::Concat => pass_on(isa, dy, into, &mut dx),
                        Op::GlobalAvgPool => {
                            pool::global_avg_pool_backward(isa, dy, x_shape.batch, accumulate, &mut dx)
                        }
                        Op::Upsample { factor } => {
                            upsample::backward(
                                isa,
                                dy,
                                x_shape.batch,
                                x_shape.height,
                                x_shape.width,
                                *factor,
                                accumulate,
                                &mut dx,
                            );
                        }
                        Op::DropPath { .. } => {
                            elementwise::scale_images(isa, dy, &self.state.factors[&id], accumulate, &mut dx)
                        }
                        Op::Dropout { .. } => {
                            elementwise::multiply(isa, dy, &self.state.factors[&id], accumulate, &mut dx)
                        }
                        other => unreachable!("{} has no backward step of its own", other.kind()),
                    }
                }
            }
        }
    }

    /// Gradients of weight and bias; packs the weight for the gradient of the input.
    fn conv_backward_params(&mut self, id: NodeId, params: &Params, grads: &mut [f32]) {
        let node = self.graph.node(id);
        let (weight, bias) = weight_and_bias(&node.op);
        let input = node.inputs[0];
        let window = window(conv_of(&node.op), self.shapes[input.0], self.shapes[id.0]);
        let packed = self.state.packed.get_mut(&id).expect("every convolution is packed");
        if let Packed::Dense { backward: Some(packed), .. } = packed {
            packed.repack(params.values(weight));
        }
        let ([x, dy], []) = self.arena.borrow([self.values[input.0], self.grads[id.0]], []);
        if self.schedule.trained[weight.0] {
            let dw = &mut grads[self.layout.trained_range(weight)];
            match packed {
                Packed::Dense { .. } => conv::backward_weight(self.isa, x, dy, &window, dw),
                Packed::Depthwise(_) => depthwise::backward_weight(self.isa, x, dy, &window, dw),
                Packed::Experts { .. } => unreachable!("it has one kernel"),
            }
        }
        if let Some(bias) = bias.filter(|bias| self.schedule.trained[bias.0]) {
            elementwise::sum_positions(self.isa, dy, &mut grads[self.layout.trained_range(bias)]);
        }
    }
}

impl NormState {
    /// Inverse deviation, and the scale and shift that normalise in one multiply-add.
    fn prepare(&mut self, gamma: &[f32], beta: &[f32], eps: f64) {
        for c in 0..gamma.len() {
            let inv_std = 1.0 / (self.var[c] as f64 + eps).sqrt();
            let scale = gamma[c] as f64 * inv_std;
            self.inv_std[c] = inv_std as f32;
            self.scale[c] = scale as f32;
            self.shift[c] = (beta[c] as f64 - self.mean[c] as f64 * scale) as f32;
        }
    }
}

/// Moves a running statistic towards the batch's, multiplied by `correction`.
fn follow(params: &mut Params, running: ParamId, batch: &[f32], momentum: f64, correction: f64) {
    let slot = params.layout.slot(running).clone();
    for (running, batch) in params.slice_mut(&slot).iter_mut().zip(batch) {
        *running = ((1.0 - momentum) * *running as f64 + momentum * correction * *batch as f64) as f32;
    }
}

fn add_to(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

fn pass_on(isa: Isa, dy: MapRef<'_>, into: Into, dx: &mut MapMut<'_>) {
    match into {
        Into::Write => elementwise::copy(isa, dy, dx),
        Into::Accumulate => elementwise::accumulate(isa, dy, dx),
        Into::Skip | Into::InPlace => {}
    }
}
