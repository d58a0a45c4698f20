//! From rows to a graph.

use crate::rows::{HEAD_OUTPUT, VALUES_OF_BACKBONE, reduction_of_output};
use crate::{Module, Row, RowsSpec, ScaledVariant};
use effnet_backbone::EfficientNet;
use net_graph::{Activation, Backbone, Builder, Conv, Graph, GraphError, Init, Level, NodeId, Padding};
use yolo_neck_head::{DetectorError, DflHead, Head, HeadNodes, c2f, conv_norm_act, sppf};

/// Bins a side of YOLOv8's head.
const REG_MAX: usize = 16;
/// No map of use has more channels; keeps a chain of joins from growing without bound.
const MAX_CHANNELS: usize = 1 << 16;
/// Maps of an image of 2^16 pixels a side would have no cell left.
const MAX_STRIDE: usize = 1 << 10;
/// No network of use has more parameters.
const MAX_PARAMS: usize = 2_000_000_000;
/// Ways to write the image as an input.
const IMAGE: usize = usize::MAX;

/// What keeps a row from being built.
#[derive(Debug)]
pub(crate) struct RowProblem {
    /// Row over backbone and head.
    pub(crate) row: usize,
    pub(crate) problem: String,
}

/// A network of rows.
pub(crate) struct RowsGraph {
    pub(crate) graph: Graph,
    pub(crate) image: NodeId,
    pub(crate) head: HeadNodes,
    pub(crate) max_stride: usize,
    /// Rows whose result nobody reads; they are not built.
    pub(crate) unread: Vec<usize>,
}

/// A value that later rows may read.
#[derive(Clone)]
enum Value {
    /// Nothing to read, such as the first number of a backbone row.
    Nothing,
    Map(Level),
    /// Outputs of [`Module::Stages`], by their number.
    Maps(Vec<Option<Level>>),
}

pub(crate) fn build(rows: &[Row], class_count: usize, box_bias: f32) -> Result<RowsGraph, RowProblem> {
    let inputs = all_inputs(rows)?;
    let is_read = read_rows(rows, &inputs);
    let mut builder = Builder::new();
    let node =
        builder.input("image", 3).map_err(|error| RowProblem { row: 0, problem: error.to_string() })?;
    let image = Level { stride: 1, channels: 3, node };
    let deepest = deepest_output(rows, &inputs, &is_read);
    let mut layers = Layers { builder, image, values: Vec::new(), max_stride: 1, deepest };
    let head = DflHead { name: String::new(), class_count, reg_max: REG_MAX, box_bias };
    let mut nodes = None;
    for (number, row) in rows.iter().enumerate() {
        let in_row = |problem| RowProblem { row: number, problem };
        if !is_read[number] {
            layers.values.extend(vec![Value::Nothing; row.module.value_count()]);
        } else if row.module == Module::Detect {
            nodes = Some(layers.detect(number, &inputs[number], &head).map_err(in_row)?);
        } else {
            layers.add(number, row, &inputs[number]).map_err(in_row)?;
        }
    }
    let last = rows.len().saturating_sub(1);
    let missing = || RowProblem { row: last, problem: "expected Detect as the last row".into() };
    let (head, graph) = (nodes.ok_or_else(missing)?, layers.builder.finish());
    check_params(&graph).map_err(|problem| RowProblem { row: last, problem })?;
    let unread = (0..rows.len()).filter(|row| !is_read[*row]).collect();
    Ok(RowsGraph { graph, image: node, head, max_stride: layers.max_stride, unread })
}

impl RowsSpec {
    /// # Errors
    /// When the head does not suit the classes.
    pub(crate) fn build(
        &self,
        classes: usize,
        box_bias: f32,
    ) -> Result<(Graph, NodeId, HeadNodes), DetectorError> {
        let built = build(&self.rows, classes, box_bias).map_err(|RowProblem { row, problem }| {
            DetectorError::Levels {
                part: "rows",
                expected: "rows that fit each other",
                got: format!("row {row}: {problem}"),
            }
        })?;
        Ok((built.graph, built.image, built.head))
    }
}

