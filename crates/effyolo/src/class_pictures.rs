//! Pictures of how a classifier did: its confusion matrix, and the images with the highest loss.

use crate::classes::WORST;
use crate::drawing::{BLACK, Colour, WHITE, character_size, fill, save_jpeg, save_png, text_colour, write};
use anyhow::{Context, Result};
use box_geometry::Size;
use classify_data::ClassFolder;
use detect_data::{RgbImage, resize};
use std::path::Path;
use yolo_train::{ClassValidation, JudgedImage};

/// Longest side of a matrix of many classes, and largest side of a cell of few, in pixels.
const MATRIX: usize = 1700;
const LARGEST_CELL: usize = 48;
/// Longest name that is written, in characters.
const NAME: usize = 22;
const GAP: usize = 8;
/// What stands above the rows.
const CORNER: [&str; 2] = ["rows: true", "columns: predicted"];
/// Colours of all images of a class: recognised, and taken for another.
const RIGHT: Colour = [25, 80, 160];
const WRONG: Colour = [190, 40, 20];
const GRID: Colour = [225; 3];
/// Images a row of the contact sheet, side of each in pixels, and lines of text below it.
const COLUMNS: usize = 5;
const TILE: usize = 184;
const LINES: usize = 3;

/// Writes `confusion.png` and `worst.jpg` into a folder.
pub(crate) fn save(folder: &Path, validation: &ClassValidation, images: &ClassFolder) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let names = images.names();
    // A cell has at least one pixel.
    if names.len() <= MATRIX {
        save_png(&confusion_matrix(&validation.confusion, names), &folder.join("confusion.png"))?;
    } else {
        eprintln!("note: the confusion matrix of {} classes is not drawn", names.len());
    }
    save_jpeg(&contact_sheet(&validation.by_loss, images)?, &folder.join("worst.jpg"))
}

/// Rows are true classes, columns predicted ones. A cell is the darker the larger its share of the row's images is; where
/// there is room it has their number.
fn confusion_matrix(counts: &[usize], names: &[String]) -> RgbImage {
    let classes = names.len();
    let cell = (MATRIX / classes).clamp(1, LARGEST_CELL);
    let font = character_size();
    let longest = names.iter().map(|name| shortened(name).chars().count()).max().unwrap_or(0);
    let margin = longest.max(CORNER[1].len()) * font.width + 2 * GAP;
    let (left, top, side) = (margin, margin, classes * cell + 1);
    let mut picture = RgbImage::filled(Size { height: top + side + GAP, width: left + side + GAP }, 255);
    let grid = if cell > 4 { GRID } else { WHITE };
    fill_box(&mut picture, (left, top), (side, side), grid);
    for (index, &count) in counts.iter().enumerate() {
        let (row, column) = (index / classes, index % classes);
        let total: usize = counts[row * classes..][..classes].iter().sum();
        let ground = shade(count as f64 / total.max(1) as f64, row == column);
        let (x, y) = (left + column * cell, top + row * cell);
        let line = usize::from(cell > 4);
        fill_box(&mut picture, (x + line, y + line), (cell - line, cell - line), ground);
        let text = count.to_string();
        let width = text.len() * font.width;
        if count > 0 && width < cell && font.height <= cell {
            let (x, y) = (x + (cell + 1 - width) / 2, y + (cell + 1 - font.height) / 2);
            write(&mut picture, &text, x, y, text_colour(ground));
        }
    }
    let size = Size { height: side, width: margin };
    picture.paste(&labels(names, cell, size, true), 0, top as isize);
    picture.paste(&quarter_turn(&labels(names, cell, size, false)), left as isize, 0);
    for (line, text) in CORNER.iter().enumerate() {
        write(&mut picture, text, GAP, GAP + line * font.height, BLACK);
    }
    picture
}

/// Names beside the rows of the matrix, flush right or left; as many as there is room for.
fn labels(names: &[String], cell: usize, size: Size, flush_right: bool) -> RgbImage {
    let (font, mut labels) = (character_size(), RgbImage::filled(size, 255));
    let every = font.height.div_ceil(cell);
    for (row, name) in names.iter().enumerate().step_by(every) {
        let name = shortened(name);
        let left = if flush_right { size.width - GAP - name.chars().count() * font.width } else { GAP };
        let middle = row * cell + cell / 2;
        let top = middle.saturating_sub(font.height / 2).min(size.height.saturating_sub(font.height));
        write(&mut labels, &name, left, top, BLACK);
    }
    labels
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        Some(_) => name.chars().take(NAME - 2).chain("..".chars()).collect(),
        None => name.to_string(),
    }
}

