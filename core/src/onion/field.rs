//! The field of 2^255 - 19 elements. The arithmetic is fiat-crypto's, generated from a machine-checked proof; it takes the
//! same time for all values, and so does all that is here save for [`Field::sqrt_of_ratio`] and the comparison of two.

use core::ops::{Add, Mul, Sub};

use fiat_crypto::curve25519_64 as fiat;

/// An element of the field.
#[derive(Clone, Copy)]
pub struct Field(fiat::fiat_25519_tight_field_element);

/// A sum or difference whose carries are still to be worked off; multiplying does that on the way.
#[derive(Clone, Copy)]
pub struct Uncarried(fiat::fiat_25519_loose_field_element);

impl Field {
    /// 0.
    pub const ZERO: Self = Self::small(0);
    /// 1.
    pub const ONE: Self = Self::small(1);

    const fn small(number: u8) -> Self {
        let mut bytes = [0; 32];
        let [first, ..] = &mut bytes;
        *first = number;
        Self::from_bytes(&bytes)
    }

    /// Reads 255 bits, little-endian, and reduces them; the highest bit is ignored.
    pub const fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut bytes = *bytes;
        let [.., last] = &mut bytes;
        *last &= 0x7F;
        let mut field = fiat::fiat_25519_tight_field_element([0; 5]);
        fiat::fiat_25519_from_bytes(&mut field, &bytes);
        Self(field)
    }

    /// The only reduced form, little-endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat::fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    /// Whether the reduced form is odd: the "sign" that compressed points carry.
    pub fn is_odd(self) -> bool {
        let [first, ..] = self.to_bytes();
        first % 2 == 1
    }

    /// 0 minus this.
    pub fn negated(self) -> Self {
        (Self::ZERO - self).carry()
    }

    /// The machine words it is made of, for what treats all of them alike.
    #[inline]
    pub const fn limbs(self) -> [u64; 5] {
        self.0.0
    }

    /// The element with these [`Self::limbs`].
    #[inline]
    pub const fn from_limbs(limbs: [u64; 5]) -> Self {
        Self(fiat::fiat_25519_tight_field_element(limbs))
    }

    /// This times itself.
    #[inline]
    pub fn square(self) -> Self {
        Uncarried::from(self).square()
    }

    /// A square root of `self / denominator`, if there is one; which of the two is unspecified.
    pub fn sqrt_of_ratio(self, denominator: Self) -> Option<Self> {
        // p = 5 mod 8: u v^3 (u v^7)^((p - 5) / 8) is the root of u/v, or of -u/v and then off by a root of -1.
        let cube = denominator.square() * denominator;
        let root = self * cube * (self * cube.square() * denominator).power_p58();
        let is_root = |root: Self| denominator * root.square() == self;
        [root, root * SQRT_OF_MINUS_ONE].into_iter().find(|root| is_root(*root))
    }

    /// Replaces each by its inverse, and zero by zero, for the price of one inversion and three multiplications each.
    pub fn invert_all(fields: &mut [Self]) {
        let mut product = Self::ONE;
        let before = |field: &Self| {
            let before = product;
            (!field.is_zero()).then(|| {
                product = product * *field;
                before
            })
        };
        let before: Vec<_> = fields.iter().map(before).collect();
        let mut inverse = product.invert();
        for (field, before) in fields.iter_mut().zip(before).rev() {
            if let Some(before) = before {
                (*field, inverse) = (inverse * before, inverse * *field);
            }
        }
    }

    fn is_zero(self) -> bool {
        self.to_bytes().into_iter().fold(0, |any, byte| any | byte) == 0
    }

    /// `self^(p - 2)`, `p - 2 = 2^255 - 21`.
    fn invert(self) -> Self {
        let square = self.square();
        self.power_of_250_ones().square_times(5) * (square.square_times(2) * square * self)
    }

    /// `self^((p - 5) / 8)`, `(p - 5) / 8 = 2^252 - 3`.
    fn power_p58(self) -> Self {
        self.power_of_250_ones().square_times(2) * self
    }

    /// `self^(2^250 - 1)`: in each step the exponent's binary ones are appended to themselves or to others.
    fn power_of_250_ones(self) -> Self {
        let append = |high: Self, low: Self, length| high.square_times(length) * low;
        let two = append(self, self, 1);
        let five = append(append(two, two, 2), self, 1);
        let ten = append(five, five, 5);
        let twenty = append(ten, ten, 10);
        let fifty = append(append(twenty, twenty, 20), ten, 10);
        let hundred = append(fifty, fifty, 50);
        append(append(hundred, hundred, 100), fifty, 50)
    }

    fn square_times(self, times: u32) -> Self {
        (0..times).fold(self, |power, _| power.square())
    }
}

