//! One forward pass of a compiled graph as one operation on candle's tape.

use crate::engine::{KEPT, Size};
use crate::host::{self, with_values};
use candle_core::{CpuStorage, CustomOp2, DType, Device, Error, Layout, Result, Shape, Tensor, Var};
use net_cpu::{Images, NetError, Params, Slot, TrainPlan};
use net_graph::{NodeId, ParamId};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// What a plan is compiled for: outputs, size, which parameters are frozen, and whether images get a gradient.
type Key = (Vec<NodeId>, Size, Vec<bool>, bool);

/// Plans that no tape holds, the last used one last.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    idle: Mutex<Vec<(Key, TrainPlan)>>,
}

impl Plans {
    /// A plan for that key, laid out if none is idle.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: Key,
        lay_out: impl FnOnce() -> std::result::Result<TrainPlan, NetError>,
    ) -> std::result::Result<Lease, NetError> {
        let idle = {
            let mut idle = self.idle.lock().expect("no plan panics here");
            let index = idle.iter().position(|(planned, _)| *planned == key);
            index.map(|index| idle.remove(index).1)
        };
        let plan = idle.map_or_else(lay_out, Ok)?;
        Ok(Lease { plans: self.clone(), returned: Some((key, plan)) })
    }

    pub(crate) fn clear(&self) {
        self.idle.lock().expect("no plan panics here").clear();
    }
}

/// A plan that belongs to one pass until its tape is released.
#[derive(Debug)]
pub(crate) struct Lease {
    plans: Arc<Plans>,
    returned: Option<(Key, TrainPlan)>,
}

impl Lease {
    fn plan(&mut self) -> &mut TrainPlan {
        &mut self.returned.as_mut().expect("there until dropped").1
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Ok(mut idle) = self.plans.idle.lock() else { return };
        idle.extend(self.returned.take());
        let surplus = idle.len().saturating_sub(KEPT);
        idle.drain(..surplus);
    }
}

/// One forward pass, with all that its backward pass needs: the values it ran with and the numbers it drew.
#[derive(Debug)]
pub(crate) struct Pass {
    lease: Lease,
    params: Params,
    numbers: Vec<f64>,
    /// Where the learnt parameters lie among the trained values.
    learnt: Vec<Range<usize>>,
    outputs: usize,
    /// The plan's maps are those of the forward pass; a backward pass uses them up.
    is_fresh: bool,
}

impl Pass {
    /// A pass that has yet to run; `params` are filled from the variables.
    pub(crate) fn new(
        lease: Lease,
        params: Params,
        numbers: Vec<f64>,
        learnt: &[ParamId],
        outputs: usize,
    ) -> Self {
        let learnt = learnt.iter().map(|id| params.layout.trained_range(*id)).collect();
        Pass { lease, params, numbers, learnt, outputs, is_fresh: false }
    }

    fn set_param(&mut self, id: ParamId, var: &Var) -> Result<()> {
        let slot = self.params.layout.slot(id).clone();
        with_values(var, |values| self.params.slice_mut(&slot).copy_from_slice(values))
    }

    fn set_learnt(&mut self, mut values: &[f32]) {
        for range in &self.learnt {
            let (first, rest) = values.split_at(range.len());
            self.params.trained[range.clone()].copy_from_slice(first);
            values = rest;
        }
    }

    /// All outputs one after the other, each `[B, C, H, W]`.
    fn forward(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let mut numbers = self.numbers.iter().copied();
        let mut uniform = || numbers.next().expect("all numbers were drawn before");
        let plan = self.lease.plan();
        plan.forward(&mut self.params, Images::Nchw(images), &mut uniform).map_err(Error::wrap)?;
        self.is_fresh = true;
        let mut values = vec![0.0; ranges(plan, self.outputs).last().map_or(0, |range| range.end)];
        for (index, range) in ranges(plan, self.outputs).enumerate() {
            plan.output_nchw(index, &mut values[range]);
        }
        Ok(values)
    }

