//! x25519 keys in their ed25519 form.

use super::field::Field;

/// The compressed ed25519 form, with sign bit 0, of each x25519 key: `y = (u - 1) / (u + 1)`, all for the price of one
/// inversion. Of a key that is no curve point the result is none either; `u = -1` gives 0.
pub fn to_ed25519_all<'a>(keys: impl Iterator<Item = &'a [u8; 32]>) -> Vec<[u8; 32]> {
    let (numerators, mut denominators): (Vec<_>, Vec<_>) =
        keys.map(Field::from_bytes).map(|u| (u - Field::ONE, (u + Field::ONE).carry())).unzip();
    Field::invert_all(&mut denominators);
    numerators.into_iter().zip(denominators).map(|(numerator, inverse)| (numerator * inverse).to_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::MontgomeryPoint;

    #[test]
    fn keys_that_are_points_become_those_of_dalek() {
        let high = |first: u8, last: u8| [[first].as_slice(), &[0xff; 30], &[last]].concat().try_into().unwrap();
        let edges = [high(0xec, 0x7f), high(0xed, 0x7f), high(0xee, 0x7f), high(0xff, 0x7f), high(0xff, 0xff)];
        let keys: Vec<[u8; 32]> = (0..=255).map(|number| [number; 32]).chain(edges).collect();
        let theirs = |key: &[u8; 32]| Some(MontgomeryPoint(*key).to_edwards(0)?.compress().0);
        let compared = keys.iter().zip(to_ed25519_all(keys.iter()));
        let compared: Vec<_> = compared.filter_map(|(key, ours)| Some((ours, theirs(key)?))).collect();
        assert!(compared.len() > 100, "about half of all numbers are points");
        assert!(compared.iter().all(|(ours, theirs)| ours == theirs));
    }
}
