//! Figures of the paper (arXiv 1905.11946), as printed: costs in billions of multiply-adds, accuracies in percent.

/// A row of table 2: a member of the family on ImageNet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedVariant {
    /// Short name, such as `b0`.
    pub name: &'static str,
    /// Top-1 accuracy on the validation images, in percent.
    pub top1: f64,
    /// Top-5 accuracy, in percent.
    pub top5: f64,
    /// Parameters in millions.
    pub params_millions: f64,
    /// Multiply-adds in billions.
    pub macs_billions: f64,
}

const fn row(
    name: &'static str,
    top1: f64,
    top5: f64,
    params_millions: f64,
    macs_billions: f64,
) -> PublishedVariant {
    PublishedVariant { name, top1, top5, params_millions, macs_billions }
}

impl PublishedVariant {
    /// Table 2.
    pub const TABLE_2: [PublishedVariant; 8] = [
        row("b0", 77.1, 93.3, 5.3, 0.39),
        row("b1", 79.1, 94.4, 7.8, 0.70),
        row("b2", 80.1, 94.9, 9.2, 1.0),
        row("b3", 81.6, 95.7, 12.0, 1.8),
        row("b4", 82.9, 96.4, 19.0, 4.2),
        row("b5", 83.6, 96.7, 30.0, 9.9),
        row("b6", 84.0, 96.8, 43.0, 19.0),
        row("b7", 84.3, 97.0, 66.0, 37.0),
    ];

    /// The row of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::TABLE_2.into_iter().find(|row| row.name == name)
    }
}

/// A row of table 3 or 7: a baseline scaled in one dimension or in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedScaling {
    /// Name of the baseline, for [`NamedBaseline::find`](crate::NamedBaseline::find).
    pub baseline: &'static str,
    /// Multipliers of depth, width and resolution; `None` where the paper does not print them.
    pub multipliers: Option<[f64; 3]>,
    /// Multiply-adds in billions.
    pub macs_billions: f64,
    /// Top-1 accuracy on ImageNet in percent.
    pub top1: f64,
}

const fn scaled(
    baseline: &'static str,
    multipliers: [f64; 3],
    macs_billions: f64,
    top1: f64,
) -> PublishedScaling {
    PublishedScaling { baseline, multipliers: Some(multipliers), macs_billions, top1 }
}

const fn compound(baseline: &'static str, macs_billions: f64, top1: f64) -> PublishedScaling {
    PublishedScaling { baseline, multipliers: None, macs_billions, top1 }
}

impl PublishedScaling {
    /// Table 3: the method on other networks.
    pub const TABLE_3: [PublishedScaling; 14] = [
        scaled("mobilenet-v1", [1.0, 1.0, 1.0], 0.6, 70.6),
        scaled("mobilenet-v1", [1.0, 2.0, 1.0], 2.2, 74.2),
        scaled("mobilenet-v1", [1.0, 1.0, 2.0], 2.2, 72.7),
        scaled("mobilenet-v1", [1.4, 1.2, 1.3], 2.3, 75.6),
        scaled("mobilenet-v2", [1.0, 1.0, 1.0], 0.3, 72.0),
        scaled("mobilenet-v2", [4.0, 1.0, 1.0], 1.2, 76.8),
        scaled("mobilenet-v2", [1.0, 2.0, 1.0], 1.1, 76.4),
        scaled("mobilenet-v2", [1.0, 1.0, 2.0], 1.2, 74.8),
        compound("mobilenet-v2", 1.3, 77.4),
        scaled("resnet-50", [1.0, 1.0, 1.0], 4.1, 76.0),
        scaled("resnet-50", [4.0, 1.0, 1.0], 16.2, 78.1),
        scaled("resnet-50", [1.0, 2.0, 1.0], 14.7, 77.7),
        scaled("resnet-50", [1.0, 1.0, 2.0], 16.4, 77.5),
        compound("resnet-50", 16.7, 78.8),
    ];

    /// Table 7: B0 in one dimension and in all.
    pub const TABLE_7: [PublishedScaling; 5] = [
        scaled("b0", [1.0, 1.0, 1.0], 0.4, 77.3),
        scaled("b0", [4.0, 1.0, 1.0], 1.8, 79.0),
        scaled("b0", [1.0, 2.0, 1.0], 1.8, 78.9),
        scaled("b0", [1.0, 1.0, 2.0], 1.9, 79.1),
        scaled("b0", [1.4, 1.2, 1.3], 1.8, 81.1),
    ];
}
