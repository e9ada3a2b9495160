//! Many multiples of one point, where nothing is secret; and digits and table for where something is.

use curve25519_dalek::Scalar;

use super::edwards::{Addend, Point, Projective};

/// Bits of a scalar.
const SCALAR_BITS: usize = 256;

/// A table from which multiples of one point `P` are put together: row `j` holds `1..=2^(W-1)` times `2^(W SPREAD j) P`.
/// A larger `W` (at most 8) takes fewer additions for each multiple, and a larger table; a larger `SPREAD` takes a smaller
/// table and `W (SPREAD - 1)` doublings for each multiple.
pub struct Comb<A, const W: usize, const SPREAD: usize> {
    rows: Vec<Vec<A>>,
}

impl<A: Addend, const W: usize, const SPREAD: usize> Comb<A, W, SPREAD> {
    /// The table of `point`.
    pub fn new(point: Point) -> Self {
        let mut power = point;
        let row = |_| {
            let step = Projective::from(&power);
            let multiples = core::iter::successors(Some(power), |multiple| Some(*multiple + &step));
            let multiples: Vec<_> = multiples.take(1 << (W - 1)).collect();
            power = (0..W * SPREAD).fold(power, |power, _| power.double());
            multiples
        };
        let rows: Vec<_> = (0..SCALAR_BITS.div_ceil(W * SPREAD)).map(row).collect();
        Self { rows: rows.iter().map(|row| A::from_all(row)).collect() }
    }

    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = &[A]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// `scalar P`; the time it takes depends on both.
    pub fn multiple(&self, scalar: &Scalar) -> Point {
        self.add_multiple(Point::IDENTITY, scalar)
    }

    /// `2^(W (SPREAD - 1)) sum + scalar P`.
    pub fn add_multiple(&self, mut sum: Point, scalar: &Scalar) -> Point {
        let digits = digits::<W>(scalar.as_bytes());
        for offset in (0..SPREAD).rev() {
            for (row, digit) in self.rows.iter().zip(digits.iter().skip(offset).step_by(SPREAD)) {
                // Zero has no entry.
                let entry = usize::from(digit.unsigned_abs()).checked_sub(1).and_then(|index| row.get(index));
                let Some(multiple) = entry else { continue };
                sum = if *digit < 0 { sum - multiple } else { sum + multiple };
            }
            let doublings = if offset > 0 { W } else { 0 };
            sum = (0..doublings).fold(sum, |sum, _| sum.double());
        }
        sum
    }
}

/// The digits of a little-endian number below 2^255 to the base `2^W`, each from `-2^(W-1)` to `2^(W-1)`; in the same time
/// for all numbers.
pub fn digits<const W: usize>(number: &[u8; 32]) -> Vec<i16> {
    let mut carry = 0;
    let digit = |place| {
        let digit = window::<W>(number, place * W) + carry;
        // 1 from the half on.
        carry = (digit + (1 << (W - 1))) >> W;
        digit - (carry << W)
    };
    (0..SCALAR_BITS.div_ceil(W)).map(digit).collect()
}

/// `W` bits of a little-endian number from bit `at`; zeros beyond its end.
fn window<const W: usize>(number: &[u8; 32], at: usize) -> i16 {
    let byte = |index: usize| u16::from(number.get(index).copied().unwrap_or_default());
    let pair = byte(at / 8) | byte(at / 8 + 1) << 8;
    ((pair >> (at % 8)) & ((1 << W) - 1)) as i16
}

#[cfg(test)]
mod tests {
    use super::super::edwards::Affine;
    use super::*;
    use curve25519_dalek::EdwardsPoint;
    use curve25519_dalek::constants::EIGHT_TORSION;
    use sha2::{Digest as _, Sha512};

    fn check<A: Addend, const W: usize, const SPREAD: usize>(point: EdwardsPoint, scalars: &[Scalar]) {
        let comb = Comb::<A, W, SPREAD>::new(Point::decompress(point.compress().as_bytes()).expect("a point"));
        let multiples: Vec<_> = scalars.iter().map(|scalar| comb.multiple(scalar)).collect();
        for (scalar, multiple) in scalars.iter().zip(Point::compress_all(&multiples)) {
            assert_eq!(multiple, (point * scalar).compress().0, "{scalar:?} by {W}, {SPREAD}");
        }
    }

    #[test]
    fn multiples_are_those_of_dalek_for_all_points_and_the_edges_of_scalars() {
        let powers = (0..=252).map(|power| {
            Scalar::from_bytes_mod_order(core::array::from_fn(|byte| u8::from(byte == power / 8) << (power % 8)))
        });
        let random = (0..20_u8).map(|seed| Scalar::from_bytes_mod_order_wide(&Sha512::digest([seed]).into()));
        let scalars: Vec<_> = powers.flat_map(|power| [power, power - Scalar::ONE, -power]).chain(random).collect();
        let prime = EdwardsPoint::mul_base(&Scalar::from(1_234_567_u64));
        for point in [prime, prime + EIGHT_TORSION[1], EIGHT_TORSION[3], EIGHT_TORSION[0]] {
            check::<Projective, 5, 3>(point, &scalars);
            check::<Affine, 8, 1>(point, &scalars);
            check::<Projective, 4, 2>(point, &scalars);
        }
    }
}
