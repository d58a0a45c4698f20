use crate::names::NameIter;
use crate::{DetectorError, LayerNames, NeckFactors, c2f, conv_norm_act, sppf};
use net_graph::{Builder, Level};

/// Mixes the levels of a backbone.
pub trait Neck {
    /// Appends the neck's nodes; yields as many levels, of the same strides.
    ///
    /// # Errors
    /// When the levels do not suit it, or a name is taken in the graph.
    fn build(&self, builder: &mut Builder, levels: &[Level]) -> Result<Vec<Level>, DetectorError>;
}

/// YOLOv8's neck: SPPF on the coarsest level, then a path aggregation network (arXiv 1803.01534): C2f blocks from
/// coarse to fine and back. The backbone's maps are concatenated as they are, without a convolution between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanNeck {
    /// Channels that each level leaves with, fine to coarse: as many as the backbone has levels.
    pub channels: Vec<usize>,
    /// Bottlenecks of every C2f block.
    pub repeats: usize,
    /// Names of its layers.
    pub names: LayerNames,
}

/// Repeats of every C2f block before scaling.
const REPEATS: usize = 3;

impl PanNeck {
    /// YOLOv8's neck over levels of those strides, fine to coarse.
    pub fn new(factors: NeckFactors, strides: &[usize], names: LayerNames) -> Self {
        let channels = strides.iter().map(|&stride| factors.level_channels(stride)).collect();
        PanNeck { channels, repeats: factors.repeats(REPEATS), names }
    }

    /// Rows that the neck takes in Ultralytics' count, for so many levels.
    pub fn rows(levels: usize) -> usize {
        1 + 6 * (levels - 1)
    }

    /// From coarse to fine. Returns the maps from fine to coarse.
    fn top_down(
        &self,
        builder: &mut Builder,
        names: &mut NameIter<'_>,
        levels: &[Level],
    ) -> Result<Vec<Level>, DetectorError> {
        let (coarsest, finer) = levels.split_last().expect("at least one level");
        let mut path = vec![*coarsest];
        let mut above = *coarsest;
        for (level, &channels) in finer.iter().zip(&self.channels).rev() {
            let p = pyramid_name(level);
            let x = builder.upsample(&names.next(&format!("{p}_up")), above.node, 2)?;
            let x = builder.concat(&names.next(&format!("{p}_up_concat")), &[x, level.node])?;
            above = self.fuse(builder, &names.next(&format!("{p}_top_down")), x, level.stride, channels)?;
            path.push(above);
        }
        path.reverse();
        Ok(path)
    }

    /// From fine to coarse over the maps of the way down.
    fn bottom_up(
        &self,
        builder: &mut Builder,
        names: &mut NameIter<'_>,
        path: &[Level],
    ) -> Result<Vec<Level>, DetectorError> {
        let mut below = path[0];
        let mut out = vec![below];
        for (level, &channels) in path.iter().zip(&self.channels).skip(1) {
            let (fine, p) = (pyramid_name(&below), pyramid_name(level));
            let x = conv_norm_act(
                builder,
                &names.next(&format!("{fine}_down")),
                below.node,
                below.channels,
                3,
                2,
            )?;
            let x = builder.concat(&names.next(&format!("{p}_down_concat")), &[x, level.node])?;
            below = self.fuse(builder, &names.next(&format!("{p}_bottom_up")), x, level.stride, channels)?;
            out.push(below);
        }
        Ok(out)
    }

    fn fuse(
        &self,
        builder: &mut Builder,
        name: &str,
        x: net_graph::NodeId,
        stride: usize,
        channels: usize,
    ) -> Result<Level, DetectorError> {
        let node = c2f(builder, name, x, channels, self.repeats, false)?;
        Ok(Level { stride, channels, node })
    }
}

/// `p3` for stride 8.
fn pyramid_name(level: &Level) -> String {
    format!("p{}", level.stride.ilog2())
}

/// Each level must have twice the stride of the one before, or upsampling by two would not meet it.
fn check_levels(levels: &[Level], channels: &[usize]) -> Result<(), DetectorError> {
    let doubling = levels.windows(2).all(|pair| pair[1].stride == 2 * pair[0].stride);
    if levels.len() != channels.len() {
        let got = format!("{} levels and channels of {}", levels.len(), channels.len());
        return Err(DetectorError::Levels { part: "neck", expected: "channels of every level", got });
    }
    if !levels.is_empty() && doubling {
        return Ok(());
    }
    let strides: Vec<usize> = levels.iter().map(|level| level.stride).collect();
    let expected = "levels whose strides double, such as 8, 16, 32";
    Err(DetectorError::Levels { part: "neck", expected, got: format!("strides {strides:?}") })
}

impl Neck for PanNeck {
    fn build(&self, builder: &mut Builder, levels: &[Level]) -> Result<Vec<Level>, DetectorError> {
        check_levels(levels, &self.channels)?;
        let mut names = self.names.iter();
        let mut levels = levels.to_vec();
        let coarsest = levels.last_mut().expect("checked");
        coarsest.channels = self.channels[self.channels.len() - 1];
        coarsest.node = sppf(builder, &names.next("sppf"), coarsest.node, coarsest.channels)?;
        let path = self.top_down(builder, &mut names, &levels)?;
        self.bottom_up(builder, &mut names, &path)
    }
}
