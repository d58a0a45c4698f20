//! Letterbox geometry against reference values, and its inverse.

use box_geometry::{InverseRule, Letterbox, LetterboxOptions, Padding, Size, Xyxy, rectangular_batches};
use proptest::prelude::*;
use serde_json::Value;
use test_support::{assert_close, entries};

fn size(value: &Value) -> Size {
    let side = |index: usize| value[index].as_u64().expect("a side") as usize;
    Size { height: side(0), width: side(1) }
}

fn case(row: &Value) -> Letterbox {
    let flag = |name: &str| row[name].as_bool().expect("a flag");
    let stride = row["stride"].as_u64().expect("`stride`") as usize;
    let options = LetterboxOptions {
        auto_stride: flag("auto").then_some(stride),
        scale_up: flag("scaleup"),
        scale_fill: flag("scale_fill"),
    };
    Letterbox::new(size(&row["orig_hw"]), size(&row["new_hw"]), &options).expect("valid sizes")
}

fn rows() -> Vec<(Value, f64)> {
    let rows = |entry: test_support::Entry| {
        let tolerance = entry.tolerance(&["boxes_abs_px"]);
        entry.json().as_array().expect("a list").clone().into_iter().map(move |row| (row, tolerance))
    };
    entries("letterbox").into_iter().flat_map(rows).collect()
}

fn boxes(value: &Value) -> Vec<Xyxy> {
    let number = |value: &Value| value.as_f64().expect("a number") as f32;
    let bbox = |row: &Value| Xyxy::new(number(&row[0]), number(&row[1]), number(&row[2]), number(&row[3]));
    value.as_array().expect("boxes").iter().map(bbox).collect()
}

#[test]
fn golden_geometry() {
    for (row, _) in rows() {
        let letterbox = case(&row);
        let pad = |name: &str| row["pad"][name].as_u64().expect("a padding") as usize;
        let padding =
            Padding { top: pad("top"), bottom: pad("bottom"), left: pad("left"), right: pad("right") };
        let resized = size(&row["resized_wh"]);
        assert_eq!(letterbox.resized(), Size { height: resized.width, width: resized.height }, "{row}");
        assert_eq!(letterbox.padding(), padding, "{row}");
        assert_eq!(letterbox.output(), size(&row["out_hw"]), "{row}");
        for (axis, gain) in letterbox.gain().into_iter().enumerate() {
            assert!((gain - row["ratio_wh"][axis].as_f64().unwrap()).abs() < 1e-12, "{row}");
        }
    }
}

#[test]
fn golden_boxes_back_to_the_original() {
    let rules = [
        ("boxes_out_classic", InverseRule::Classic),
        ("boxes_out_current", InverseRule::Current),
        ("boxes_out_exact_inverse", InverseRule::Current),
    ];
    for (row, tolerance) in rows() {
        let letterbox = case(&row);
        for (name, rule) in rules {
            if row[name].is_null() {
                continue; // not every convention is defined for every setting
            }
            let got: Vec<_> =
                boxes(&row["boxes_in"]).iter().map(|b| letterbox.inverse(b, rule).to_array()).collect();
            let want: Vec<_> = boxes(&row[name]).iter().map(Xyxy::to_array).collect();
            assert_close(
                &format!("{name} of {}", row["orig_hw"]),
                got.as_flattened(),
                want.as_flattened(),
                tolerance,
            );
        }
    }
}

#[test]
fn rectangular_batches_share_the_smallest_input() {
    // The shape of the BCCD images at 320.
    let batches = rectangular_batches(&[Size { height: 480, width: 640 }; 3], 2, 320, 32, 0.5).unwrap();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].images, [0, 1]);
    assert_eq!(batches[0].size, Size { height: 256, width: 320 + 32 });

    let mixed = [
        Size { height: 640, width: 480 },
        Size { height: 200, width: 400 },
        Size { height: 300, width: 400 },
    ];
    let batches = rectangular_batches(&mixed, 2, 640, 32, 0.0).unwrap();
    assert_eq!(batches[0].images, [1, 2]);
    assert_eq!(batches[0].size, Size { height: 480, width: 640 });
    assert_eq!(batches[1].size, Size { height: 640, width: 480 });
}

#[test]
fn sizes_of_zero_are_refused() {
    let options = LetterboxOptions { auto_stride: None, scale_up: true, scale_fill: false };
    let error =
        Letterbox::new(Size { height: 0, width: 5 }, Size { height: 32, width: 32 }, &options).unwrap_err();
    assert!(error.to_string().contains("0x5"), "{error}");
}

proptest! {
    #[test]
    fn inverse_undoes_forward(
        (height, width) in (1usize..2000, 1usize..2000),
        (target_height, target_width) in (1usize..40, 1usize..40),
        (auto, scale_up, scale_fill) in any::<(bool, bool, bool)>(),
        edges in prop::array::uniform4(0.0f32..1.0),
    ) {
        let target = Size { height: target_height * 32, width: target_width * 32 };
        let options = LetterboxOptions { auto_stride: auto.then_some(32), scale_up, scale_fill };
        let original = Size { height, width };
        let letterbox = Letterbox::new(original, target, &options).unwrap();
        let [a, b, c, d] = edges;
        let bbox = Xyxy::new(a.min(b), c.min(d), a.max(b), c.max(d)).scale(width as f32, height as f32);
        let forward = letterbox.forward(&bbox);
        let output = letterbox.output();
        prop_assert!(output.height <= target.height && output.width <= target.width);
        if auto && !scale_fill {
            prop_assert_eq!((target.height - output.height) % 32, 0);
        }
        prop_assert!(forward.x1 >= -1e-3 && forward.x2 <= output.width as f32 + 1e-3);
        prop_assert!(forward.y1 >= -1e-3 && forward.y2 <= output.height as f32 + 1e-3);
        let back = letterbox.inverse(&forward, InverseRule::Current);
        // One unit in the last place of a network pixel, in original pixels.
        let resized = letterbox.resized();
        let allowed = [width as f32 / resized.width as f32, height as f32 / resized.height as f32].map(|s| 2e-3 * s.max(1.0));
        for side in 0..4 {
            let difference = (back.to_array()[side] - bbox.to_array()[side]).abs();
            prop_assert!(difference <= allowed[side % 2], "{:?} {:?}", back, bbox);
        }
    }
}
