//! Points of edwards25519: `curve25519-dalek` offers no additions that are cheap where the same points are added often.
//! All but [`Point::decompress`] takes the same time for all points.
//!
//! Coordinates and formulas are those of Hisil, Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (2008): they
//! hold for all points of this curve, the eight of low order included.

use core::ops::{Add, Sub};

use super::field::Field;

/// `d = -121665/121666` of the curve equation `y^2 - x^2 = 1 + d x^2 y^2`.
const D: Field = Field::from_bytes(&[
    0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00, 0x98, 0xe8, 0x79,
    0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
]);

const BASE_X: Field = Field::from_bytes(&[
    0x1a, 0xd5, 0x25, 0x8f, 0x60, 0x2d, 0x56, 0xc9, 0xb2, 0xa7, 0x25, 0x95, 0x60, 0xc7, 0x2c, 0x69, 0x5c, 0xdc, 0xd6,
    0xfd, 0x31, 0xe2, 0xa4, 0xc0, 0xfe, 0x53, 0x6e, 0xcd, 0xd3, 0x36, 0x69, 0x21,
]);
const BASE_Y: Field = Field::from_bytes(&[
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
]);

/// A point `(X/Z, Y/Z)` with `T = X Y / Z`.
#[derive(Clone, Copy)]
pub struct Point {
    x: Field,
    y: Field,
    z: Field,
    t: Field,
}

/// What adding a point takes of it, worked out beforehand.
pub trait Addend: Sized {
    /// Of each of `points`.
    fn from_all(points: &[Point]) -> Vec<Self>;

    /// `(Y + X, Y - X, 2 d T)`.
    fn parts(&self) -> [Field; 3];

    /// `2 z Z`.
    fn twice_z_times(&self, z: Field) -> Field;
}

/// A point as it is.
pub struct Projective {
    parts: [Field; 3],
    z_twice: Field,
}

/// A point with `Z = 1`: it takes longer to make and less to add.
pub struct Affine {
    /// The limbs of its [`Addend::parts`].
    pub limbs: [[u64; 5]; 3],
}

impl Affine {
    /// Of the neutral element.
    pub const IDENTITY: Self = Self { limbs: [Field::ONE.limbs(), Field::ONE.limbs(), Field::ZERO.limbs()] };

    /// Of the point's multiple by -1.
    #[inline]
    pub fn negated(&self) -> Self {
        let [y_plus_x, y_minus_x, t_twice_d] = self.parts();
        Self { limbs: [y_minus_x, y_plus_x, t_twice_d.negated()].map(Field::limbs) }
    }
}

impl Point {
    /// The neutral element.
    pub const IDENTITY: Self = Self { x: Field::ZERO, y: Field::ONE, z: Field::ONE, t: Field::ZERO };

    /// The base point.
    pub fn base() -> Self {
        Self { x: BASE_X, y: BASE_Y, z: Field::ONE, t: BASE_X * BASE_Y }
    }

    /// Reads a compressed point as `CompressedEdwardsY::decompress` does, `y` not reduced and `-0` included.
    pub fn decompress(bytes: &[u8; 32]) -> Option<Self> {
        let y = Field::from_bytes(bytes);
        let square = y.square();
        let numerator = (square - Field::ONE).carry();
        let denominator = (D * square + Field::ONE).carry();
        let root = numerator.sqrt_of_ratio(denominator)?;
        let [.., last] = bytes;
        let x = if root.is_odd() == (last >> 7 == 1) { root } else { root.negated() };
        Some(Self { x, y, z: Field::ONE, t: x * y })
    }

    /// The compressed form of each, for the price of one inversion.
    pub fn compress_all(points: &[Self]) -> Vec<[u8; 32]> {
        let mut inverses: Vec<_> = points.iter().map(|point| point.z).collect();
        Field::invert_all(&mut inverses);
        let compress = |(point, inverse): (&Self, Field)| {
            let mut bytes = (point.y * inverse).to_bytes();
            let [.., last] = &mut bytes;
            *last |= u8::from((point.x * inverse).is_odd()) << 7;
            bytes
        };
        points.iter().zip(inverses).map(compress).collect()
    }

    /// Twice this.
    #[inline]
    pub fn double(self) -> Self {
        let Self { x, y, z, .. } = self;
        let (xx, yy, zz) = (x.square(), y.square(), z.square());
        let (h, g) = ((yy + xx).carry(), (yy - xx).carry());
        let e = (x + y).square() - h;
        let f = (zz + zz).carry() - g;
        Self { x: e * f, y: h * g, z: f * g, t: e * h }
    }

    /// Its multiple by -1.
    pub fn negated(self) -> Self {
        Self { x: self.x.negated(), t: self.t.negated(), ..self }
    }

    fn parts(&self) -> [Field; 3] {
        let Self { x, y, t, .. } = *self;
        [(y + x).carry(), (y - x).carry(), (t + t) * D]
    }
}

impl From<&Point> for Projective {
    fn from(point: &Point) -> Self {
        Self { parts: point.parts(), z_twice: (point.z + point.z).carry() }
    }
}

