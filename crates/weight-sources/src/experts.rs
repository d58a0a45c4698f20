//! Kernels of experts (CondConv) in checkpoints of the official TensorFlow code.
//!
//! Their layers are Keras layers, which count through the whole program, also past layers that never get a variable, and
//! stand below the name that Keras gives the model: `net/model/blocks_9/cond_conv2d_1/condconv_kernel` beside
//! `net/blocks_9/dense/kernel`. What is sure is the block, the kind of layer, and that of two layers of a kind in a block
//! the expansion was made before the projection. So that is what they are known by.

use std::collections::BTreeMap;

/// Last parts of their names.
const KERNELS: [&str; 2] = ["condconv_kernel", "depthwise_condconv_kernel"];

/// What [`effnet_backbone::Naming::TensorFlow`] calls the kernels of experts below `prefix`, by their names in the file.
pub(crate) fn renumbered<'a>(
    names: impl Iterator<Item = &'a String>,
    prefix: &str,
) -> BTreeMap<&'a str, String> {
    let mut blocks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for name in names {
        let Some(Place { block, kind, number, kernel }) = name.strip_prefix(prefix).and_then(place) else {
            continue;
        };
        blocks.entry((block, kind, kernel)).or_default().push((number, name.as_str()));
    }
    let mut renumbered = BTreeMap::new();
    for ((block, kind, kernel), mut layers) in blocks {
        layers.sort();
        for (number, (_, name)) in layers.into_iter().enumerate() {
            let layer = if number == 0 { kind.to_string() } else { format!("{kind}_{number}") };
            renumbered.insert(name, format!("{block}/{layer}/{kernel}"));
        }
    }
    renumbered
}

/// Where a kernel of experts stands.
struct Place<'a> {
    block: &'a str,
    /// Class of the layer.
    kind: &'a str,
    /// The layer's among those of its class.
    number: usize,
    kernel: &'a str,
}

fn place(name: &str) -> Option<Place<'_>> {
    let mut parts = name.rsplit('/');
    let (kernel, layer, block) = (parts.next()?, parts.next()?, parts.next()?);
    if !KERNELS.contains(&kernel) || !block.starts_with("blocks_") {
        return None;
    }
    let (kind, number) = match layer.rsplit_once('_').map(|(kind, number)| (kind, number.parse())) {
        Some((kind, Ok(number))) => (kind, number),
        _ => (layer, 0),
    };
    Some(Place { block, kind, number, kernel })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbered_within_their_blocks() {
        let names = [
            "net/blocks_9/dense/kernel",
            "net/model/blocks_9/cond_conv2d_10/condconv_kernel",
            "net/model/blocks_9/cond_conv2d_9/condconv_kernel",
            "net/model/blocks_9/depthwise_cond_conv2d/depthwise_condconv_kernel",
            "net/model/blocks_10/cond_conv2d/condconv_kernel",
            "other/blocks_9/cond_conv2d/condconv_kernel",
        ]
        .map(String::from);
        let got: Vec<_> = renumbered(names.iter(), "net/").into_iter().collect();
        let want = [
            (&names[4], "blocks_10/cond_conv2d/condconv_kernel"),
            (&names[1], "blocks_9/cond_conv2d_1/condconv_kernel"),
            (&names[2], "blocks_9/cond_conv2d/condconv_kernel"),
            (&names[3], "blocks_9/depthwise_cond_conv2d/depthwise_condconv_kernel"),
        ];
        assert_eq!(got, want.map(|(name, new)| (name.as_str(), new.to_string())));
    }
}
