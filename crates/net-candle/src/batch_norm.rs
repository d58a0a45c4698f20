//! Batch norm (Ioffe and Szegedy, arXiv 1502.03167).

use crate::channel::{channel_means, per_channel};
use candle_core::{Result, Tensor, Var};

/// The parameters of one [`net_graph::Op::BatchNorm`]; all are `[C]`.
#[derive(Debug)]
pub(crate) struct BatchNorm<'a> {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) running_mean: &'a Var,
    pub(crate) running_var: &'a Var,
    pub(crate) eps: f64,
    pub(crate) momentum: f64,
}

impl BatchNorm<'_> {
    /// Normalises by the running statistics, as constants.
    pub(crate) fn eval(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&per_channel(&self.running_mean.as_detached_tensor(), x)?)?;
        self.scaled(&centred, &self.running_var.as_detached_tensor())
    }

    /// Normalises by the batch's statistics, through which the gradient flows, and lets the running ones follow.
    pub(crate) fn train(&self, x: &Tensor) -> Result<Tensor> {
        let mean = channel_means(x)?; // [C]
        let centred = x.broadcast_sub(&per_channel(&mean, x)?)?;
        let variance = channel_means(&centred.sqr()?)?;

        let count = x.elem_count() / x.dim(1)?;
        let unbiased = count as f64 / (count - 1).max(1) as f64;
        self.follow(self.running_mean, &mean.detach())?;
        self.follow(self.running_var, &(variance.detach() * unbiased)?)?;
        self.scaled(&centred, &variance)
    }

    fn scaled(&self, centred: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let deviation = (variance + self.eps)?.sqrt()?;
        let scale = per_channel(&(&self.gamma / deviation)?, centred)?;
        centred.broadcast_mul(&scale)?.broadcast_add(&per_channel(&self.beta, centred)?)
    }

    fn follow(&self, running: &Var, batch: &Tensor) -> Result<()> {
        let kept = (running.as_detached_tensor() * (1.0 - self.momentum))?;
        running.set(&(kept + (batch * self.momentum)?)?)
    }
}
