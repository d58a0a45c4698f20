//! A picture: a cluttered background and the objects on it.

use super::shape::Shape;
use super::texture::{Colour, Texture, any_colour};
use box_geometry::{Size, Xyxy};
use detect_data::{Generator, RgbImage};

/// Share of pictures without any object.
const EMPTY: f64 = 0.12;
/// Objects of the other pictures.
const OBJECTS: std::ops::RangeInclusive<usize> = 2..=6;
/// Share of objects that are small, and the range of their diameters in pixels.
const SMALL: (f64, f64, f64) = (0.22, 9.5, 11.8);
/// Diameters of the others.
const LARGE: (f64, f64) = (16.0, 52.0);
/// Share of objects that are put beside the one before, so that they overlap.
const CROWDED: f64 = 0.15;
/// Largest rotation in radians.
const ROTATION: f64 = 0.35;
/// Strength of the background's contrast and of the noise, in grey levels.
const CONTRAST: f64 = 38.0;
const NOISE: f64 = 6.0;
/// Points a pixel is sampled at, in each direction.
const SAMPLES: usize = 3;
/// Share of an object that must be visible, and inside the picture, for it to be labelled.
const VISIBLE: f64 = 0.5;

/// An object and the box around what of it lies in the picture, in pixels.
pub(crate) struct Object {
    pub(crate) shape: Shape,
    pub(crate) xyxy: Xyxy,
}

/// A picture with its labels.
pub(crate) struct Scene {
    pub(crate) image: RgbImage,
    pub(crate) objects: Vec<Object>,
}

/// Where and how an object is drawn.
struct Placed {
    shape: Shape,
    texture: Texture,
    centre: (f64, f64),
    radius: f64,
    rotation: (f64, f64),
}

/// A picture while it is drawn.
struct Canvas {
    side: usize,
    pixels: Vec<Colour>,
    /// The topmost object of each pixel.
    owners: Vec<Option<usize>>,
}

impl Scene {
    /// A square picture; everything about it comes from `generator`.
    pub(crate) fn draw(side: usize, generator: &mut Generator) -> Self {
        let base = any_colour(generator).map(|channel| 60.0 + channel * 0.53);
        let mut canvas = Canvas::background(side, base, generator);
        let some = OBJECTS.start() + generator.below(OBJECTS.count());
        let count = if generator.chance(EMPTY) { 0 } else { some };
        let mut drawn: Vec<(Placed, Vec<usize>, f64)> = Vec::new();
        for index in 0..count {
            let placed = Placed::draw(side, base, drawn.last().map(|(before, ..)| before), generator);
            let (pixels, whole) = canvas.paint(&placed, index);
            drawn.push((placed, pixels, whole));
        }
        let objects = drawn.iter().enumerate().filter_map(|(index, (placed, pixels, whole))| {
            let visible = pixels.iter().filter(|&&pixel| canvas.owners[pixel] == Some(index)).count();
            let is_labelled = visible as f64 >= VISIBLE * whole;
            is_labelled.then(|| Object { shape: placed.shape, xyxy: extent(pixels, side) })
        });
        let objects = objects.collect();
        Scene { image: canvas.finish(generator), objects }
    }
}

impl Placed {
    fn draw(side: usize, base: Colour, before: Option<&Placed>, generator: &mut Generator) -> Self {
        let (share, least, most) = SMALL;
        let diameter = if generator.chance(share) {
            generator.uniform(least, most)
        } else {
            generator.uniform(LARGE.0.ln(), LARGE.1.ln()).exp()
        };
        let anywhere = [0, 1].map(|_| generator.uniform(0.0, side as f64));
        let centre = match before {
            Some(before) if generator.chance(CROWDED) => {
                let near = |centre: f64, generator: &mut Generator| {
                    (centre + generator.symmetric(before.radius + diameter / 2.0)).clamp(0.0, side as f64)
                };
                (near(before.centre.0, generator), near(before.centre.1, generator))
            }
            _ => (anywhere[0], anywhere[1]),
        };
        Placed {
            shape: Shape::ALL[generator.below(Shape::ALL.len())],
            texture: Texture::draw(base, generator),
            centre,
            radius: diameter / 2.0,
            rotation: generator.symmetric(ROTATION).sin_cos(),
        }
    }

    /// Coordinates in the shape's own square of a point of the picture.
    fn to_shape(&self, x: f64, y: f64) -> (f64, f64) {
        let (dx, dy) = ((x - self.centre.0) / self.radius, (y - self.centre.1) / self.radius);
        let (sin, cos) = self.rotation;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }
}