    /// The gradient of the learnt parameters, one after the other. A second backward pass repeats the forward pass.
    fn backward(&mut self, images: &[f32], grad: &[f32]) -> Result<Vec<f32>> {
        if !self.is_fresh {
            self.forward(images)?;
        }
        self.is_fresh = false;
        let plan = self.lease.plan();
        for (index, range) in ranges(plan, self.outputs).enumerate() {
            plan.set_output_grad_nchw(index, &grad[range]);
        }
        let mut all = vec![0.0; self.params.trained.len()];
        plan.backward(&self.params, &mut all);
        Ok(self.learnt.iter().map(|range| &all[range.clone()]).collect::<Vec<_>>().concat())
    }

    /// The gradient of the images `[B, C, H, W]`, after a backward pass.
    fn image_gradient(&mut self, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.lease.plan().image_grad_nchw(&mut values);
        values
    }

    fn shapes(&mut self) -> Vec<[usize; 4]> {
        let plan = self.lease.plan();
        (0..self.outputs).map(|index| plan.output_shape(index).dims()).collect()
    }
}

/// Where each output lies among the values of all.
fn ranges(plan: &TrainPlan, outputs: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let lengths: Vec<usize> = (0..outputs).map(|index| plan.output_shape(index).len()).collect();
    lengths.into_iter().scan(0, |end, len| {
        let start = *end;
        *end += len;
        Some(start..*end)
    })
}

/// The operation: images `[B, C, H, W]` and the learnt parameters in one vector, to all outputs in one vector.
struct GraphOp {
    pass: Mutex<Pass>,
    /// Running statistics, to be written back.
    followed: Vec<(ParamId, Var)>,
}

impl GraphOp {
    fn write_back(&self, params: &Params) -> Result<()> {
        for (id, var) in &self.followed {
            var.set(&Tensor::from_slice(params.values(*id), var.dims(), &Device::Cpu)?)?;
        }
        Ok(())
    }
}

impl CustomOp2 for GraphOp {
    fn name(&self) -> &'static str {
        "compiled graph"
    }

    fn cpu_fwd(
        &self,
        images: &CpuStorage,
        images_layout: &Layout,
        learnt: &CpuStorage,
        learnt_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut pass = self.pass.lock().expect("no pass has panicked");
        pass.set_learnt(host::values(learnt, learnt_layout)?);
        let values = pass.forward(host::values(images, images_layout)?)?;
        self.write_back(&pass.params)?;
        let shape = Shape::from(values.len());
        Ok((CpuStorage::F32(values), shape))
    }

    fn bwd(
        &self,
        images: &Tensor,
        learnt: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut pass = self.pass.lock().expect("no pass has panicked");
        let values = with_values(images, |images| with_values(grad, |grad| pass.backward(images, grad)))???;
        let by_image = match images.track_op() {
            true => Some(Tensor::from_vec(
                pass.image_gradient(images.elem_count()),
                images.shape(),
                &Device::Cpu,
            )?),
            false => None,
        };
        Ok((by_image, Some(Tensor::from_vec(values, learnt.shape(), &Device::Cpu)?)))
    }
}

/// Runs the pass; its outputs are on the tape of the learnt variables.
pub(crate) fn run_on_tape(
    mut pass: Pass,
    vars: &[Var],
    learnt: &[ParamId],
    followed: &[ParamId],
    images: &Tensor,
) -> Result<Vec<Tensor>> {
    for (index, var) in vars.iter().enumerate() {
        let id = ParamId(index);
        let is_buffer = matches!(pass.params.layout.slot(id), Slot::Buffer(_));
        if is_buffer || !learnt.contains(&id) {
            pass.set_param(id, var)?;
        }
    }
    let shapes = pass.shapes();
    let images = images.contiguous()?;
    let parts = learnt.iter().map(|id| vars[id.0].flatten_all()).collect::<Result<Vec<_>>>()?;
    let learnt = match parts.is_empty() {
        true => Tensor::zeros(0, DType::F32, &Device::Cpu)?,
        false => Tensor::cat(&parts, 0)?,
    };
    let followed = followed.iter().map(|id| (*id, vars[id.0].clone())).collect();
    let flat = images.apply_op2(&learnt, GraphOp { pass: Mutex::new(pass), followed })?;
    let mut start = 0;
    let output = |dims: [usize; 4]| {
        let len = dims.iter().product();
        start += len;
        flat.narrow(0, start - len, len)?.reshape(&dims)
    };
    shapes.into_iter().map(output).collect()
}
