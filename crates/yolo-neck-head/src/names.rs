/// Where the layers of a network take their names from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerNames {
    /// `<prefix>.<what the layer is>`, such as `neck.p4_top_down`.
    Described {
        /// First part.
        prefix: String,
    },
    /// `model.<row>`, Ultralytics' way: the row of its model files, counted over all layers.
    Rows {
        /// Row of the first layer.
        first: usize,
    },
}

impl LayerNames {
    /// The names, to be taken in the order of the layers.
    pub(crate) fn iter(&self) -> NameIter<'_> {
        NameIter { names: self, taken: 0 }
    }
}

/// Hands out names in the order of the layers.
pub(crate) struct NameIter<'a> {
    names: &'a LayerNames,
    taken: usize,
}

impl NameIter<'_> {
    /// Name of the next layer.
    pub(crate) fn next(&mut self, description: &str) -> String {
        self.taken += 1;
        match self.names {
            LayerNames::Described { prefix } => format!("{prefix}.{description}"),
            LayerNames::Rows { first } => format!("model.{}", first + self.taken - 1),
        }
    }
}
