use crate::{NetworkSpec, ScalingError};

/// A published member of the family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// Short name, such as `b0` or `lite3`.
    pub name: &'static str,
    /// Width multiplier.
    pub width: f64,
    /// Depth multiplier.
    pub depth: f64,
    /// Side of the square image it was trained at, in pixels.
    pub resolution: usize,
    /// Dropout rate before the classifier.
    pub dropout: f64,
}

const fn variant(name: &'static str, width: f64, depth: f64, resolution: usize, dropout: f64) -> Variant {
    Variant { name, width, depth, resolution, dropout }
}

impl Variant {
    /// B0 to B8, L2, Lite0 to Lite4, EdgeTPU-S to -L and the three of CondConv, as published. The larger ones are close to
    /// compound scaling but not equal to it, so the table is data.
    pub const ALL: [Variant; 21] = [
        variant("b0", 1.0, 1.0, 224, 0.2),
        variant("b1", 1.0, 1.1, 240, 0.2),
        variant("b2", 1.1, 1.2, 260, 0.3),
        variant("b3", 1.2, 1.4, 300, 0.3),
        variant("b4", 1.4, 1.8, 380, 0.4),
        variant("b5", 1.6, 2.2, 456, 0.4),
        variant("b6", 1.8, 2.6, 528, 0.5),
        variant("b7", 2.0, 3.1, 600, 0.5),
        variant("b8", 2.2, 3.6, 672, 0.5),
        variant("l2", 4.3, 5.3, 800, 0.5),
        variant("lite0", 1.0, 1.0, 224, 0.2),
        variant("lite1", 1.0, 1.1, 240, 0.2),
        variant("lite2", 1.1, 1.2, 260, 0.3),
        variant("lite3", 1.2, 1.4, 280, 0.3),
        variant("lite4", 1.4, 1.8, 300, 0.3),
        variant("edgetpu-s", 1.0, 1.0, 224, 0.2),
        variant("edgetpu-m", 1.0, 1.1, 240, 0.2),
        variant("edgetpu-l", 1.2, 1.4, 300, 0.3),
        variant("cc-b0-4e", 1.0, 1.0, 224, 0.25),
        variant("cc-b0-8e", 1.0, 1.0, 224, 0.25),
        variant("cc-b1-8e", 1.0, 1.1, 224, 0.25),
    ];

    /// Finds a variant by name: `b0`, `efficientnet-b0`, `efficientnet_lite0`, `efficientnet-edgetpu-s`, timm's
    /// `efficientnet_es` and `efficientnet_cc_b0_4e`, or the official `efficientnet-condconv-b0-8e-depth`, in any case.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn find(name: &str) -> Result<Variant, ScalingError> {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        let short = match lower.strip_prefix("efficientnet-").unwrap_or(&lower) {
            "es" => "edgetpu-s",
            "em" => "edgetpu-m",
            "el" => "edgetpu-l",
            "condconv-b0-4e" | "b0-4e" => "cc-b0-4e",
            "condconv-b0-8e" | "b0-8e" => "cc-b0-8e",
            "condconv-b0-8e-depth" | "b0-8e-depth" | "cc-b0-8e-depth" => "cc-b1-8e",
            other => other,
        };
        let known = || Self::ALL.map(|variant| variant.name).join(", ");
        let found = Self::ALL.into_iter().find(|variant| variant.name == short);
        found.ok_or_else(|| ScalingError::UnknownVariant { name: name.to_string(), known: known() })
    }

    /// True for Lite0 to Lite4: ReLU6, no squeeze-and-excitation, fixed stem and head.
    pub fn is_lite(&self) -> bool {
        self.name.starts_with("lite")
    }

    /// True for EdgeTPU-S to -L: ReLU, no squeeze-and-excitation, full convolutions in the fine stages. They were
    /// published with 1001 classes, the first of which is background.
    pub fn is_edgetpu(&self) -> bool {
        self.name.starts_with("edgetpu")
    }

    /// Kernels that a convolution of the last three stages mixes for every image: 4 or 8 in the CondConv variants (arXiv
    /// 1904.04971), `None` in all others. `cc-b1-8e` is the official `b0-8e-depth`, which was trained at 224 pixels; timm
    /// evaluates it at 240.
    pub fn experts(&self) -> Option<usize> {
        match self.name.strip_prefix("cc-")?.ends_with("-4e") {
            true => Some(4),
            false => Some(8),
        }
    }

    /// The network that the variant's multipliers scale.
    pub fn baseline(&self) -> NetworkSpec {
        if let Some(experts) = self.experts() {
            NetworkSpec::condconv(experts)
        } else if self.is_lite() {
            NetworkSpec::lite0()
        } else if self.is_edgetpu() {
            NetworkSpec::edgetpu()
        } else {
            NetworkSpec::b0()
        }
    }

    /// The variant's network.
    pub fn network(&self) -> NetworkSpec {
        self.baseline().scaled(self.width, self.depth).expect("published multipliers are positive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_several_spellings() {
        for name in ["b3", "B3", "efficientnet-b3", "EfficientNet_B3"] {
            assert_eq!(Variant::find(name).unwrap().resolution, 300);
        }
        for name in ["efficientnet_es", "EfficientNet-EdgeTPU-S", "edgetpu-s"] {
            assert_eq!(Variant::find(name).unwrap().name, "edgetpu-s");
        }
        for name in ["efficientnet_cc_b0_4e", "EfficientNet-CondConv-B0-4e", "b0-4e", "cc-b0-4e"] {
            let variant = Variant::find(name).unwrap();
            assert_eq!((variant.name, variant.experts()), ("cc-b0-4e", Some(4)));
        }
        for name in ["efficientnet_cc_b1_8e", "efficientnet-condconv-b0-8e-depth", "b0-8e-depth"] {
            let variant = Variant::find(name).unwrap();
            assert_eq!((variant.name, variant.experts()), ("cc-b1-8e", Some(8)));
        }
        assert_eq!(Variant::find("b0").unwrap().experts(), None);
        let message = Variant::find("b9").unwrap_err().to_string();
        assert!(message.contains("b8") && message.contains("lite4"), "{message}");
    }
}
