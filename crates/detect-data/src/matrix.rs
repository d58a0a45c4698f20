//! Projective maps of the plane.

/// A 3x3 matrix, rows first; it maps the column `(x, y, 1)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix(pub [[f64; 3]; 3]);

impl Matrix {
    /// The map that changes nothing.
    pub const IDENTITY: Matrix = Matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// Moves by `(x, y)`.
    pub fn translation(x: f64, y: f64) -> Self {
        Matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    /// Turns by `radians` about the origin, anticlockwise as one sees it on an image whose y runs downwards, and
    /// scales.
    pub fn rotation(radians: f64, scale: f64) -> Self {
        let (sin, cos) = radians.sin_cos();
        Matrix([[scale * cos, scale * sin, 0.0], [-scale * sin, scale * cos, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Shears by `x` along the rows and by `y` along the columns.
    pub fn shear(x: f64, y: f64) -> Self {
        Matrix([[1.0, x, 0.0], [y, 1.0, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Perspective with the terms `x` and `y`.
    pub fn perspective(x: f64, y: f64) -> Self {
        Matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [x, y, 1.0]])
    }

    /// The map that applies `first`, then `self`.
    pub fn after(&self, first: &Matrix) -> Matrix {
        let entry = |row: usize, column: usize| (0..3).map(|k| self.0[row][k] * first.0[k][column]).sum();
        Matrix(std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column))))
    }

    /// Where `(x, y)` goes.
    pub fn map(&self, x: f64, y: f64) -> (f64, f64) {
        let line = |row: usize| self.0[row][0] * x + self.0[row][1] * y + self.0[row][2];
        let w = line(2);
        (line(0) / w, line(1) / w)
    }

    /// The map back; `None` where there is none.
    pub fn inverse(&self) -> Option<Matrix> {
        let m = &self.0;
        let minor = |row: usize, column: usize| {
            let (a, b) = ((row + 1) % 3, (row + 2) % 3);
            let (c, d) = ((column + 1) % 3, (column + 2) % 3);
            m[a][c] * m[b][d] - m[a][d] * m[b][c]
        };
        let determinant: f64 = (0..3).map(|column| m[0][column] * minor(0, column)).sum();
        let usable = determinant.is_finite() && determinant.abs() > 1e-12;
        let entry = |row: usize, column: usize| minor(column, row) / determinant;
        usable.then(|| Matrix(std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_undoes() {
        let matrix = Matrix::translation(3.0, -7.0)
            .after(&Matrix::shear(0.1, -0.2))
            .after(&Matrix::rotation(0.4, 1.7))
            .after(&Matrix::perspective(1e-4, -2e-4));
        let (x, y) = matrix.map(12.0, 34.0);
        let (x, y) = matrix.inverse().unwrap().map(x, y);
        assert!((x - 12.0).abs() < 1e-9 && (y - 34.0).abs() < 1e-9, "{x} {y}");
        assert_eq!(Matrix::shear(1.0, 1.0).inverse(), None);
    }
}
