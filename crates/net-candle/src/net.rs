use crate::batch_norm::BatchNorm;
use crate::engine::Engine;
use crate::{CandleNetError, activation, conv, decode, drop, resample};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Init, VarBuilder};
use net_graph::{Graph, Node, NodeId, Op, Param, ParamId, Role};
use std::collections::HashMap;
use std::sync::Arc;

/// How a network runs.
pub enum Mode<'a> {
    /// Batch norm by the running statistics, nothing dropped, parameters as constants: no tape is recorded for them,
    /// and each map is released after its last use.
    Eval,
    /// Batch norm by the batch's statistics, which the running ones follow; drop-path and dropout active; gradients
    /// reach every parameter that is trained and not frozen.
    ///
    /// Numbers are drawn node by node, in the order of the graph, for the nodes that the outputs need and whose rate
    /// is above 0: [`Op::DropPath`] draws one number an image, in the order of the batch; [`Op::Dropout`] one number a
    /// value, in the order `[B, C, H, W]`. What drew `u` is dropped if `u < rate`. Where nothing is dropped no number
    /// is drawn.
    Train {
        /// Gives numbers in `[0, 1)`.
        uniform: &'a mut dyn FnMut() -> f64,
    },
}

/// A graph with the values of its parameters, on one device and in one number type.
///
/// Values are candle variables: an optimiser sets them, and batch norm's running statistics change in training, through
/// a shared reference.
#[derive(Debug)]
pub struct CandleNet {
    graph: Arc<Graph>,
    /// For `f32` on the CPU.
    engine: Option<Engine>,
    device: Device,
    dtype: DType,
    vars: Vec<Var>, // by ParamId
    frozen: Vec<bool>,
    ids: HashMap<String, ParamId>,
}

impl CandleNet {
    /// A network with the values that `values` gives, in the order of [`Param::dims`]; asked in the order of the graph.
    ///
    /// # Errors
    /// When `dtype` is not `f32` or `f64`, or a number of values is wrong.
    pub fn new(
        graph: Graph,
        device: &Device,
        dtype: DType,
        mut values: impl FnMut(&Param) -> Vec<f32>,
    ) -> Result<Self, CandleNetError> {
        let vars = graph.params().iter().map(|param| {
            let values = tensor(param, values(param), device, dtype)?;
            Var::from_tensor(&values).map_err(in_param(param))
        });
        let vars = vars.collect::<Result<_, _>>()?;
        Self::from_vars(graph, device, dtype, vars)
    }

    /// A network over the variables of `vb`, under their names in the graph, with its device and number type.
    ///
    /// What a `VarMap` lacks is created in it and starts as the graph says, from numbers in `[0, 1)` that `uniform`
    /// gives. Tensors of a file are copied into variables. Constants come from the graph and are not looked up.
    ///
    /// # Errors
    /// When the number type is not `f32` or `f64`, or `vb` has no tensor of a name and cannot create it, or one of
    /// another shape.
    pub fn from_var_builder(
        graph: Graph,
        vb: &VarBuilder,
        uniform: &mut dyn FnMut() -> f64,
    ) -> Result<Self, CandleNetError> {
        let vars = graph.params().iter().map(|param| {
            let mut initial =
                || tensor(param, param.init.values(param.len(), uniform), vb.device(), vb.dtype());
            if param.role == Role::Constant {
                return Var::from_tensor(&initial()?).map_err(in_param(param));
            }
            let is_new = !vb.contains_tensor(&param.name);
            let found = vb.get_with_hints(param.dims.as_slice(), &param.name, Init::Const(0.0));
            let var = found.and_then(|found| Var::from_tensor(&found)).map_err(in_param(param))?;
            if is_new {
                var.set(&initial()?).map_err(in_param(param))?;
            }
            Ok(var)
        });
        let vars = vars.collect::<Result<_, _>>()?;
        Self::from_vars(graph, vb.device(), vb.dtype(), vars)
    }

