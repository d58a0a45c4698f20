use crate::{NeckScale, c2f, conv_norm_act};
use net_graph::{Backbone, Builder, GraphError, Level, NodeId};

/// The backbone of YOLOv8: a stride-2 convolution, then stages of a stride-2 convolution and a C2f block. Layers have
/// Ultralytics' names, `model.0` to `model.8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CspBackbone {
    scale: NeckScale,
    levels: Vec<usize>,
}

/// Repeats of the C2f block of the stages with strides 4, 8, 16, 32, before scaling.
const REPEATS: [usize; 4] = [3, 6, 6, 3];

impl CspBackbone {
    /// Rows of the whole backbone.
    pub const ROWS: usize = 1 + 2 * REPEATS.len();

    /// A backbone that yields levels P`i` (stride `2^i`) for each `i` of `levels`.
    ///
    /// # Panics
    /// When `levels` is empty, not strictly increasing, or not within `2..=5`: whoever reads the user's configuration
    /// checks that.
    pub fn new(scale: NeckScale, levels: Vec<usize>) -> Self {
        let in_range = levels.iter().all(|level| (2..=5).contains(level));
        assert!(
            !levels.is_empty() && in_range && levels.is_sorted_by(|a, b| a < b),
            "levels: expected increasing numbers in 2..=5, got {levels:?}"
        );
        CspBackbone { scale, levels }
    }

    /// Beginnings of the parameter names of the stem and of each stage. For freezing.
    pub fn stage_prefixes(&self) -> Vec<Vec<String>> {
        let stages = (0..REPEATS.len()).map(|stage| vec![row(1 + 2 * stage) + ".", row(2 + 2 * stage) + "."]);
        std::iter::once(vec![row(0) + "."]).chain(stages).collect()
    }
}

fn row(index: usize) -> String {
    format!("model.{index}")
}

impl Backbone for CspBackbone {
    fn levels(&self) -> Vec<(usize, usize)> {
        self.levels.iter().map(|&level| (1 << level, self.scale.level_channels(1 << level))).collect()
    }

    fn build(&self, builder: &mut Builder, image: NodeId) -> Result<Vec<Level>, GraphError> {
        let mut x = conv_norm_act(builder, &row(0), image, self.scale.level_channels(2), 3, 2)?;
        let mut levels = Vec::new();
        let last = *self.levels.last().expect("checked when made");
        for (stage, &repeats) in REPEATS.iter().enumerate().take(last - 1) {
            let stride = 4 << stage;
            let channels = self.scale.level_channels(stride);
            x = conv_norm_act(builder, &row(1 + 2 * stage), x, channels, 3, 2)?;
            x = c2f(builder, &row(2 + 2 * stage), x, channels, self.scale.repeats(repeats), true)?;
            if self.levels.contains(&(stage + 2)) {
                levels.push(Level { stride, channels, node: x });
            }
        }
        Ok(levels)
    }
}
