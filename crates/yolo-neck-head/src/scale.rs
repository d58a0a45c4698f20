/// Size of a YOLOv8 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeckScale {
    /// Nano.
    N,
    /// Small.
    S,
    /// Medium.
    M,
    /// Large.
    L,
    /// Extra large.
    X,
}

impl NeckScale {
    /// All, from small to large.
    pub const ALL: [NeckScale; 5] = [NeckScale::N, NeckScale::S, NeckScale::M, NeckScale::L, NeckScale::X];

    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            NeckScale::N => 'n',
            NeckScale::S => 's',
            NeckScale::M => 'm',
            NeckScale::L => 'l',
            NeckScale::X => 'x',
        }
    }

    /// The scale of a letter.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|scale| scale.letter() == letter)
    }

    /// Its multipliers.
    pub fn factors(self) -> NeckFactors {
        let (depth, width, max_channels) = match self {
            NeckScale::N => (0.33, 0.25, 1024),
            NeckScale::S => (0.33, 0.50, 1024),
            NeckScale::M => (0.67, 0.75, 768),
            NeckScale::L => (1.00, 1.00, 512),
            NeckScale::X => (1.00, 1.25, 512),
        };
        NeckFactors { depth, width, max_channels }
    }

    /// As [`NeckFactors::channels`].
    pub fn channels(self, base: usize) -> usize {
        self.factors().channels(base)
    }

    /// As [`NeckFactors::repeats`].
    pub fn repeats(self, base: usize) -> usize {
        self.factors().repeats(base)
    }

    /// As [`NeckFactors::level_channels`].
    pub fn level_channels(self, stride: usize) -> usize {
        self.factors().level_channels(stride)
    }
}

/// What multiplies the layers of a YOLOv8 network: those of a [`NeckScale`], or others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeckFactors {
    /// Multiplies repeats.
    pub depth: f64,
    /// Multiplies channels.
    pub width: f64,
    /// No layer has more channels before they are multiplied.
    pub max_channels: usize,
}

impl NeckFactors {
    /// Channels of a layer that has `base` at scale 1: capped, multiplied, up to the next multiple of 8.
    ///
    /// This is YOLOv8's rule; EfficientNet has another.
    pub fn channels(self, base: usize) -> usize {
        (base.min(self.max_channels) as f64 * self.width / 8.0).ceil() as usize * 8
    }

    /// Repeats of a block that has `base` at scale 1; halves go to the even neighbour.
    pub fn repeats(self, base: usize) -> usize {
        if base <= 1 {
            return base;
        }
        ((base as f64 * self.depth).round_ties_even() as usize).max(1)
    }

    /// Channels of the level of that stride in backbone and neck: 64 at stride 2, doubled with each level up to 1024,
    /// before scaling.
    pub fn level_channels(self, stride: usize) -> usize {
        self.channels((32 * stride).min(1024))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_channels_of_all_scales() {
        let channels = |scale: NeckScale| [8, 16, 32].map(|stride| scale.level_channels(stride));
        assert_eq!(channels(NeckScale::N), [64, 128, 256]);
        assert_eq!(channels(NeckScale::S), [128, 256, 512]);
        assert_eq!(channels(NeckScale::M), [192, 384, 576]);
        assert_eq!(channels(NeckScale::L), [256, 512, 512]);
        assert_eq!(channels(NeckScale::X), [320, 640, 640]);
    }

    #[test]
    fn repeats_of_all_scales() {
        assert_eq!(NeckScale::ALL.map(|scale| scale.repeats(3)), [1, 1, 2, 3, 3]);
        assert_eq!(NeckScale::ALL.map(|scale| scale.repeats(6)), [2, 2, 4, 6, 6]);
        assert_eq!(NeckScale::N.repeats(1), 1);
    }

    #[test]
    fn letters_are_read_back() {
        assert!(
            NeckScale::ALL.into_iter().all(|scale| NeckScale::from_letter(scale.letter()) == Some(scale))
        );
        assert_eq!(NeckScale::from_letter('q'), None);
    }
}