/// From white to the whole colour; small shares are lifted, so that a rare mistake can be seen.
fn shade(share: f64, is_right: bool) -> Colour {
    let full = if is_right { RIGHT } else { WRONG };
    let strength = share.sqrt();
    std::array::from_fn(|channel| (255.0 + strength * (full[channel] as f64 - 255.0)).round() as u8)
}

/// Turned so that what was on the left is below: rows of text become columns that are read from below.
fn quarter_turn(image: &RgbImage) -> RgbImage {
    let Size { height, width } = image.size();
    let mut turned = RgbImage::filled(Size { height: width, width: height }, 255);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        turned.row_mut(width - 1 - x)[3 * y..][..3].copy_from_slice(&image.row(y)[3 * x..][..3]);
    }
    turned
}

/// The first images, the worst first, with what they show and what they were taken for.
fn contact_sheet(by_loss: &[JudgedImage], images: &ClassFolder) -> Result<RgbImage> {
    let worst = &by_loss[..by_loss.len().min(WORST)];
    let (columns, rows) = (worst.len().min(COLUMNS), worst.len().div_ceil(COLUMNS));
    let font = character_size();
    let (across, down) = (TILE + GAP, TILE + LINES * font.height + 2 * GAP);
    let size = Size { height: rows * down + GAP, width: columns * across + GAP };
    let mut sheet = RgbImage::filled(size, 255);
    for (place, judged) in worst.iter().enumerate() {
        let (left, top) = (GAP + place % COLUMNS * across, GAP + place / COLUMNS * down);
        let picture = within_tile(images.get(judged.index)?.as_ref());
        let Size { height, width } = picture.size();
        let (x, y) = (left + (TILE - width) / 2, top + (TILE - height) / 2);
        fill_box(&mut sheet, (left, top), (TILE, TILE), GRID);
        sheet.paste(&picture, x as isize, y as isize);
        caption(&mut sheet, judged, images, (left, top + TILE + GAP / 2));
    }
    Ok(sheet)
}

fn caption(sheet: &mut RgbImage, judged: &JudgedImage, images: &ClassFolder, (left, top): (usize, usize)) {
    let (names, height) = (images.names(), character_size().height);
    let class = images.class(judged.index);
    let line = |words: &str, class: usize, rest: String| {
        let room = (TILE / character_size().width).saturating_sub(words.len() + rest.len());
        format!("{words}{}{rest}", names[class].chars().take(room).collect::<String>())
    };
    let colour = if judged.predicted == class { RIGHT } else { WRONG };
    write(sheet, &line("is ", class, String::new()), left, top, BLACK);
    let score = format!(" {:.2}", judged.probability);
    write(sheet, &line("found ", judged.predicted, score), left, top + height, colour);
    write(sheet, &format!("loss {:.2}", judged.loss), left, top + 2 * height, [110; 3]);
}

/// The image scaled, in its own shape, so that its long side is the tile's.
fn within_tile(image: &RgbImage) -> RgbImage {
    let Size { height, width } = image.size();
    let scaled = |side: usize| (side * TILE / height.max(width)).max(1);
    resize(image, Size { height: scaled(height), width: scaled(width) })
}

fn fill_box(
    image: &mut RgbImage,
    (left, top): (usize, usize),
    (width, height): (usize, usize),
    colour: Colour,
) {
    let edges = [left, top, left + width, top + height].map(|edge| edge as isize);
    fill(image, edges[0], edges[1], edges[2], edges[3], colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    #[test]
    fn cells_are_white_without_images_blue_on_the_diagonal_and_red_beside_it() {
        assert_eq!((shade(0.0, true), shade(0.0, false)), (WHITE, WHITE));
        assert_eq!((shade(1.0, true), shade(1.0, false)), (RIGHT, WRONG));
        let picture = confusion_matrix(&[4, 0, 5, 0], &names(2));
        let pixels: Vec<&[u8]> = picture.data().chunks_exact(3).collect();
        assert!(pixels.contains(&&RIGHT[..]) && pixels.contains(&&WRONG[..]));
    }

    #[test]
    fn matrices_of_any_number_of_classes_are_drawn() {
        for classes in [1, 10, 100, 1000, MATRIX] {
            let counts: Vec<usize> = (0..classes * classes).map(|index| index % 7).collect();
            let size = confusion_matrix(&counts, &names(classes)).size();
            assert!(size.height < 2100 && size.width < 2100, "{classes} classes: {size:?}");
        }
    }

    #[test]
    fn a_turned_row_is_read_from_below() {
        let mut row = RgbImage::filled(Size { height: 1, width: 3 }, 0);
        row.row_mut(0)[..3].copy_from_slice(&[9; 3]);
        let column = quarter_turn(&row);
        assert_eq!((column.size(), &column.row(2)[..3]), (Size { height: 3, width: 1 }, &[9u8; 3][..]));
    }
}
