//! Images that a command line names: files, folders, lists and patterns.

use anyhow::{Context, Result, bail};
use detect_data::{RgbImage, find_images};
use std::path::PathBuf;

/// All images of the sources, each once, sorted by path. A source that is not there may be a pattern such as `a/*.jpg`:
/// not every shell expands it.
///
/// # Errors
/// When a source cannot be read or matches nothing, or there is no image.
pub(crate) fn images(sources: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for source in sources {
        match source.to_str() {
            Some(pattern) if !source.exists() && pattern.contains(['*', '?', '[']) => {
                found.extend(matches(pattern)?);
            }
            _ => found.push(source.clone()),
        }
    }
    let images = find_images(&found)?;
    if images.is_empty() {
        bail!("expected images in {sources:?}, found none");
    }
    Ok(images)
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).with_context(|| format!("`{pattern}`: expected a pattern of paths"))?;
    let paths = paths.collect::<Result<Vec<_>, _>>().with_context(|| format!("looking for `{pattern}`"))?;
    if paths.is_empty() {
        bail!("`{pattern}`: nothing there is called so");
    }
    Ok(paths)
}

/// Opens an image; why one cannot be read is said, and `skipped` counts it.
pub(crate) fn open_or_skip(path: &std::path::Path, skipped: &mut usize) -> Option<RgbImage> {
    RgbImage::open(path)
        .map_err(|problem| {
            eprintln!("skipped: {problem}");
            *skipped += 1;
        })
        .ok()
}

/// An error if images were skipped, so that a script notices.
///
/// # Errors
/// When `skipped` is not 0.
pub(crate) fn check_skipped(skipped: usize, all: usize) -> Result<()> {
    match skipped {
        0 => Ok(()),
        _ => bail!("{skipped} of {all} images could not be read; the others were done"),
    }
}
