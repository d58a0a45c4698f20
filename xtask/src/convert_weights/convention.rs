//! What the options say of padding, batch-norm epsilon and input normalisation, and which names may be written.

use super::{Arguments, Target, require};
use anyhow::Result;
use net_formats::{Archive, PaddingMode, WeightsInfo};
use weight_sources::{Convention, Matched, Variant, architecture, is_large};

/// Options first; then what the file says of itself; then what its naming means.
pub(super) fn find(arguments: &Arguments, archive: &Archive, matched: &Matched<'_>) -> Result<Convention> {
    let architecture = architecture(&arguments.source, arguments.variant.as_deref(), archive);
    let mut convention = Convention::find(archive, matched, &architecture)?;
    let assumed = &mut convention.assumed;
    let mut given = |what| assumed.retain(|other| *other != what);
    if let Some(padding) = arguments.padding {
        convention.padding = padding;
        given("padding");
    }
    if let Some(bn_eps) = arguments.bn_eps {
        require(bn_eps.is_finite() && bn_eps > 0.0, || format!("--bn-eps: expected above 0, got {bn_eps}"))?;
        convention.bn_eps = bn_eps;
        given("bn_eps");
    }
    if let Some(normalization) = arguments.normalize {
        convention.normalization = normalization;
        given("normalization");
    }
    Ok(convention)
}

/// Fails where the names of another tool would make it run the weights wrongly.
pub(super) fn check_target(target: Target, info: &WeightsInfo, variant: &Variant) -> Result<()> {
    let same = info.padding == PaddingMode::Same;
    require(target == Target::Timm || variant.spec().is_some(), || {
        "--to: those names exist for EfficientNets only; this is a YOLOv8 detector".into()
    })?;
    require(target == Target::Timm || !variant.has_experts(), || {
        format!("--to: kernels of experts, as `{}` has them, are named by timm alone", variant.name)
    })?;
    match target {
        Target::Timm => Ok(()),
        Target::Lukemelas => require(same && info.bn_eps == 1e-3, || {
            format!(
                "--to lukemelas: that code pads like TensorFlow and has a batch-norm epsilon of 0.001; these weights \
                 are for {} padding and {}",
                info.padding, info.bn_eps
            )
        }),
        Target::Torchvision => {
            let name = &variant.name;
            let known = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"].contains(&name.as_str());
            require(known, || format!("--to torchvision: it has B0 to B7, not `{name}`"))?;
            require(!same, || {
                "--to torchvision: it pads symmetrically, and these weights were trained with TensorFlow's SAME \
                 padding, whose grid lies one pixel beside; they would lose accuracy without a message"
                    .into()
            })?;
            let eps = if is_large(variant) { 1e-3 } else { 1e-5 };
            require(info.bn_eps == eps, || {
                format!(
                    "--to torchvision: its {name} has a batch-norm epsilon of {eps}, these weights {}",
                    info.bn_eps
                )
            })
        }
    }
}