impl Canvas {
    /// A gradient with soft blobs and bars.
    fn background(side: usize, base: Colour, generator: &mut Generator) -> Self {
        let slope = [0, 1].map(|_| generator.symmetric(CONTRAST) / side as f64);
        let mut canvas = Canvas { side, pixels: vec![base; side * side], owners: vec![None; side * side] };
        canvas
            .shade(|x, y| (x - side as f64 / 2.0) * slope[0] + (y - side as f64 / 2.0) * slope[1], [1.0; 3]);
        for _ in 0..6 + generator.below(8) {
            let (x, y) = (generator.uniform(0.0, side as f64), generator.uniform(0.0, side as f64));
            let (width, height) = (generator.uniform(6.0, 40.0), generator.uniform(6.0, 40.0));
            let tint = [0, 1, 2].map(|_| generator.symmetric(CONTRAST));
            let hard = generator.chance(0.5);
            canvas.shade(
                |px, py| {
                    let distance = ((px - x) / width).powi(2) + ((py - y) / height).powi(2);
                    if hard { f64::from(u8::from(distance < 0.6)) } else { (-2.0 * distance).exp() }
                },
                tint,
            );
        }
        for _ in 0..2 + generator.below(4) {
            let (sin, cos) = generator.uniform(0.0, std::f64::consts::TAU).sin_cos();
            let offset = generator.uniform(-0.2, 1.2) * side as f64;
            let width = generator.uniform(0.7, 2.5);
            let tint = [0, 1, 2].map(|_| generator.symmetric(1.5 * CONTRAST));
            canvas.shade(|x, y| f64::from(u8::from((x * cos + y * sin - offset).abs() < width)), tint);
        }
        canvas
    }

    /// Adds `strength(x, y) * tint` to every pixel.
    fn shade(&mut self, strength: impl Fn(f64, f64) -> f64, tint: Colour) {
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = ((index % self.side) as f64 + 0.5, (index / self.side) as f64 + 0.5);
            let strength = strength(x, y);
            pixel.iter_mut().zip(tint).for_each(|(channel, tint)| *channel += strength * tint);
        }
    }

    /// Paints an object; the pixels that it covers at least half of, and its area in pixels.
    fn paint(&mut self, placed: &Placed, index: usize) -> (Vec<usize>, f64) {
        let mut covered = Vec::new();
        let mut area = 0.0;
        let reach = 1.5 * placed.radius + 1.0;
        let range = |centre: f64| (centre - reach).floor() as isize..(centre + reach).ceil() as isize;
        for (y, x) in range(placed.centre.1).flat_map(|y| range(placed.centre.0).map(move |x| (y, x))) {
            let (share, colour) = self.coverage(placed, x, y);
            area += share;
            let is_inside = |v: isize| (0..self.side as isize).contains(&v);
            if share == 0.0 || !is_inside(x) || !is_inside(y) {
                continue;
            }
            let pixel = y as usize * self.side + x as usize;
            for (old, new) in self.pixels[pixel].iter_mut().zip(colour) {
                *old = *old * (1.0 - share) + new * share;
            }
            if share >= 0.5 {
                self.owners[pixel] = Some(index);
                covered.push(pixel);
            }
        }
        (covered, area)
    }

    /// Share of a pixel that an object covers, and its mean colour there.
    fn coverage(&self, placed: &Placed, x: isize, y: isize) -> (f64, Colour) {
        let (mut hits, mut sum) = (0.0, [0.0; 3]);
        for sample in 0..SAMPLES * SAMPLES {
            let offset = |step: usize| (step as f64 + 0.5) / SAMPLES as f64;
            let (dx, dy) = (offset(sample % SAMPLES), offset(sample / SAMPLES));
            let (u, v) = placed.to_shape(x as f64 + dx, y as f64 + dy);
            if placed.shape.contains(u, v) {
                hits += 1.0;
                sum.iter_mut().zip(placed.texture.at(u, v)).for_each(|(sum, channel)| *sum += channel);
            }
        }
        (hits / (SAMPLES * SAMPLES) as f64, sum.map(|sum| sum / f64::max(hits, 1.0)))
    }

    /// The picture, with noise.
    fn finish(self, generator: &mut Generator) -> RgbImage {
        let mut noisy = |channel: f64| (channel + generator.symmetric(NOISE)).round().clamp(0.0, 255.0) as u8;
        let bytes = self.pixels.iter().flatten().map(|&channel| noisy(channel)).collect();
        RgbImage::new(Size { height: self.side, width: self.side }, bytes)
    }
}

/// The box around pixels.
fn extent(pixels: &[usize], side: usize) -> Xyxy {
    let range = |coordinate: fn(usize, usize) -> usize| {
        let values = pixels.iter().map(|&pixel| coordinate(pixel, side));
        values.fold((usize::MAX, 0), |(low, high), value| (low.min(value), high.max(value + 1)))
    };
    let ((x1, x2), (y1, y2)) = (range(|pixel, side| pixel % side), range(|pixel, side| pixel / side));
    Xyxy::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32)
}
