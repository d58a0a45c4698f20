use crate::{BlockForm, BlockSpec, Cost, DetectorSpec, NetworkSpec, StagedSpec};
use serde::Serialize;

/// A built-in network after rounding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// An EfficientNet.
    EfficientNet(NetworkSpec),
    /// A MobileNet or ResNet.
    Staged(StagedSpec),
    /// An EfficientNet under YOLOv8's neck and head.
    Detector(DetectorSpec),
}

impl Network {
    /// Channels of the stages (of a bottleneck: its inner width); of a detector also those of the neck's levels.
    pub fn channels(&self) -> Vec<usize> {
        match self {
            Network::EfficientNet(spec) => spec.stages.iter().map(|stage| stage.channels).collect(),
            Network::Staged(spec) => spec.groups.iter().map(|group| group.channels).collect(),
            Network::Detector(spec) => {
                let stages = spec.backbone.stages.iter().map(|stage| stage.channels);
                stages.chain(spec.neck_channels).collect()
            }
        }
    }

    /// Blocks of the stages; of a detector also the bottlenecks of a block of the neck.
    pub fn repeats(&self) -> Vec<usize> {
        match self {
            Network::EfficientNet(spec) => spec.stages.iter().map(|stage| stage.repeats).collect(),
            Network::Staged(spec) => spec.groups.iter().map(|group| group.repeats).collect(),
            Network::Detector(spec) => {
                let stages = spec.backbone.stages.iter().map(|stage| stage.repeats);
                stages.chain([spec.neck_repeats]).collect()
            }
        }
    }
}

/// Bytes of f32 maps for one image, with norms, activations, gates, sums, dropout and drop-path computed in place
/// where nobody reads their first input later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ActivationBytes {
    /// Most bytes alive at once when the network runs node by node and frees a map after its last reader.
    pub peak: u64,
    /// Bytes of all maps together, the image included: training keeps between one and two times this.
    pub sum: u64,
}

/// Everything that is counted of a classifier for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Footprint {
    /// Parameters and multiply-adds.
    pub cost: Cost,
    /// Memory of the maps.
    pub activations: ActivationBytes,
}

/// Adds up maps as they come and go.
#[derive(Default)]
struct Ledger {
    alive: u64,
    bytes: ActivationBytes,
}

impl Ledger {
    fn write(&mut self, values: usize) -> u64 {
        let bytes = 4 * values as u64;
        self.alive += bytes;
        self.bytes.sum += bytes;
        self.bytes.peak = self.bytes.peak.max(self.alive);
        bytes
    }

    fn free(&mut self, bytes: u64) {
        self.alive -= bytes;
    }

    /// One block: `input` are the bytes of its input, the answer those of its output. `size` is that of the input
    /// before, of the output after.
    fn block(&mut self, block: &BlockSpec, input: u64, size: &mut (usize, usize)) -> u64 {
        let (expanded, residual) = (block.expanded_channels, block.has_residual);
        let routing = block.experts.map_or(0, |experts| self.routing(block.in_channels, experts));
        let (mut x, expands) = (input, block.form == BlockForm::Depthwise && block.expansion != 1);
        if expands {
            x = self.write(expanded * size.0 * size.1);
            if !residual {
                self.free(input);
            }
        }
        *size = (size.0.div_ceil(block.stride), size.1.div_ceil(block.stride));
        let inside = self.write(expanded * size.0 * size.1);
        if expands || !residual {
            self.free(x);
        }
        if let Some(squeezed) = block.squeeze_channels {
            self.squeeze_excite(expanded, squeezed);
        }
        let output = self.write(block.out_channels * size.0 * size.1);
        self.free(inside + routing);
        if residual {
            self.free(input);
        }
        output
    }

    /// The weights of the experts, which stay until the projection; the mean that they are made of comes and goes.
    fn routing(&mut self, channels: usize, experts: usize) -> u64 {
        let pooled = self.write(channels);
        let weights = self.write(experts);
        self.free(pooled);
        weights
    }

    /// Its three vectors come and go; the map is scaled in place.
    fn squeeze_excite(&mut self, channels: usize, squeezed: usize) {
        let pooled = self.write(channels);
        let reduced = self.write(squeezed);
        self.free(pooled);
        let gate = self.write(channels);
        self.free(reduced);
        self.free(gate);
    }
}

impl NetworkSpec {
    /// Closed-form cost and memory for one image of `height` x `width` pixels and `classes` outputs.
    pub fn footprint(&self, height: usize, width: usize, classes: usize) -> Footprint {
        Footprint {
            cost: self.cost(height, width, classes).total(),
            activations: self.activation_bytes(height, width, classes),
        }
    }

    fn activation_bytes(&self, height: usize, width: usize, classes: usize) -> ActivationBytes {
        let mut ledger = Ledger::default();
        let image = ledger.write(3 * height * width);
        let mut size = (height.div_ceil(2), width.div_ceil(2));
        let mut x = ledger.write(self.stem * size.0 * size.1);
        ledger.free(image);
        for block in self.blocks() {
            x = ledger.block(&block, x, &mut size);
        }
        let head = ledger.write(self.head * size.0 * size.1);
        ledger.free(x);
        let pooled = ledger.write(self.head);
        ledger.free(head);
        ledger.write(classes);
        ledger.free(pooled);
        ledger.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_b0_is_the_depthwise_convolution_of_its_second_stage() {
        let activations = NetworkSpec::b0().footprint(224, 224, 1000).activations;
        assert_eq!(activations.peak, 4 * (96 * 112 * 112 + 96 * 56 * 56));
        assert!(activations.sum > 3 * activations.peak);
    }
}