fn check_params(graph: &Graph) -> Result<(), String> {
    let sizes = graph.params().iter().map(|param| param.dims.iter().product::<usize>());
    let total = sizes.fold(0usize, usize::saturating_add);
    if total > MAX_PARAMS {
        return Err(format!("expected a network of at most {MAX_PARAMS} parameters, got {total}"));
    }
    Ok(())
}

/// The numbers of the values that each row reads; [`IMAGE`] is the image.
fn all_inputs(rows: &[Row]) -> Result<Vec<Vec<usize>>, RowProblem> {
    let (mut all, mut next) = (Vec::new(), 0usize);
    for (number, row) in rows.iter().enumerate() {
        let resolve = |from: &isize| match *from {
            -1 if next == 0 => Ok(IMAGE),
            from if from >= 0 && (from as usize) < next => Ok(from as usize),
            from if from < 0 && from.unsigned_abs() <= next => Ok(next - from.unsigned_abs()),
            from => Err(RowProblem {
                row: number,
                problem: format!(
                    "`from` {from}: expected a value before this row (0 to {}, or -1 and below)",
                    next.saturating_sub(1)
                ),
            }),
        };
        all.push(row.from.iter().map(resolve).collect::<Result<Vec<_>, _>>()?);
        next += row.module.value_count();
    }
    Ok(all)
}

/// Which rows Detect reads, directly or not.
fn read_rows(rows: &[Row], inputs: &[Vec<usize>]) -> Vec<bool> {
    let counts = rows.iter().enumerate().map(|(row, r)| std::iter::repeat_n(row, r.module.value_count()));
    let row_of_value: Vec<usize> = counts.flatten().collect();
    let mut is_read: Vec<bool> = rows.iter().map(|row| row.module == Module::Detect).collect();
    for row in (0..rows.len()).rev() {
        if is_read[row] {
            inputs[row]
                .iter()
                .filter(|value| **value != IMAGE)
                .for_each(|value| is_read[row_of_value[*value]] = true);
        }
    }
    is_read
}

/// The last output of the first row that is read: the last value of an EfficientNet, or the last output that is picked. What
/// lies behind it is not built.
fn deepest_output(rows: &[Row], inputs: &[Vec<usize>], is_read: &[bool]) -> usize {
    let is_picking = matches!(rows.first(), Some(Row { module: Module::Stages(_), .. }));
    let read = rows.iter().zip(inputs).zip(is_read).filter(|(_, is_read)| **is_read).map(|(row, _)| row);
    let outputs = read.flat_map(|(row, inputs)| match row.module {
        Module::Index { index, .. } if is_picking => vec![index],
        _ => inputs.iter().copied().filter(|value| *value < VALUES_OF_BACKBONE).collect(),
    });
    outputs.max().unwrap_or(0)
}

struct Layers {
    builder: Builder,
    image: Level,
    values: Vec<Value>,
    max_stride: usize,
    /// See [`deepest_output`].
    deepest: usize,
}

