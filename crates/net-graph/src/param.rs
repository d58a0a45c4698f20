/// Index of a parameter in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// What a parameter is for: decides its optimiser group and whether it is trained at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weight of a convolution or a linear layer: trained, with weight decay.
    Weight,
    /// Bias of a convolution or linear layer, and the shift of a batch norm: trained, without decay.
    Bias,
    /// Scale of a batch norm: trained, without decay.
    NormScale,
    /// Running mean of a batch norm: follows the batches, not trained.
    RunningMean,
    /// Running variance of a batch norm: follows the batches, not trained.
    RunningVar,
    /// Never changes (the bins of the detection head).
    Constant,
}

impl Role {
    /// True if an optimiser changes it.
    pub fn is_trained(self) -> bool {
        matches!(self, Role::Weight | Role::Bias | Role::NormScale)
    }
}

/// How a parameter starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Every value the same.
    Constant(f32),
    /// 0, 1, 2 ...
    Range,
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in `-bound .. bound`.
    Uniform {
        /// Half-width.
        bound: f64,
    },
}

impl Init {
    /// Makes `len` values; `uniform` gives numbers in `[0, 1)`.
    pub fn values(&self, len: usize, uniform: &mut dyn FnMut() -> f64) -> Vec<f32> {
        match *self {
            Init::Constant(value) => vec![value; len],
            Init::Range => (0..len).map(|i| i as f32).collect(),
            Init::Uniform { bound } => (0..len).map(|_| (bound * (2.0 * uniform() - 1.0)) as f32).collect(),
            Init::Normal { std } => (0..len).map(|_| (std * normal(uniform)) as f32).collect(),
        }
    }
}

/// A standard normal number (Box and Muller, 1958).
fn normal(uniform: &mut dyn FnMut() -> f64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

/// A named parameter. The values live elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Full name, such as `backbone.blocks.1.0.conv_dw.weight`; the key in checkpoints.
    pub name: String,
    /// Dimensions in PyTorch's order.
    pub dims: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// How it starts.
    pub init: Init,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
