//! Where the images and labels of a data set lie.

use crate::DataError;
use crate::regular_file::read_regular;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Endings, in small letters, by which a file in a folder counts as an image. Those that cannot be decoded are reported
/// by the data set, not passed over.
pub const IMAGE_EXTENSIONS: [&str; 12] =
    ["avif", "bmp", "dng", "gif", "heic", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"];

/// No list of images is longer.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// All images of `sources`, each once, sorted by path. A source is a folder (searched with its subfolders), a `.txt`
/// list with a path a row (relative ones are relative to the list's folder), or an image.
///
/// # Errors
/// When a source cannot be read, or is none of the three.
pub fn find_images(sources: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut images = BTreeSet::new();
    for source in sources {
        let kind = std::fs::metadata(source).map_err(|error| io_error(source, error))?;
        if kind.is_dir() {
            search_folder(source, &mut BTreeSet::new(), &mut images)?;
        } else if has_extension(source, &["txt"]) {
            images.extend(read_list(source)?);
        } else if has_extension(source, &IMAGE_EXTENSIONS) {
            images.insert(source.clone());
        } else {
            return Err(DataError::Setting {
                setting: "image source",
                expected: "a folder, a .txt list or an image file",
                got: source.display().to_string(),
            });
        }
    }
    Ok(images.into_iter().collect())
}

/// Where the labels of an image lie: the last folder `images` of its path becomes `labels`, the ending `.txt`. Without
/// such a folder the labels lie beside the image.
pub fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.components().collect();
    let folders = &parts[..parts.len().saturating_sub(1)];
    let images = folders.iter().rposition(|part| part.as_os_str() == "images");
    let renamed = |(i, part): (usize, &std::path::Component)| {
        if Some(i) == images { "labels".into() } else { part.as_os_str().to_os_string() }
    };
    parts.iter().enumerate().map(renamed).collect::<PathBuf>().with_extension("txt")
}

fn search_folder(
    folder: &Path,
    visited: &mut BTreeSet<PathBuf>,
    images: &mut BTreeSet<PathBuf>,
) -> Result<(), DataError> {
    // A link may lead back to a folder above.
    if !visited.insert(folder.canonicalize().map_err(|error| io_error(folder, error))?) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(|error| io_error(folder, error))? {
        let path = entry.map_err(|error| io_error(folder, error))?.path();
        // A folder may be called x.jpg too; a link that leads nowhere is reported as the image that it should be.
        if path.is_dir() {
            search_folder(&path, visited, images)?;
        } else if has_extension(&path, &IMAGE_EXTENSIONS) {
            images.insert(path);
        }
    }
    Ok(())
}

fn read_list(list: &Path) -> Result<Vec<PathBuf>, DataError> {
    let bytes = read_regular(list, MAX_LIST_BYTES)
        .map_err(|problem| DataError::File { path: list.to_path_buf(), problem })?;
    let text = String::from_utf8_lossy(&bytes);
    let folder = list.parent().unwrap_or(Path::new(""));
    let rows = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|row| !row.is_empty());
    Ok(rows.map(|row| folder.join(row.strip_prefix("./").unwrap_or(row))).collect())
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| wanted.contains(&extension.as_str()))
}

fn io_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::File { path: path.to_path_buf(), problem: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lie_beside_the_images_folder() {
        let path = |image: &str| label_path(Path::new(image)).display().to_string();
        assert_eq!(path("/data/images/train/a.jpg"), "/data/labels/train/a.txt");
        assert_eq!(path("images/a.b.png"), "labels/a.b.txt");
        assert_eq!(path("/images/x/images/a.jpg"), "/images/x/labels/a.txt");
        assert_eq!(path("/data/pictures/a.jpg"), "/data/pictures/a.txt");
        assert_eq!(path("/data/images"), "/data/images.txt");
    }

    #[test]
    fn folders_lists_and_files_are_joined_sorted_and_free_of_repetition() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("images/deep")).unwrap();
        for name in ["images/b.JPG", "images/deep/a.png", "images/notes.md", "images/c.webp"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::write(at("list.txt"), "\u{feff}./images/c.webp\r\n\r\nimages/d.png\r\n").unwrap();
        let found = find_images(&[at("list.txt"), at("images"), at("images/b.JPG")]).unwrap();
        let want = ["images/b.JPG", "images/c.webp", "images/d.png", "images/deep/a.png"];
        assert_eq!(found, want.map(at));
        assert!(matches!(find_images(&[at("missing")]), Err(DataError::File { .. })));
        assert!(matches!(find_images(&[at("images/notes.md")]), Err(DataError::Setting { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_above_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert_eq!(find_images(&[folder.path().to_path_buf()]).unwrap(), [folder.path().join("a.png")]);
    }
}