impl Layers {
    fn add(&mut self, number: usize, row: &Row, inputs: &[usize]) -> Result<(), String> {
        let name = format!("model.{number}");
        match &row.module {
            Module::Backbone(network) => {
                let image = self.only(inputs)?;
                let mut values = vec![Value::Nothing; VALUES_OF_BACKBONE];
                // Value 1 is the map of stride 4, reduction 2.
                let levels = self.efficientnet(network, (2..=self.deepest.max(1) + 1).collect(), image)?;
                levels
                    .into_iter()
                    .zip(&mut values[1..])
                    .for_each(|(level, value)| *value = Value::Map(level));
                self.values.extend(values);
            }
            Module::Stages(network) => {
                let image = self.only(inputs)?;
                let maps = self.stages(network, image)?;
                self.values.push(Value::Maps(maps));
            }
            Module::Index { channels, index } => {
                let level = self.picked(inputs, *channels, *index)?;
                self.values.push(Value::Map(level));
            }
            Module::Concat => {
                let level = self.join(&name, inputs)?;
                self.push(level)?;
            }
            module => {
                let level = self.only(inputs)?;
                let level = self.repeated(&name, module, row.repeats, level)?;
                self.push(level)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, level: Level) -> Result<(), String> {
        if level.channels > MAX_CHANNELS || level.stride > MAX_STRIDE {
            let Level { channels, stride, .. } = level;
            return Err(format!(
                "expected at most {MAX_CHANNELS} channels and stride {MAX_STRIDE}, got {channels} and {stride}"
            ));
        }
        self.max_stride = self.max_stride.max(level.stride);
        self.values.push(Value::Map(level));
        Ok(())
    }

    /// The one map that a row reads.
    fn only(&self, inputs: &[usize]) -> Result<Level, String> {
        match inputs {
            [input] => self.map(*input),
            _ => Err(format!("`from`: expected one value, got {}", inputs.len())),
        }
    }

    fn map(&self, input: usize) -> Result<Level, String> {
        if input == IMAGE {
            return Ok(self.image);
        }
        match &self.values[input] {
            Value::Map(level) => Ok(*level),
            Value::Nothing => {
                Err(format!("`from`: value {input} is no map; those of an EfficientNet row are 1 to 4"))
            }
            Value::Maps(_) => {
                Err(format!("`from`: value {input} has several maps; pick one with an Index row"))
            }
        }
    }

    fn picked(&self, inputs: &[usize], channels: usize, index: usize) -> Result<Level, String> {
        let maps = match inputs {
            [input] if *input != IMAGE => &self.values[*input],
            _ => return Err("`from`: expected one TorchVision row".into()),
        };
        let Value::Maps(maps) = maps else { return Err("`from`: expected a TorchVision row".into()) };
        let level = maps.get(index).copied().flatten();
        let level = level.ok_or_else(|| {
            format!("index {index}: expected 0 (the image), 2, 3, 4, 6, 8 (the maps of strides 2 to 32) or 9 (the head convolution)")
        })?;
        if level.channels != channels {
            return Err(format!(
                "index {index}: expected its {} channels, got {channels}; these widths are not scaled",
                level.channels
            ));
        }
        Ok(level)
    }

    fn join(&mut self, name: &str, inputs: &[usize]) -> Result<Level, String> {
        let levels = inputs.iter().map(|input| self.map(*input)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = levels.first() else { return Err("`from`: expected at least one value".into()) };
        if levels.iter().any(|level| level.stride != first.stride) {
            let strides: Vec<usize> = levels.iter().map(|level| level.stride).collect();
            return Err(format!("`from`: expected maps of one stride, got strides {strides:?}"));
        }
        let nodes: Vec<NodeId> = levels.iter().map(|level| level.node).collect();
        let node = self.builder.concat(name, &nodes).map_err(text)?;
        Ok(Level { stride: first.stride, channels: self.builder.channels(node), node })
    }

    /// A module of one input. The repeats of a C2f go inside; others are chained.
    fn repeated(
        &mut self,
        name: &str,
        module: &Module,
        repeats: usize,
        mut level: Level,
    ) -> Result<Level, String> {
        if let Module::C2f { out, shortcut } = *module {
            let node = c2f(&mut self.builder, name, level.node, out, repeats, shortcut).map_err(text)?;
            return Ok(Level { channels: out, node, ..level });
        }
        for repeat in 0..repeats {
            let name = if repeats == 1 { name.to_string() } else { format!("{name}.{repeat}") };
            level = self.single(&name, module, level)?;
        }
        Ok(level)
    }

    fn single(&mut self, name: &str, module: &Module, input: Level) -> Result<Level, String> {
        let builder = &mut self.builder;
        let (stride, node) = match *module {
            Module::Conv { out, kernel, stride } => {
                let node = conv_norm_act(builder, name, input.node, out, kernel, stride).map_err(text)?;
                (input.stride * stride, node)
            }
            Module::Sppf { out } => {
                if input.channels < 2 {
                    return Err("expected at least 2 channels".into());
                }
                (input.stride, sppf(builder, name, input.node, out).map_err(text)?)
            }
            Module::Upsample { factor } => {
                if !input.stride.is_multiple_of(factor) {
                    return Err(format!(
                        "expected a map of a stride that {factor} divides, got stride {}",
                        input.stride
                    ));
                }
                (input.stride / factor, builder.upsample(name, input.node, factor).map_err(text)?)
            }
            _ => unreachable!("{} is no module of one input", module.name()),
        };
        if stride > MAX_STRIDE {
            return Err(format!("expected a stride of at most {MAX_STRIDE}, got {stride}"));
        }
        Ok(Level { stride, channels: self.builder.channels(node), node })
    }

    fn efficientnet(
        &mut self,
        network: &ScaledVariant,
        levels: Vec<usize>,
        input: Level,
    ) -> Result<Vec<Level>, String> {
        if input.stride != 1 {
            return Err("`from`: expected the image: an EfficientNet is the first row".into());
        }
        let levels = EfficientNet::new(network.spec(levels).config())
            .build(&mut self.builder, input.node)
            .map_err(text)?;
        self.max_stride = levels.iter().map(|level| level.stride).fold(self.max_stride, usize::max);
        Ok(levels)
    }

    /// The outputs up to the last one that is picked.
    fn stages(&mut self, network: &ScaledVariant, input: Level) -> Result<Vec<Option<Level>>, String> {
        let last = self.deepest;
        let mut maps = vec![None; HEAD_OUTPUT + 1];
        maps[0] = Some(input);
        let outputs: Vec<usize> =
            (0..=last).filter(|output| reduction_of_output(*output).is_some()).collect();
        let levels: Vec<usize> = outputs.iter().filter_map(|output| reduction_of_output(*output)).collect();
        if levels.is_empty() {
            return Ok(maps);
        }
        let levels = self.efficientnet(network, levels, input)?;
        for (output, level) in outputs.iter().zip(&levels) {
            maps[*output] = Some(*level);
        }
        if last == HEAD_OUTPUT {
            maps[HEAD_OUTPUT] = Some(self.head_conv(network, levels[levels.len() - 1])?);
        }
        Ok(maps)
    }

    /// The 1x1 convolution in front of the classifier, with its norm and activation, under timm's names.
    fn head_conv(&mut self, network: &ScaledVariant, input: Level) -> Result<Level, String> {
        let spec = network.spec(vec![5]);
        let (out, builder) = (spec.network().head, &mut self.builder);
        let conv = Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 };
        let init = Init::Normal { std: (2.0 / out as f64).sqrt() };
        let x = builder.conv("backbone.conv_head", input.node, out, conv, init, None).map_err(text)?;
        let x = builder.batch_norm("backbone.bn2", x, spec.bn_eps, spec.bn_momentum).map_err(text)?;
        let activation = match spec.network().activation {
            effnet_scaling::Activation::Swish => Activation::Silu,
            effnet_scaling::Activation::Relu6 => Activation::Relu6,
            effnet_scaling::Activation::Relu => Activation::Relu,
        };
        let node = builder.activation("backbone.bn2.act", x, activation).map_err(text)?;
        Ok(Level { channels: out, node, ..input })
    }

    fn detect(&mut self, number: usize, inputs: &[usize], head: &DflHead) -> Result<HeadNodes, String> {
        let levels = inputs.iter().map(|input| self.map(*input)).collect::<Result<Vec<_>, _>>()?;
        if !levels.is_sorted_by(|a, b| a.stride < b.stride) {
            let strides: Vec<usize> = levels.iter().map(|level| level.stride).collect();
            return Err(format!("`from`: expected maps from fine to coarse, got strides {strides:?}"));
        }
        let head = DflHead { name: format!("model.{number}"), ..head.clone() };
        head.build(&mut self.builder, &levels).map_err(|error| error.to_string())
    }
}

fn text(error: GraphError) -> String {
    error.to_string()
}
