//! Files as strangers make them, one table entry a case: what becomes of each, and that none panics or hangs.

mod sets;

use box_geometry::Size;
use detect_data::{
    DEFAULT_MAX_PIXELS, Dataset, FileDataset, ImageCheck, ImageHeader, NoteKind, OpenOptions, RgbImage,
};
use proptest::prelude::*;
use sets::{write_image, write_labels};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// No case may take longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: Size = Size { height: 12, width: 16 };
const RED: [u8; 3] = [200, 30, 40];

/// What becomes of an image.
enum Image {
    /// Used; its size and about its colour.
    Used(Size, [u8; 3]),
    /// Used, with a note.
    Noted(Size, [u8; 3], NoteKind),
    /// Left out: kind of problem, part of the message.
    LeftOut(&'static str, &'static str),
}

/// Opens what a case made beside one good image, in bounded time.
fn open(folder: &Path) -> FileDataset {
    let images = folder.join("images");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let options = OpenOptions { check: ImageCheck::Decode, max_pixels: DEFAULT_MAX_PIXELS, threads: 2 };
        // Nobody listens any more where the answer came too late.
        sender.send(FileDataset::open_yolo(&[images], vec!["cat".into(), "dog".into()], &options)).ok();
    });
    receiver.recv_timeout(PATIENCE).expect("an answer in time").unwrap()
}

fn good_set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_image(&folder.path().join("images/0good.png"), SIZE, 9);
    write_labels(folder.path(), "0good.txt", "0 .5 .5 .5 .5\n");
    folder
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn red() -> image::RgbImage {
    image::RgbImage::from_pixel(SIZE.width as u32, SIZE.height as u32, image::Rgb(RED))
}

