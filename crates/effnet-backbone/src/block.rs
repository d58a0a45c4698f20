use crate::EfficientNetConfig;
use crate::init::{conv_init, routing_init};
use effnet_scaling::{BlockForm, BlockSpec};
use net_graph::{Activation, Builder, Conv, GraphError, Init, NodeId};

/// Appends layers with one network's padding, batch norm and activation.
pub(crate) struct Layers<'a> {
    pub(crate) builder: &'a mut Builder,
    pub(crate) config: &'a EfficientNetConfig,
}

/// What a block computes.
pub(crate) struct BlockNodes {
    /// The wide map that is projected, after its gate.
    pub(crate) expansion: NodeId,
    /// The block's output.
    pub(crate) output: NodeId,
}

impl Layers<'_> {
    /// `name` below the prefix.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.config.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.config.prefix)
        }
    }

    fn activation(&self) -> Activation {
        match self.config.spec.activation {
            effnet_scaling::Activation::Swish => Activation::Silu,
            effnet_scaling::Activation::Relu6 => Activation::Relu6,
            effnet_scaling::Activation::Relu => Activation::Relu,
        }
    }

    fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let conv = Conv { kernel, stride, padding: self.config.padding, groups: 1 };
        self.builder.conv(name, x, out, conv, conv_init(kernel, out), None)
    }

    /// A convolution of a block, with one kernel or, where there is a routing, one mixed from experts.
    fn block_conv(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        conv: Conv,
        routing: Option<NodeId>,
    ) -> Result<NodeId, GraphError> {
        let init = conv_init(conv.kernel, out / conv.groups);
        match routing {
            Some(routing) => self.builder.cond_conv(name, x, routing, out, conv, init),
            None => self.builder.conv(name, x, out, conv, init, None),
        }
    }

    fn pointwise(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        routing: Option<NodeId>,
    ) -> Result<NodeId, GraphError> {
        let conv = Conv { kernel: 1, stride: 1, padding: self.config.padding, groups: 1 };
        self.block_conv(name, x, out, conv, routing)
    }

    fn depthwise(
        &mut self,
        name: &str,
        x: NodeId,
        kernel: usize,
        stride: usize,
        routing: Option<NodeId>,
    ) -> Result<NodeId, GraphError> {
        let channels = self.builder.channels(x);
        let conv = Conv { kernel, stride, padding: self.config.padding, groups: channels };
        self.block_conv(name, x, channels, conv, routing)
    }

    fn norm(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        self.builder.batch_norm(name, x, self.config.bn_eps, self.config.bn_momentum)
    }

    fn norm_act(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        let x = self.norm(name, x)?;
        self.builder.activation(&format!("{name}.act"), x, self.activation())
    }

    /// Convolution, batch norm, activation.
    pub(crate) fn conv_norm_act(
        &mut self,
        conv: &str,
        norm: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let x = self.conv(conv, x, out, kernel, stride)?;
        self.norm_act(norm, x)
    }

    /// A block of the form that it says.
    pub(crate) fn block(
        &mut self,
        name: &str,
        input: NodeId,
        block: &BlockSpec,
        drop_path: f64,
    ) -> Result<BlockNodes, GraphError> {
        match block.form {
            BlockForm::Depthwise => self.mbconv(name, input, block, drop_path),
            BlockForm::Full => self.full_conv(name, input, block, drop_path),
        }
    }

    /// MBConv with one full convolution in place of expansion and depthwise convolution (EfficientNet-EdgeTPU).
    fn full_conv(
        &mut self,
        name: &str,
        input: NodeId,
        block: &BlockSpec,
        drop_path: f64,
    ) -> Result<BlockNodes, GraphError> {
        let part = |part: &str| format!("{name}.{part}");
        let (inside, kernel, stride) = (block.expanded_channels, block.kernel, block.stride);
        let expansion = self.conv_norm_act(&part("conv_exp"), &part("bn1"), input, inside, kernel, stride)?;
        let x = self.conv(&part("conv_pwl"), expansion, block.out_channels, 1, 1)?;
        let x = self.norm(&part("bn2"), x)?;
        let output = if block.has_residual { self.residual(name, input, x, drop_path)? } else { x };
        Ok(BlockNodes { expansion, output })
    }

    /// Mobile inverted bottleneck (MobileNetV2, arXiv 1801.04381, with squeeze-and-excitation as in MnasNet). With experts,
    /// one routing weighs those of all three convolutions.
    ///
    /// timm numbers the layers of a block in the order they run, so a block without expansion calls its projection
    /// `conv_pw` and its norms `bn1` and `bn2`.
    fn mbconv(
        &mut self,
        name: &str,
        input: NodeId,
        block: &BlockSpec,
        drop_path: f64,
    ) -> Result<BlockNodes, GraphError> {
        let part = |part: &str| format!("{name}.{part}");
        let expands = block.expansion != 1;
        let routing = block.experts.map(|experts| self.routing(&part("routing_fn"), input, experts));
        let routing = routing.transpose()?;
        let mut x = input;
        if expands {
            x = self.pointwise(&part("conv_pw"), x, block.expanded_channels, routing)?;
            x = self.norm_act(&part("bn1"), x)?;
        }
        x = self.depthwise(&part("conv_dw"), x, block.kernel, block.stride, routing)?;
        x = self.norm_act(&part(if expands { "bn2" } else { "bn1" }), x)?;
        if let Some(squeezed) = block.squeeze_channels {
            x = self.squeeze_excite(&part("se"), x, squeezed)?;
        }
        let expansion = x;
        let (project, norm) = if expands { ("conv_pwl", "bn3") } else { ("conv_pw", "bn2") };
        x = self.pointwise(&part(project), x, block.out_channels, routing)?;
        x = self.norm(&part(norm), x)?;
        let output = if block.has_residual { self.residual(name, input, x, drop_path)? } else { x };
        Ok(BlockNodes { expansion, output })
    }

    /// Weights of the experts, `[B, E, 1, 1]`, each in 0..1: a sigmoid and no softmax, so that several may have all
    /// weight (CondConv, arXiv 1904.04971, section 3.1).
    fn routing(&mut self, name: &str, input: NodeId, experts: usize) -> Result<NodeId, GraphError> {
        let init = routing_init(self.builder.channels(input), experts);
        let x = self.builder.global_avg_pool(&format!("{name}.pool"), input)?;
        let x = self.builder.linear(name, x, experts, init, Init::Constant(0.0))?;
        self.builder.activation(&format!("{name}.act"), x, Activation::Sigmoid)
    }

    /// Scales channels by a gate made from their means (arXiv 1709.01507).
    fn squeeze_excite(&mut self, name: &str, x: NodeId, squeezed: usize) -> Result<NodeId, GraphError> {
        let channels = self.builder.channels(x);
        let conv = Conv { kernel: 1, stride: 1, padding: self.config.padding, groups: 1 };
        let zero = Some(Init::Constant(0.0));
        let gate = self.builder.global_avg_pool(&format!("{name}.pool"), x)?; // [B, C, 1, 1]
        let gate = self.builder.conv(
            &format!("{name}.conv_reduce"),
            gate,
            squeezed,
            conv,
            conv_init(1, squeezed),
            zero.clone(),
        )?;
        let gate = self.builder.activation(&format!("{name}.conv_reduce.act"), gate, self.activation())?;
        let gate = self.builder.conv(
            &format!("{name}.conv_expand"),
            gate,
            channels,
            conv,
            conv_init(1, channels),
            zero,
        )?;
        let gate = self.builder.activation(&format!("{name}.gate"), gate, Activation::Sigmoid)?;
        self.builder.gate(name, x, gate)
    }

    fn residual(
        &mut self,
        name: &str,
        input: NodeId,
        x: NodeId,
        drop_path: f64,
    ) -> Result<NodeId, GraphError> {
        let x = if drop_path > 0.0 {
            self.builder.drop_path(&format!("{name}.drop_path"), x, drop_path)?
        } else {
            x
        };
        self.builder.add(&format!("{name}.add"), x, input)
    }
}
