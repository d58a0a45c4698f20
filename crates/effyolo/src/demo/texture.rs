//! What the shapes are filled with.

use detect_data::Generator;

/// Red, green, blue.
pub(crate) type Colour = [f64; 3];

#[derive(Debug, Clone, Copy)]
enum Pattern {
    Plain,
    Stripes,
    Checks,
    Dots,
}

/// Two colours in a pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texture {
    pattern: Pattern,
    colours: [Colour; 2],
    /// Repetitions of the pattern over half a shape.
    frequency: f64,
    direction: (f64, f64),
}

impl Texture {
    /// A texture whose first colour stands out from `background`.
    pub(crate) fn draw(background: Colour, generator: &mut Generator) -> Self {
        let first = standing_out(background, generator);
        let shade = generator.uniform(0.45, 0.75);
        let patterns = [Pattern::Plain, Pattern::Stripes, Pattern::Checks, Pattern::Dots];
        let angle = generator.uniform(0.0, std::f64::consts::TAU);
        Texture {
            pattern: patterns[generator.below(patterns.len())],
            colours: [first, first.map(|channel| channel * shade)],
            frequency: generator.uniform(1.5, 3.0),
            direction: angle.sin_cos(),
        }
    }

    /// Colour at a point of the shape.
    pub(crate) fn at(&self, x: f64, y: f64) -> Colour {
        let (sin, cos) = self.direction;
        let (u, v) = ((x * cos + y * sin) * self.frequency, (y * cos - x * sin) * self.frequency);
        let second = match self.pattern {
            Pattern::Plain => false,
            Pattern::Stripes => u.rem_euclid(2.0) < 1.0,
            Pattern::Checks => (u.floor() + v.floor()).rem_euclid(2.0) < 1.0,
            Pattern::Dots => (u.rem_euclid(1.0) - 0.5).hypot(v.rem_euclid(1.0) - 0.5) < 0.3,
        };
        self.colours[usize::from(second)]
    }
}

/// Any colour.
pub(crate) fn any_colour(generator: &mut Generator) -> Colour {
    [0, 1, 2].map(|_| generator.uniform(0.0, 255.0))
}

/// The first of some random colours that is far from `background`, or the farthest.
fn standing_out(background: Colour, generator: &mut Generator) -> Colour {
    let distance =
        |colour: &Colour| -> f64 { colour.iter().zip(background).map(|(a, b)| (a - b).abs()).sum() };
    let mut best = any_colour(generator);
    for _ in 0..20 {
        if distance(&best) > 240.0 {
            break;
        }
        let other = any_colour(generator);
        if distance(&other) > distance(&best) {
            best = other;
        }
    }
    best
}
