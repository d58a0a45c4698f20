//! Conversions of boxes.

use box_geometry::{AnchorGrid, CxCyWh, Size, Xyxy, bbox2dist, dist2bbox};
use proptest::prelude::*;

fn boxes() -> impl Strategy<Value = Xyxy> {
    (0.0f32..1000.0, 0.0f32..1000.0, 0.0f32..500.0, 0.0f32..500.0)
        .prop_map(|(x, y, w, h)| Xyxy::new(x, y, x + w, y + h))
}

fn close(a: [f32; 4], b: [f32; 4], tolerance: f32) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

proptest! {
    #[test]
    fn corners_and_centres_convert_back(bbox in boxes()) {
        prop_assert!(close(bbox.to_cxcywh().to_xyxy().to_array(), bbox.to_array(), 1e-3));
    }

    #[test]
    fn normalised_boxes_convert_back(bbox in boxes(), height in 1usize..3000, width in 1usize..3000) {
        let (size, centred) = (Size { height, width }, bbox.to_cxcywh());
        let back = centred.normalise(size).denormalise(size);
        prop_assert!(close([back.cx, back.cy, back.w, back.h], [centred.cx, centred.cy, centred.w, centred.h], 1e-3));
    }

    #[test]
    fn distances_convert_back(sides in prop::array::uniform4(0.0f32..14.9), centre in prop::array::uniform2(0.0f32..80.0)) {
        let back = bbox2dist(&dist2bbox(sides, centre), centre, 15);
        prop_assert!(close(back, sides, 1e-4));
    }

    #[test]
    fn iou_is_symmetric_and_at_most_one(a in boxes(), b in boxes()) {
        let iou = a.iou(&b);
        prop_assert!((0.0..=1.0 + 1e-6).contains(&iou));
        prop_assert!((iou - b.iou(&a)).abs() < 1e-6);
        prop_assert!(a.area() < 1.0 || (a.iou(&a) - 1.0).abs() < 1e-3);
    }
}

#[test]
fn iou_of_known_boxes() {
    let a = Xyxy::new(0.0, 0.0, 2.0, 2.0);
    assert_eq!(a.iou(&Xyxy::new(1.0, 0.0, 3.0, 2.0)), 1.0 / 3.0);
    assert_eq!(a.iou(&Xyxy::new(2.0, 0.0, 3.0, 2.0)), 0.0);
    let point = Xyxy::new(1.0, 1.0, 1.0, 1.0);
    assert_eq!(point.iou(&point), 0.0);
    assert_eq!(CxCyWh::new(1.0, 1.0, 2.0, 2.0).to_xyxy(), a);
    assert_eq!(
        Xyxy::new(-1.0, 1.0, 9.0, 9.0).clip(Size { height: 4, width: 5 }),
        Xyxy::new(0.0, 1.0, 5.0, 4.0)
    );
}

#[test]
fn anchor_grid_of_an_input() {
    let grid = AnchorGrid::for_input(Size { height: 64, width: 96 }, &[8, 16, 32]).unwrap();
    assert_eq!(grid.len(), 96 + 24 + 6);
    assert_eq!(grid.centre_px(97), [24.0, 8.0]);
    let error = AnchorGrid::for_input(Size { height: 60, width: 96 }, &[8, 16]).unwrap_err();
    assert!(error.to_string().contains("stride 8"), "{error}");
}