    fn from_vars(
        graph: Graph,
        device: &Device,
        dtype: DType,
        vars: Vec<Var>,
    ) -> Result<Self, CandleNetError> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(CandleNetError::NumberType { got: dtype });
        }
        let names = graph.params().iter().map(|param| param.name.clone());
        let ids = names.enumerate().map(|(i, name)| (name, ParamId(i))).collect();
        let frozen = vec![false; vars.len()];
        let graph = Arc::new(graph);
        let is_compiled = device.is_cpu() && dtype == DType::F32;
        let engine = is_compiled.then(|| Engine::new(graph.clone()));
        Ok(CandleNet { graph, engine, device: device.clone(), dtype, vars, frozen, ids })
    }

    /// Freezes the parameters whose names `is_frozen` holds for, and no others: they get no gradient, and a batch norm
    /// whose scale is frozen runs by its running statistics in training too, which then stay as they are.
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        self.frozen = self.graph.params().iter().map(|param| is_frozen(&param.name)).collect();
        self.engine.iter().for_each(Engine::release);
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The value of a parameter, or of a running statistic.
    pub fn var(&self, name: &str) -> Option<&Var> {
        self.ids.get(name).map(|id| &self.vars[id.0])
    }

    /// The parameters that are trained and not frozen, sorted by name.
    pub fn trained(&self) -> Vec<(&Param, &Var)> {
        self.sorted(|id, param| param.role.is_trained() && !self.frozen[id])
    }

    /// All parameters, running statistics and constants, sorted by name: what a checkpoint holds.
    pub fn named(&self) -> Vec<(&Param, &Var)> {
        self.sorted(|_, _| true)
    }

    fn sorted(&self, wanted: impl Fn(usize, &Param) -> bool) -> Vec<(&Param, &Var)> {
        let all = self.graph.params().iter().zip(&self.vars).enumerate();
        let mut found: Vec<_> =
            all.filter(|(id, (param, _))| wanted(*id, param)).map(|(_, pair)| pair).collect();
        found.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        found
    }

    /// Sets the value of a parameter or of a running statistic; `values` may be of any float type and device.
    ///
    /// # Errors
    /// When there is no parameter of that name, or its shape is another.
    pub fn set(&self, name: &str, values: &Tensor) -> Result<(), CandleNetError> {
        let unknown = || CandleNetError::UnknownParam { param: name.to_string() };
        let id = *self.ids.get(name).ok_or_else(unknown)?;
        let param = self.graph.param(id);
        if values.dims() != param.dims {
            return Err(wrong_values(param, format!("{:?}", values.dims())));
        }
        let moved = values.to_device(&self.device).and_then(|values| values.to_dtype(self.dtype));
        moved.and_then(|values| self.vars[id.0].set(&values.copy()?)).map_err(in_param(param))
    }

    /// Runs the nodes that `outputs` need on `images` `[B, C, H, W]`, and returns the outputs' values in that order,
    /// each of the shape that [`Graph::shapes`] tells.
    ///
    /// In `f32` on the CPU the whole graph runs on net-cpu's plans, as one operation on the tape: its gradients reach
    /// the parameters and, where they are on the tape, the images. Composed operations run on other devices, in `f64`, in
    /// evaluation of images that are on the tape, where a node has no kernel, and in training where one output is a part
    /// of another.
    ///
    /// # Errors
    /// When the images are not of the graph's channels or of the network's number type, their size does not fit the
    /// graph, or candle fails.
    pub fn forward(
        &self,
        images: &Tensor,
        outputs: &[NodeId],
        mut mode: Mode<'_>,
    ) -> Result<Vec<Tensor>, CandleNetError> {
        self.check_images(images)?;
        let engine = match &mode {
            Mode::Eval if images.track_op() => None,
            _ if outputs.is_empty() => None,
            _ => self.engine.as_ref(),
        };
        if let Some(engine) = engine {
            let maps = match &mut mode {
                Mode::Eval => {
                    engine.refresh(&self.vars)?;
                    engine.infer(images, outputs)?
                }
                Mode::Train { uniform } => {
                    engine.train(&self.vars, &self.frozen, images, outputs, uniform)?
                }
            };
            if let Some(maps) = maps {
                return Ok(maps);
            }
        }
        self.forward_composed(images, outputs, mode)
    }

    /// Evaluation, by the values of the last refresh where it is compiled.
    pub(crate) fn infer(&self, images: &Tensor, outputs: &[NodeId]) -> Result<Vec<Tensor>, CandleNetError> {
        self.check_images(images)?;
        let is_compiled = !outputs.is_empty() && !images.track_op();
        if let Some(engine) = self.engine.as_ref().filter(|_| is_compiled)
            && let Some(maps) = engine.infer(images, outputs)?
        {
            return Ok(maps);
        }
        self.forward_composed(images, outputs, Mode::Eval)
    }

    /// The same network over copies of its variables, which nobody else holds.
    pub(crate) fn with_own_values(&self) -> Result<Self, CandleNetError> {
        let copies = self.graph.params().iter().zip(&self.vars).map(|(param, var)| {
            let copy = var.as_detached_tensor().copy();
            copy.and_then(|copy| Var::from_tensor(&copy)).map_err(in_param(param))
        });
        let vars = copies.collect::<Result<_, _>>()?;
        let net = Self::from_vars((*self.graph).clone(), &self.device, self.dtype, vars)?;
        net.engine.iter().try_for_each(|engine| engine.refresh(&net.vars))?;
        Ok(net)
    }

    /// [`CandleNet::forward`] by candle's own operations, whatever the device and number type.
    ///
    /// # Errors
    /// As there.
    pub fn forward_composed(
        &self,
        images: &Tensor,
        outputs: &[NodeId],
        mut mode: Mode<'_>,
    ) -> Result<Vec<Tensor>, CandleNetError> {
        self.check_images(images)?;
        let mut uses = self.uses(outputs);
        let mut values: Vec<Option<Tensor>> = vec![None; uses.len()];
        for id in self.graph.ids() {
            if uses[id.0] == 0 {
                continue;
            }
            let node = self.graph.node(id);
            let inputs: Vec<Tensor> =
                node.inputs.iter().map(|&input| read(&mut values, &mut uses, input)).collect();
            let run = self.run(node, images, &inputs, &mut mode);
            let in_node = |source| CandleNetError::Node {
                node: node.name.clone(),
                kind: node.op.kind(),
                source: Box::new(source),
            };
            values[id.0] = Some(run.map_err(in_node)?);
        }
        Ok(outputs.iter().map(|&output| read(&mut values, &mut uses, output)).collect())
    }

    fn check_images(&self, images: &Tensor) -> Result<(), CandleNetError> {
        let input = self.graph.nodes().iter().find(|node| matches!(node.op, Op::Input));
        let channels = input.map_or(0, |node| node.channels);
        match *images.dims() {
            [batch, c, height, width] if c == channels && images.dtype() == self.dtype => {
                self.graph.shapes(batch, height, width)?;
                Ok(())
            }
            _ => {
                let got = format!("{:?} of {:?}", images.dims(), images.dtype());
                Err(CandleNetError::Images { channels, dtype: self.dtype, got })
            }
        }
    }

    /// How often each node's value is read: by the nodes that `outputs` need, and as an output. 0 for all others.
    fn uses(&self, outputs: &[NodeId]) -> Vec<usize> {
        let needed = self.graph.needed_for(outputs);
        let nodes = self.graph.nodes().iter().zip(needed).filter(|(_, needed)| *needed);
        let mut uses = vec![0; self.graph.nodes().len()];
        nodes.flat_map(|(node, _)| &node.inputs).chain(outputs).for_each(|id| uses[id.0] += 1);
        uses
    }

    fn run(
        &self,
        node: &Node,
        images: &Tensor,
        inputs: &[Tensor],
        mode: &mut Mode<'_>,
    ) -> candle_core::Result<Tensor> {
        let param = |id: ParamId| self.param(id, mode);
        let x = inputs.first().unwrap_or(images);
        match &node.op {
            Op::Input => Ok(x.clone()),
            Op::ChannelAffine { scale, shift } => {
                x.broadcast_mul(&self.constant(scale)?)?.broadcast_add(&self.constant(shift)?)
            }
            Op::Conv2d { conv, weight, bias } => {
                conv::conv2d(x, *conv, &param(*weight), bias.map(param).as_ref())
            }
            Op::CondConv { conv, weight } => {
                conv::cond_conv(x, &inputs[1], *conv, &param(*weight), node.channels)
            }
            &Op::BatchNorm { gamma, beta, mean, var, eps, momentum } => {
                let (running_mean, running_var) = (&self.vars[mean.0], &self.vars[var.0]);
                let (gamma_value, beta) = (param(gamma), param(beta));
                let norm = BatchNorm { gamma: gamma_value, beta, running_mean, running_var, eps, momentum };
                match mode {
                    Mode::Train { .. } if !self.frozen[gamma.0] => norm.train(x),
                    _ => norm.eval(x),
                }
            }
            Op::Activation(activation) => activation::activate(x, *activation),
            Op::Add => x + &inputs[1],
            Op::Gate => x.broadcast_mul(&inputs[1]),
            Op::GlobalAvgPool => resample::global_avg_pool(x),
            Op::MaxPool { kernel, stride } => resample::max_pool(x, *kernel, *stride),
            Op::Upsample { factor } => resample::upsample(x, *factor),
            Op::Concat => Tensor::cat(inputs, 1),
            Op::Slice { start, len } => x.narrow(1, *start, *len),
            Op::DropPath { rate } => match mode {
                Mode::Train { uniform } => drop::drop_path(x, *rate, uniform),
                Mode::Eval => Ok(x.clone()),
            },
            Op::Dropout { rate } => match mode {
                Mode::Train { uniform } => drop::dropout(x, *rate, uniform),
                Mode::Eval => Ok(x.clone()),
            },
            Op::Linear { weight, bias } => conv::linear(x, &param(*weight), &param(*bias)),
            Op::DecodeDetections { strides, bins, .. } => {
                decode::decode_detections(inputs, strides, &param(*bins))
            }
        }
    }

    /// The value of a parameter: on the tape if it is learnt in this mode.
    fn param(&self, id: ParamId, mode: &Mode<'_>) -> Tensor {
        let is_learnt = self.graph.param(id).role.is_trained() && !self.frozen[id.0];
        match mode {
            Mode::Train { .. } if is_learnt => self.vars[id.0].as_tensor().clone(),
            _ => self.vars[id.0].as_detached_tensor(),
        }
    }

    /// One constant a channel, as `[1, C, 1, 1]`.
    fn constant(&self, values: &[f32]) -> candle_core::Result<Tensor> {
        Tensor::from_slice(values, (1, values.len(), 1, 1), &self.device)?.to_dtype(self.dtype)
    }
}

/// A node's value, which is released with its last use.
fn read(values: &mut [Option<Tensor>], uses: &mut [usize], id: NodeId) -> Tensor {
    uses[id.0] -= 1;
    let value = if uses[id.0] == 0 { values[id.0].take() } else { values[id.0].clone() };
    value.expect("nodes run before their users")
}

fn tensor(param: &Param, values: Vec<f32>, device: &Device, dtype: DType) -> Result<Tensor, CandleNetError> {
    if values.len() != param.len() {
        return Err(wrong_values(param, format!("{} values", values.len())));
    }
    let tensor =
        Tensor::from_vec(values, param.dims.as_slice(), device).and_then(|tensor| tensor.to_dtype(dtype));
    tensor.map_err(in_param(param))
}

fn wrong_values(param: &Param, got: String) -> CandleNetError {
    CandleNetError::Values { param: param.name.clone(), expected: param.dims.clone(), got }
}

fn in_param(param: &Param) -> impl FnOnce(candle_core::Error) -> CandleNetError + '_ {
    |source| CandleNetError::Param { param: param.name.clone(), source: Box::new(source) }
}