fn encoded(image: image::DynamicImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(image: impl Into<image::DynamicImage>) -> Vec<u8> {
    encoded(image.into(), image::ImageFormat::Png)
}

fn jpeg() -> Vec<u8> {
    encoded(red().into(), image::ImageFormat::Jpeg)
}

/// A larger JPEG with something in it, so that half of it is not enough.
fn photograph() -> Vec<u8> {
    let noise =
        |x: u32, y: u32| (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 13) as u8;
    encoded(
        image::RgbImage::from_fn(200, 150, |x, y| image::Rgb([noise(x, y), noise(y, x), 90])).into(),
        image::ImageFormat::Jpeg,
    )
}

fn half(bytes: Vec<u8>) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

/// A JPEG whose frame header announces another size.
fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// The header of a BMP file, and nothing behind it.
fn bmp_of(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(b"\x01\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes
}

/// A GIF of 16 x 12 pixels whose first picture claims to have 65535 x 65535.
fn gif_with_a_huge_picture() -> Vec<u8> {
    let mut bytes = fixture("animated.gif");
    let descriptor = bytes.windows(5).position(|part| part == [0x2c, 0, 0, 0, 0]).unwrap();
    bytes[descriptor + 5..descriptor + 9].fill(0xff);
    bytes
}

/// A JPEG with an EXIF segment that says: a quarter turn.
fn turned() -> Vec<u8> {
    let plain = jpeg();
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = [0, (2 + 6 + tiff.len()) as u8];
    [&plain[..2], &[0xff, 0xe1], &length, b"Exif\0\0", tiff, &plain[2..]].concat()
}

fn bytes_cases() -> Vec<(&'static str, Vec<u8>, Image)> {
    use Image::*;
    let one = image::RgbImage::from_pixel(1, 1, image::Rgb(RED));
    let grey = image::GrayImage::from_pixel(16, 12, image::Luma([77]));
    let deep = image::ImageBuffer::from_pixel(16, 12, image::Rgb(RED.map(|value| u16::from(value) * 257)));
    let deep_grey = image::ImageBuffer::from_pixel(16, 12, image::Luma([77u16 * 257]));
    let glass = image::RgbaImage::from_pixel(16, 12, image::Rgba([200, 30, 40, 0]));
    let floats = image::Rgb32FImage::from_pixel(16, 12, image::Rgb([1.0, 0.0, 0.0]));
    let undecodable = "image that cannot be decoded";
    vec![
        ("empty.jpg", vec![], LeftOut(undecodable, "expected an image")),
        (
            "text.jpg",
            b"<html>not found</html>".to_vec(),
            LeftOut(undecodable, "jpg, png, bmp, gif, webp, tiff"),
        ),
        ("short.png", half(png(red())), LeftOut(undecodable, "decoding failed")),
        ("short.jpg", half(photograph()), LeftOut(undecodable, "decoding failed")),
        ("header.jpg", jpeg()[..30].to_vec(), LeftOut(undecodable, "decoding failed")),
        ("pixel.png", png(one), LeftOut("image too small", "found 1 x 1")),
        ("huge.bmp", bmp_of(30_000, 30_000), LeftOut("image too large", "30000 x 30000")),
        ("huge.jpg", jpeg_of(30_000, 30_000), LeftOut("image too large", "max_pixels")),
        ("large.bmp", bmp_of(9_000, 9_000), LeftOut(undecodable, "decoding failed")),
        ("picture.gif", gif_with_a_huge_picture(), LeftOut(undecodable, "decoding failed")),
        ("none.bmp", bmp_of(0, 0), LeftOut(undecodable, "decoding failed")),
        (
            "phone.heic",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(),
            LeftOut(undecodable, "expected an image"),
        ),
        ("cmyk.jpg", fixture("cmyk.jpg"), Used(SIZE, [235, 51, 51])),
        ("grey.png", png(grey), Used(SIZE, [77; 3])),
        ("deep.png", png(deep), Used(SIZE, RED)),
        ("deep-grey.png", png(deep_grey), Used(SIZE, [77; 3])),
        ("floats.tiff", encoded(floats.into(), image::ImageFormat::Tiff), Used(SIZE, [255, 0, 0])),
        ("palette.png", fixture("palette.png"), Used(SIZE, RED)),
        ("alpha.png", png(glass), Used(SIZE, RED)),
        ("turned.jpg", turned(), Used(Size { height: 16, width: 12 }, RED)),
        ("jpeg.png", jpeg(), Used(SIZE, RED)),
        ("animated.gif", fixture("animated.gif"), Noted(SIZE, RED, NoteKind::Animated)),
        ("animated.png", fixture("animated.png"), Noted(SIZE, RED, NoteKind::Animated)),
        ("animated.webp", fixture("animated.webp"), Noted(SIZE, RED, NoteKind::Animated)),
        ("with blanks  .png", png(red()), Used(SIZE, RED)),
        ("ünï漢字.png", png(red()), Used(SIZE, RED)),
        ("-rf.png", png(red()), Used(SIZE, RED)),
        (".png.png", png(red()), Used(SIZE, RED)),
    ]
}

#[test]
fn images_are_used_or_left_out_with_a_reason() {
    for (name, bytes, expected) in bytes_cases() {
        let folder = good_set();
        std::fs::write(folder.path().join("images").join(name), bytes).unwrap();
        check(name, &open(folder.path()), expected);
    }
}

fn check(name: &str, dataset: &FileDataset, expected: Image) {
    let report = dataset.report();
    let listed: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let is_it = |index: &usize| dataset.path(*index).ends_with(name);
    let index = (0..dataset.len()).find(is_it);
    let used = match expected {
        Image::LeftOut(kind, part) => {
            assert_eq!(index, None, "{name}");
            assert_eq!(report.counts().into_iter().collect::<Vec<_>>(), [(kind, 1)], "{name}: {listed:?}");
            assert!(listed[0].contains(part) && !listed[0].contains('\n'), "{name}: {listed:?}");
            assert_eq!((report.bad_images, dataset.len()), (1, 1), "{name}");
            return;
        }
        Image::Used(size, colour) => (size, colour, vec![]),
        Image::Noted(size, colour, note) => (size, colour, vec![note]),
    };
    let (size, colour, notes) = used;
    let index = index.unwrap_or_else(|| panic!("{name}: {listed:?}"));
    assert_eq!(report.notes.iter().map(|note| note.kind.clone()).collect::<Vec<_>>(), notes, "{name}");
    let image = dataset.get(index).unwrap().image;
    assert_eq!((dataset.size(index), image.size()), (size, size), "{name}");
    let near = image.row(5)[15..18].iter().zip(colour).all(|(got, want)| got.abs_diff(want) <= 4);
    assert!(near, "{name}: {:?}, expected {colour:?}", &image.row(5)[15..18]);
}

#[cfg(target_os = "linux")]
type Make = fn(&Path);

/// Name, how to make it, kind of problem, part of the message.
#[cfg(target_os = "linux")]
fn special_cases() -> [(&'static str, Make, &'static str, &'static str); 6] {
    use std::os::unix::fs::symlink;
    let socket: Make = |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    [
        ("pipe.jpg", pipe, "image that is no file", "named pipe"),
        ("socket.jpg", socket, "image that is no file", "socket"),
        ("device.jpg", |path| symlink("/dev/zero", path).unwrap(), "image that is no file", "device"),
        ("loop.jpg", |path| symlink(path, path).unwrap(), "unreadable image", "symbolic links"),
        ("nowhere.jpg", |path| symlink("absent.jpg", path).unwrap(), "missing image", "no such file"),
        // A file that the system refuses to read, whoever asks.
        (
            "refused.jpg",
            |path| symlink("/proc/self/mem", path).unwrap(),
            "unreadable image",
            "cannot be read",
        ),
    ]
}

#[cfg(target_os = "linux")]
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_ordinary_file_is_not_opened() {
    for (name, make, kind, part) in special_cases() {
        let folder = good_set();
        make(&folder.path().join("images").join(name));
        check(name, &open(folder.path()), Image::LeftOut(kind, part));
    }
    // The same for a label file: an image of which the labels are not known is no background.
    let folder = good_set();
    write_image(&folder.path().join("images/other.png"), SIZE, 9);
    pipe(&folder.path().join("labels/other.txt"));
    check("other.png", &open(folder.path()), Image::LeftOut("unreadable label file", "named pipe"));
}

#[cfg(unix)]
#[test]
fn a_name_with_a_line_end_stays_on_one_line_and_its_labels_are_found() {
    let folder = good_set();
    write_image(&folder.path().join("images/new\nline.png"), SIZE, 9);
    write_labels(folder.path(), "new\nline.txt", "0 .5 .5 .2 .2\n9 .5 .5 .2 .2\n");
    let dataset = open(folder.path());
    assert_eq!((dataset.len(), dataset.box_count()), (2, 2));
    let message = dataset.report().problems[0].to_string();
    assert!(message.contains("new\\nline.txt:2: ") && !message.contains('\n'), "{message}");
}

#[test]
fn a_folder_may_be_called_like_an_image() {
    let folder = good_set();
    write_image(&folder.path().join("images/album.jpg/inside.png"), SIZE, 9);
    assert_eq!(open(folder.path()).len(), 2);
}

#[test]
fn images_that_share_a_label_file_are_both_used_and_named() {
    let folder = good_set();
    write_image(&folder.path().join("images/0good.jpg"), SIZE, 9);
    let dataset = open(folder.path());
    assert_eq!((dataset.len(), dataset.box_count()), (2, 2));
    let note = dataset.report().notes[0].to_string();
    assert!(note.contains("0good.png: has the same label file as ") && note.contains("0good.jpg"), "{note}");
}

#[test]
fn the_limit_of_pixels_is_the_callers() {
    let bytes = png(red());
    assert!(RgbImage::decode(&bytes, 16 * 12).is_ok());
    let error = RgbImage::decode(&bytes, 16 * 12 - 1).unwrap_err().to_string();
    assert!(error.contains("at most 191 pixels") && error.contains("16 x 12"), "{error}");
}

/// What becomes of a label file: boxes, and kinds of problems with their number.
type Labels = (usize, &'static [(&'static str, usize)]);

fn rows(row: impl Fn(usize) -> String, count: usize) -> Vec<u8> {
    (0..count).map(row).collect::<String>().into_bytes()
}

fn label_cases() -> Vec<(&'static str, Vec<u8>, Labels)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let spread = |i: usize| format!("0 0.{:05} 0.5 0.001 0.1\n", 10_000 + i % 80_000 + 1);
    const GOOD: &str = "0 .5 .5 .2 .2\n";
    const ONE_WRONG: &[(&str, usize)] = &[("wrong row", 1)];
    const IMAGE: &[(&str, usize)] = &[("image without a usable label", 1), ("wrong row", 1)];
    vec![
        ("empty", vec![], (0, &[])),
        ("blank rows", text("\n  \n\r\n"), (0, &[])),
        ("CRLF and byte order mark", text("\u{feff}0 .5 .5 .2 .2\r\n1 .5 .5 .2 .2\r\n"), (2, &[])),
        ("no line end", text("1 .5 .5 .2 .2"), (1, &[])),
        ("polygon", text("1 .1 .1 .3 .1 .2 .4\n"), (1, &[])),
        ("too few columns", text(&format!("{GOOD}0 .5 .5 .2\n")), (1, ONE_WRONG)),
        ("too many columns", text(&format!("{GOOD}0 .5 .5 .2 .2 .9\n")), (1, ONE_WRONG)),
        ("NaN", text(&format!("{GOOD}0 .5 nan .2 .2\n")), (1, ONE_WRONG)),
        ("infinity", text(&format!("{GOOD}0 .5 .5 inf .2\n")), (1, ONE_WRONG)),
        ("1e400", text(&format!("{GOOD}0 1e400 .5 .2 .2\n")), (1, ONE_WRONG)),
        ("pixels", text("0 320 240 50 60\n"), (0, IMAGE)),
        ("negative", text(&format!("{GOOD}0 -.5 .5 .2 .2\n")), (1, ONE_WRONG)),
        ("class out of range", text(&format!("{GOOD}2 .5 .5 .2 .2\n")), (1, ONE_WRONG)),
        ("class name", text(&format!("{GOOD}cat .5 .5 .2 .2\n")), (1, ONE_WRONG)),
        ("zero width", text(&format!("{GOOD}0 .5 .5 0 .2\n")), (1, ONE_WRONG)),
        ("denormal height", text(&format!("{GOOD}0 .5 .5 .2 1e-300\n")), (1, ONE_WRONG)),
        ("flat polygon", text(&format!("{GOOD}0 .1 .1 .2 .1 .3 .1\n")), (1, ONE_WRONG)),
        ("commas", text("0,.5,.5,.2,.2\n"), (0, IMAGE)),
        ("other bytes", b"0 .5 .5 .2 .2\n\xc3\x28\xa0\xff .5 .5 .2 .2\n".to_vec(), (1, ONE_WRONG)),
        ("UTF-16", utf16("\u{feff}0 .5 .5 .2 .2\n"), (0, &[("label file that is no text", 1)])),
        ("binary", png(red()), (0, &[("label file that is no text", 1)])),
        ("the same box twice", text(&format!("{GOOD}{GOOD}")), (1, &[("repeated row", 1)])),
        ("80,000 boxes", rows(spread, 80_000), (80_000, &[])),
        ("100,000 times one box", rows(|_| GOOD.into(), 100_000), (1, &[("repeated row", 99_999)])),
        (
            "100,000 wrong rows",
            rows(|i| format!("x{i}\n"), 100_000),
            (0, &[("image without a usable label", 1), ("wrong row", 100_000)]),
        ),
        ("one row of 15 MB", vec![b'7'; 15 << 20], (0, IMAGE)),
        ("17 MB", vec![b'\n'; 17 << 20], (0, &[("unreadable label file", 1)])),
    ]
}

#[test]
fn labels_are_used_or_left_out_with_a_reason() {
    for (name, bytes, (boxes, kinds)) in label_cases() {
        let folder = good_set();
        write_image(&folder.path().join("images/case.png"), SIZE, 9);
        std::fs::write(folder.path().join("labels/case.txt"), bytes).unwrap();
        let dataset = open(folder.path());
        let report = dataset.report();
        let listed = report.problems.first().map(ToString::to_string);
        assert_eq!(report.counts().into_iter().collect::<Vec<_>>(), kinds, "{name}: {listed:?}");
        assert_eq!(dataset.box_count(), boxes + 1, "{name}");
        for problem in &report.problems {
            let message = problem.to_string();
            assert!(message.contains("case.") && message.len() < 600, "{name}: {message:.600}");
        }
        let left_out = kinds.iter().any(|(kind, _)| kind.contains("image") || kind.contains("file"));
        assert_eq!(dataset.len(), if left_out { 1 } else { 2 }, "{name}: labelled wrongly is no background");
    }
}

/// Small files of each format.
fn small_files() -> Vec<Vec<u8>> {
    let formats = [image::ImageFormat::Bmp, image::ImageFormat::Tiff, image::ImageFormat::WebP];
    let mut files: Vec<Vec<u8>> = formats.map(|format| encoded(red().into(), format)).to_vec();
    files.extend([png(red()), jpeg(), turned()]);
    files.extend(["cmyk.jpg", "palette.png", "animated.gif", "animated.png", "animated.webp"].map(fixture));
    files
}

proptest! {
    #[test]
    fn damaged_images_are_decoded_or_refused(
        file in prop::sample::select(small_files()), keep in 0usize..1000,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)
    ) {
        let mut bytes = file;
        bytes.truncate(keep.max(1));
        changes.iter().for_each(|(index, byte)| *index.get_mut(&mut bytes) = *byte);
        const LIMIT: usize = 1 << 16;
        let header = ImageHeader::read(&bytes, LIMIT);
        if let Ok(image) = RgbImage::decode(&bytes, LIMIT) {
            prop_assert_eq!(header.unwrap().size, image.size());
            prop_assert!(image.size().height * image.size().width <= LIMIT);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_documentation_counts_these_cases() {
    let page = include_str!("../../../docs/datasets.md");
    let (images, special, labels) = (bytes_cases().len(), special_cases().len(), label_cases().len());
    let counts = format!("{images} images, {special} special files, {labels} label files");
    assert!(page.contains(&counts), "{counts}");
}