impl Addend for Projective {
    fn from_all(points: &[Point]) -> Vec<Self> {
        points.iter().map(Self::from).collect()
    }

    #[inline]
    fn parts(&self) -> [Field; 3] {
        self.parts
    }

    #[inline]
    fn twice_z_times(&self, z: Field) -> Field {
        z * self.z_twice
    }
}

impl Addend for Affine {
    fn from_all(points: &[Point]) -> Vec<Self> {
        let mut inverses: Vec<_> = points.iter().map(|point| point.z).collect();
        Field::invert_all(&mut inverses);
        let normalised = points.iter().zip(inverses).map(|(point, inverse)| {
            let (x, y) = (point.x * inverse, point.y * inverse);
            Point { x, y, z: Field::ONE, t: x * y }
        });
        normalised.map(|point| Self { limbs: point.parts().map(Field::limbs) }).collect()
    }

    #[inline]
    fn parts(&self) -> [Field; 3] {
        self.limbs.map(Field::from_limbs)
    }

    #[inline]
    fn twice_z_times(&self, z: Field) -> Field {
        (z + z).carry()
    }
}

impl<A: Addend> Add<&A> for Point {
    type Output = Self;

    #[inline]
    fn add(self, other: &A) -> Self {
        let [y_plus_x, y_minus_x, t_twice_d] = other.parts();
        let a = (self.y - self.x) * y_minus_x;
        let b = (self.y + self.x) * y_plus_x;
        let (c, d) = (self.t * t_twice_d, other.twice_z_times(self.z));
        let (e, f, g, h) = (b - a, d - c, d + c, b + a);
        Self { x: e * f, y: g * h, z: f * g, t: e * h }
    }
}

impl<A: Addend> Sub<&A> for Point {
    type Output = Self;

    /// Adds `(-X, Y, Z, -T)`.
    #[inline]
    fn sub(self, other: &A) -> Self {
        let [y_plus_x, y_minus_x, t_twice_d] = other.parts();
        let a = (self.y - self.x) * y_plus_x;
        let b = (self.y + self.x) * y_minus_x;
        let (c, d) = (self.t * t_twice_d, other.twice_z_times(self.z));
        let (e, f, g, h) = (b - a, d + c, d - c, b + a);
        Self { x: e * f, y: g * h, z: f * g, t: e * h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_COMPRESSED, EIGHT_TORSION};
    use curve25519_dalek::{EdwardsPoint, Scalar, edwards::CompressedEdwardsY};

    /// Points of every kind of order: of the prime order, of low order, and sums of both.
    fn examples() -> Vec<EdwardsPoint> {
        let primes = [0_u64, 1, 2, 1 << 60].map(|number| EdwardsPoint::mul_base(&Scalar::from(number)));
        primes.into_iter().flat_map(|prime| EIGHT_TORSION.iter().map(move |low| prime + low)).collect()
    }

    fn ours(point: EdwardsPoint) -> Point {
        Point::decompress(point.compress().as_bytes()).expect("a point")
    }

    fn compress(point: Point) -> CompressedEdwardsY {
        CompressedEdwardsY(Point::compress_all(&[point])[0])
    }

    fn check_sums<A: Addend>() {
        for a in examples() {
            for b in examples() {
                let addends = A::from_all(&[ours(b).double(), ours(a)]);
                let (sum, difference) = (ours(a) + &addends[0], ours(a) - &addends[0]);
                assert_eq!(compress(sum), (a + b + b).compress());
                assert_eq!(compress(difference), (a - b - b).compress());
                // All four coordinates are right, not just those that are written down.
                assert_eq!(compress(difference - &addends[1]), (-b - b).compress());
            }
        }
    }

    #[test]
    fn sums_differences_and_doubles_are_those_of_dalek() {
        check_sums::<Projective>();
        check_sums::<Affine>();
        assert_eq!(compress(Point::base()), ED25519_BASEPOINT_COMPRESSED);
        for a in examples() {
            assert_eq!(compress(ours(a).double()), (a + a).compress());
            assert_eq!(compress(ours(a).negated()), (-a).compress());
        }
    }

    #[test]
    fn the_same_bytes_are_points_as_for_dalek() {
        let mut bytes: Vec<_> = (0..=255).map(|number| [number; 32]).collect();
        for first in 0..=255 {
            // About zero and about the modulus, with both signs.
            for (middle, last) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
                let mut edge = [middle; 32];
                (edge[0], edge[31]) = (first, last);
                bytes.push(edge);
            }
        }
        for bytes in bytes {
            let theirs = CompressedEdwardsY(bytes).decompress();
            assert_eq!(Point::decompress(&bytes).map(compress), theirs.map(|point| point.compress()), "{bytes:x?}");
        }
    }

    #[test]
    fn many_points_are_compressed_as_one_is() {
        let points: Vec<_> = examples().into_iter().map(|point| ours(point).double()).collect();
        let single: Vec<_> = points.iter().map(|point| compress(*point).0).collect();
        assert_eq!(Point::compress_all(&points), single);
        assert!(Point::compress_all(&[]).is_empty());
    }
}
