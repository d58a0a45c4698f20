//! Which array of a foreign file is which parameter, and in which layout.

use crate::naming::{Layer, Naming, Part, Place, Slot, Totals, name};
use effnet_scaling::{BlockForm, BlockSpec, NetworkSpec};

/// How an array's dimensions are ordered in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As PyTorch has it: convolutions `[out, in, kh, kw]`, matrices `[out, in]`, vectors.
    Torch,
    /// `[kh, kw, in, out]`, TensorFlow's convolution.
    HeightWidthInOut,
    /// `[kh, kw, channels, 1]`, TensorFlow's depthwise convolution.
    HeightWidthChannels,
    /// `[in, out]`, TensorFlow's dense layer.
    InOut,
    /// `[experts, values]`, TensorFlow's kernels of experts. A row is a kernel that has PyTorch's `dims` and lies there as
    /// [`Layout::HeightWidthInOut`], or as [`Layout::HeightWidthChannels`] if it is depthwise.
    Experts {
        /// Dimensions of one kernel, in PyTorch's order.
        dims: [usize; 4],
        /// One kernel a channel.
        depthwise: bool,
    },
}

impl Layout {
    /// Place in the file of each of PyTorch's dimensions; `None` where the order is the same.
    fn order(self) -> Option<&'static [usize]> {
        match self {
            Layout::Torch | Layout::Experts { .. } => None,
            Layout::HeightWidthInOut => Some(&[3, 2, 0, 1]),
            Layout::HeightWidthChannels => Some(&[2, 3, 0, 1]),
            Layout::InOut => Some(&[1, 0]),
        }
    }

    /// Dimensions that an array of PyTorch's `dims` has in the file.
    pub fn dims_in_file(self, dims: &[usize]) -> Vec<usize> {
        let Some(order) = self.order() else { return dims.to_vec() };
        let mut in_file = vec![0; dims.len()];
        order.iter().zip(dims).for_each(|(place, dim)| in_file[*place] = *dim);
        in_file
    }

    /// Values of the file in PyTorch's order; `dims` are PyTorch's.
    ///
    /// # Panics
    /// When there are not as many values as the dimensions say.
    pub fn to_torch(self, values: &[f32], dims: &[usize]) -> Vec<f32> {
        assert_eq!(values.len(), dims.iter().product::<usize>(), "values of {dims:?}");
        if let Layout::Experts { dims, depthwise } = self {
            let one = if depthwise { Layout::HeightWidthChannels } else { Layout::HeightWidthInOut };
            let kernels = values.chunks_exact(dims.iter().product());
            return kernels.flat_map(|kernel| one.to_torch(kernel, &dims)).collect();
        }
        let Some(order) = self.order() else { return values.to_vec() };
        let in_file = self.dims_in_file(dims);
        let stride = |place: usize| in_file[place + 1..].iter().product::<usize>();
        let strides: Vec<usize> = order.iter().map(|place| stride(*place)).collect();
        let mut index = vec![0; dims.len()];
        let mut next = || {
            let at = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>();
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
            values[at]
        };
        (0..values.len()).map(|_| next()).collect()
    }
}

/// Part of a network that a file may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Stem and blocks: what a detector uses.
    Backbone,
    /// The 1x1 head convolution and its batch norm.
    Head,
    /// The classifier.
    Classifier,
}

/// One parameter of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedWeight {
    /// Our name, which is timm's.
    pub name: String,
    /// Dimensions, in PyTorch's order.
    pub dims: Vec<usize>,
    /// Name in the file.
    pub file_name: String,
    /// Layout in the file.
    pub layout: Layout,
    /// Where in the network.
    pub section: Section,
}

/// Every parameter of a classifier with `classes` outputs, as a file of that naming has it.
///
/// `num_batches_tracked`, which PyTorch counts beside running statistics, is no parameter.
///
/// Source: the published files of each project; the official numbering slides in blocks without expansion, all of
/// them and not only the first. Of a block with experts each convolution is a matrix `[experts, kernel values]`.
///
/// # Panics
/// When the naming has no names for the network, see [`Naming::names`].
pub fn weight_map(spec: &NetworkSpec, classes: usize, naming: Naming) -> Vec<MappedWeight> {
    assert!(naming.names(spec), "{naming} has no names for kernels of experts");
    let before = Totals { stages: spec.stages.len(), ..Totals::default() };
    let mut map = Map { naming, before, section: Section::Backbone, weights: Vec::new() };
    map.end(Layer::StemConv, Layer::StemNorm, [spec.stem, 3, 3, 3]);
    for (index, block) in spec.blocks().iter().enumerate() {
        map.block(index, block);
    }
    map.section = Section::Head;
    let last = spec.stages.last().map_or(spec.stem, |stage| stage.channels);
    map.end(Layer::HeadConv, Layer::HeadNorm, [spec.head, last, 1, 1]);
    map.section = Section::Classifier;
    map.push(Layer::Classifier, Slot::Kernel, vec![classes, spec.head], Layout::InOut);
    map.push(Layer::Classifier, Slot::Bias, vec![classes], Layout::Torch);
    map.weights
}

struct Map {
    naming: Naming,
    /// Layers so far.
    before: Totals,
    section: Section,
    weights: Vec<MappedWeight>,
}

