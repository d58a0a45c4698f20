//! The EfficientNet family as graph builders.
