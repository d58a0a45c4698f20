//! Batch norm (Ioffe and Szegedy, arXiv 1502.03167).

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
        let mean = per_channel(&self.running_mean.as_detached_tensor())?;
        let variance = per_channel(&self.running_var.as_detached_tensor())?;
        self.scaled(&x.broadcast_sub(&mean)?, &variance)
    }

    /// Normalises by the batch's statistics, through which the gradient flows, and lets the running ones follow.
    pub(crate) fn train(&self, x: &Tensor) -> Result<Tensor> {
        let mean = x.mean_keepdim((0, 2, 3))?; // [1, C, 1, 1]
        let centred = x.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;

        let count = x.elem_count() / x.dim(1)?;
        let unbiased = count as f64 / (count - 1).max(1) as f64;
        self.follow(self.running_mean, &mean.detach())?;
        self.follow(self.running_var, &(variance.detach() * unbiased)?)?;
        self.scaled(&centred, &variance)
    }

    fn scaled(&self, centred: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let deviation = (variance + self.eps)?.sqrt()?;
        let scale = per_channel(&self.gamma)?.div(&deviation)?;
        centred.broadcast_mul(&scale)?.broadcast_add(&per_channel(&self.beta)?)
    }

    fn follow(&self, running: &Var, batch: &Tensor) -> Result<()> {
        let kept = (running.as_detached_tensor() * (1.0 - self.momentum))?;
        running.set(&(kept + (batch.flatten_all()? * self.momentum)?)?)
    }
}

/// `[C]` as `[1, C, 1, 1]`.
fn per_channel(values: &Tensor) -> Result<Tensor> {
    values.reshape((1, values.elem_count(), 1, 1))
}