/// 2^((p - 1) / 4), `p = 2^255 - 19`.
const SQRT_OF_MINUS_ONE: Field = Field::from_bytes(&[
    0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f, 0xa7, 0xd7, 0xfb,
    0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b,
]);

/// For public elements: where they differ shows in the time it takes.
impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Uncarried {
    /// The same element.
    #[inline]
    pub fn carry(self) -> Field {
        let mut carried = fiat::fiat_25519_tight_field_element([0; 5]);
        fiat::fiat_25519_carry(&mut carried, &self.0);
        Field(carried)
    }

    /// This times itself.
    #[inline]
    pub fn square(self) -> Field {
        let mut square = fiat::fiat_25519_tight_field_element([0; 5]);
        fiat::fiat_25519_carry_square(&mut square, &self.0);
        Field(square)
    }
}

impl From<Field> for Uncarried {
    #[inline]
    fn from(field: Field) -> Self {
        let mut uncarried = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_relax(&mut uncarried, &field.0);
        Self(uncarried)
    }
}

impl Add for Field {
    type Output = Uncarried;

    #[inline]
    fn add(self, other: Self) -> Uncarried {
        let mut sum = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_add(&mut sum, &self.0, &other.0);
        Uncarried(sum)
    }
}

impl Sub for Field {
    type Output = Uncarried;

    #[inline]
    fn sub(self, other: Self) -> Uncarried {
        let mut difference = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_sub(&mut difference, &self.0, &other.0);
        Uncarried(difference)
    }
}

impl<F: Into<Uncarried>> Mul<F> for Uncarried {
    type Output = Field;

    #[inline]
    fn mul(self, other: F) -> Field {
        let mut product = fiat::fiat_25519_tight_field_element([0; 5]);
        fiat::fiat_25519_carry_mul(&mut product, &self.0, &other.into().0);
        Field(product)
    }
}

impl<F: Into<Uncarried>> Mul<F> for Field {
    type Output = Field;

    #[inline]
    fn mul(self, other: F) -> Field {
        Uncarried::from(self) * other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng as _;

    /// Small, large and random elements.
    fn examples() -> Vec<Field> {
        let mut rng = crate::rng::Seed::new([3; 32]).fork("field test");
        let random = |_| {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            Field::from_bytes(&bytes)
        };
        let small = [0, 1, 2, 19].map(Field::small);
        small.into_iter().chain(small.map(Field::negated)).chain((0..30).map(random)).collect()
    }

    #[test]
    fn bytes_are_reduced_and_their_highest_bit_ignored() {
        let prime = |first: u8| [[first].as_slice(), &[0xff; 30], &[0x7f]].concat().try_into().unwrap();
        let bytes = |field: Field| field.to_bytes();
        assert_eq!(bytes(Field::from_bytes(&prime(0xed))), [0; 32]);
        assert_eq!(bytes(Field::from_bytes(&prime(0xee))), bytes(Field::ONE));
        assert_eq!(bytes(Field::from_bytes(&prime(0xec))), prime(0xec));
        let mut high = [0; 32];
        (high[0], high[31]) = (1, 0x80);
        assert_eq!(bytes(Field::from_bytes(&high)), bytes(Field::ONE));
    }

    #[test]
    fn the_negated_completes_to_zero_and_has_the_other_sign() {
        for field in examples() {
            let zero = (field + field.negated()).carry();
            assert!(zero == Field::ZERO);
            assert!(field == Field::ZERO || field.is_odd() != field.negated().is_odd());
        }
    }

    #[test]
    fn each_inverse_times_its_element_is_one_and_zero_stays_zero() {
        let fields = examples();
        let mut inverses = fields.clone();
        Field::invert_all(&mut inverses);
        for (field, inverse) in fields.into_iter().zip(inverses) {
            assert!(if field == Field::ZERO { inverse == field } else { field * inverse == Field::ONE });
        }
        Field::invert_all(&mut []);
    }

    #[test]
    fn ratios_of_squares_alone_have_roots() {
        assert!(SQRT_OF_MINUS_ONE.square() == Field::ONE.negated());
        // 2 is no square modulo a prime that is 5 modulo 8.
        let two = Field::small(2);
        for field in examples().into_iter().filter(|field| *field != Field::ZERO) {
            for denominator in [Field::ONE, two.square(), field, field.square()] {
                let numerator = field.square() * denominator;
                let root = numerator.sqrt_of_ratio(denominator).expect("a square");
                assert!(root == field || root == field.negated());
                assert!((numerator * two).sqrt_of_ratio(denominator).is_none());
            }
        }
    }
}