impl Map {
    /// `layout` is TensorFlow's.
    fn push(&mut self, layer: Layer, slot: Slot, dims: Vec<usize>, layout: Layout) {
        self.weights.push(MappedWeight {
            name: name(Naming::Timm, layer, slot, self.before),
            dims,
            file_name: name(self.naming, layer, slot, self.before),
            layout: if self.naming.is_torch() { Layout::Torch } else { layout },
            section: self.section,
        });
    }

    fn conv(&mut self, layer: Layer, dims: [usize; 4]) {
        self.push(layer, Slot::Kernel, dims.to_vec(), Layout::HeightWidthInOut);
    }

    /// A convolution's kernel of those dimensions, or one for each expert, flattened.
    fn kernels(&mut self, layer: Layer, dims: [usize; 4], layout: Layout, experts: Option<usize>) {
        match experts {
            Some(experts) => {
                let depthwise = layout == Layout::HeightWidthChannels;
                let values = dims.iter().product();
                self.push(layer, Slot::Kernel, vec![experts, values], Layout::Experts { dims, depthwise });
            }
            None => self.push(layer, Slot::Kernel, dims.to_vec(), layout),
        }
    }

    /// Stem or head: one convolution, one batch norm.
    fn end(&mut self, conv: Layer, norm: Layer, dims: [usize; 4]) {
        self.conv(conv, dims);
        self.norm(norm, dims[0]);
        self.before.convs += 1;
        self.before.norms += 1;
    }

    fn norm(&mut self, layer: Layer, channels: usize) {
        for slot in [Slot::Gamma, Slot::Beta, Slot::Mean, Slot::Variance] {
            self.push(layer, slot, vec![channels], Layout::Torch);
        }
    }

    fn block(&mut self, index: usize, block: &BlockSpec) {
        let place = Place {
            index,
            stage: block.stage,
            index_in_stage: block.index_in_stage,
            is_full: block.form == BlockForm::Full,
            expands: block.form == BlockForm::Full || block.expansion != 1,
            squeezes: block.squeeze_channels.is_some(),
            mixes: block.experts.is_some(),
            convs: self.before.convs,
            norms: self.before.norms,
        };
        let layer = |part| Layer::Block(place, part);
        let (input, inside, out) = (block.in_channels, block.expanded_channels, block.out_channels);
        let (experts, dense) = (block.experts, Layout::HeightWidthInOut);
        if let Some(experts) = experts {
            self.push(layer(Part::Routing), Slot::Kernel, vec![experts, input], Layout::InOut);
            self.push(layer(Part::Routing), Slot::Bias, vec![experts], Layout::Torch);
        }
        if place.expands {
            let kernel = if place.is_full { block.kernel } else { 1 };
            self.kernels(layer(Part::Expand), [inside, input, kernel, kernel], dense, experts);
            self.norm(layer(Part::ExpandNorm), inside);
        }
        if !place.is_full {
            let depthwise = [inside, 1, block.kernel, block.kernel];
            self.kernels(layer(Part::Depthwise), depthwise, Layout::HeightWidthChannels, experts);
            self.norm(layer(Part::DepthwiseNorm), inside);
        }
        if let Some(squeezed) = block.squeeze_channels {
            self.conv(layer(Part::Reduce), [squeezed, inside, 1, 1]);
            self.push(layer(Part::Reduce), Slot::Bias, vec![squeezed], Layout::Torch);
            self.conv(layer(Part::Restore), [inside, squeezed, 1, 1]);
            self.push(layer(Part::Restore), Slot::Bias, vec![inside], Layout::Torch);
        }
        self.kernels(layer(Part::Project), [out, inside, 1, 1], dense, experts);
        self.norm(layer(Part::ProjectNorm), out);
        self.before.convs += 1 + usize::from(place.expands) + 2 * usize::from(place.squeezes);
        self.before.norms += 1 + usize::from(!place.is_full) + usize::from(place.expands);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_permuted_as_the_dimensions_say() {
        // Value = its index in the file, so that positions can be read off.
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let conv = Layout::HeightWidthInOut.to_torch(&values, &[4, 3, 2, 1]);
        assert_eq!(Layout::HeightWidthInOut.dims_in_file(&[4, 3, 2, 1]), [2, 1, 3, 4]);
        // out 1, in 2, y 1, x 0 lies at ((1 * 1 + 0) * 3 + 2) * 4 + 1.
        assert_eq!(conv[(3 + 2) * 2 + 1], 21.0);
        let dense = Layout::InOut.to_torch(&values, &[4, 6]);
        assert_eq!(dense[6..8], [1.0, 5.0]);
        let depthwise = Layout::HeightWidthChannels.to_torch(&values, &[4, 1, 2, 3]);
        assert_eq!(depthwise[6..9], [1.0, 5.0, 9.0]);
        assert_eq!(Layout::Torch.to_torch(&values, &[24]), values);
        // The second of two experts is permuted like a kernel that stands alone.
        let layout = Layout::Experts { dims: [3, 2, 2, 1], depthwise: false };
        assert_eq!(layout.dims_in_file(&[2, 12]), [2, 12]);
        let alone = Layout::HeightWidthInOut.to_torch(&values[12..], &[3, 2, 2, 1]);
        assert_eq!(layout.to_torch(&values, &[2, 12])[12..], alone);
        let layout = Layout::Experts { dims: [3, 1, 2, 2], depthwise: true };
        let alone = Layout::HeightWidthChannels.to_torch(&values[12..], &[3, 1, 2, 2]);
        assert_eq!(layout.to_torch(&values, &[2, 12])[12..], alone);
    }
}
