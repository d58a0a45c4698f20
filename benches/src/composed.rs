//! The same networks by candle's operations in double precision: what our answers are held against.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use effyolo_config::Model;
use net_candle::{CandleNet, Mode};
use net_cpu::{Params, Slot};
use net_graph::NodeId;

/// A network in double precision.
pub struct Composed {
    net: CandleNet,
}

impl Composed {
    /// The network with these values.
    pub fn new(model: &Model, params: &Params) -> Self {
        let values = |param: &net_graph::Param| params.get(&param.name).expect("a value").to_vec();
        let net = CandleNet::new(model.graph.clone(), &Device::Cpu, DType::F64, values);
        Composed { net: net.expect("candle builds") }
    }

    /// Outputs of images `[batch, 3, side, side]` by the running statistics.
    pub fn infer(&self, images: &[f32], [batch, side]: [usize; 2], outputs: &[NodeId]) -> Vec<Tensor> {
        let images = tensor(images, [batch, 3, side, side]);
        self.net.forward_composed(&images, outputs, Mode::Eval).expect("candle runs")
    }

    /// Outputs of images `[batch, 3, side, side]` by the batch's statistics, on the tape.
    pub fn train(
        &self,
        images: &[f32],
        [batch, side]: [usize; 2],
        outputs: &[NodeId],
        uniform: &mut dyn FnMut() -> f64,
    ) -> Vec<Tensor> {
        let images = tensor(images, [batch, 3, side, side]);
        self.net.forward_composed(&images, outputs, Mode::Train { uniform }).expect("candle runs")
    }

    /// Gradients of all trained parameters, laid out as `params.trained` is; 0 where the loss does not depend on one.
    pub fn gradients(&self, params: &Params, grads: &GradStore) -> Vec<f64> {
        let mut flat = vec![0.0; params.trained.len()];
        for (param, slot) in params.layout.iter() {
            let var = self.net.var(&param.name).expect("the networks have the same parameters");
            if let (Slot::Trained(range), Some(grad)) = (slot, grads.get(var.as_tensor())) {
                flat[range.clone()].copy_from_slice(&values(grad));
            }
        }
        flat
    }
}

/// A constant in double precision.
pub fn tensor(values: &[f32], shape: [usize; 4]) -> Tensor {
    let [a, b, c, d] = shape;
    let tensor = Tensor::from_slice(values, (a, b, c, d), &Device::Cpu);
    tensor.and_then(|tensor| tensor.to_dtype(DType::F64)).expect("the sizes match")
}

/// All values of a tensor in double precision.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a tensor in double precision")
}
