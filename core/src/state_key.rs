//! The key of an encrypted state: random, and itself closed with the operator's passphrase.
//!
//! So a change of the passphrase writes one file, and a secret can be written anew without Argon2. Every file has a salt of
//! its own, and so keys of its own:
//!
//! ```text
//! cipher = HMAC-SHA256(state key, "RustBalance state, cipher: " | salt | name of the secret)
//! mac    = HMAC-SHA256(state key, "RustBalance state, MAC: " | salt | name of the secret)
//! ```
//! With the name in it, one secret cannot be put in the place of another.

use hmac::Mac as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::mac;
use crate::passphrase::Passphrase;
use crate::sealed::{self, Flaw, Kind, Salt, SealedError, SealedFile};
use crate::sealing::OneTimeKeys;

/// The key, in memory that its owner looks after.
#[derive(Clone, Copy)]
pub struct StateKey<'a>(&'a [u8; 32]);

impl<'a> StateKey<'a> {
    /// From its bytes, which are random.
    pub const fn new(bytes: &'a [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The file with it, closed with `passphrase`. Takes 64 MiB of memory and some tenths of a second. `None` only if
    /// Argon2's parameters were none.
    pub fn close(self, passphrase: &Passphrase, rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        sealed::seal(Kind::StateKey, self.0, |salt| passphrase.keys(salt), rng)
    }

    /// The file with `secret`, which is called `name`. `None` if it is longer than 32 KiB.
    pub fn seal(self, name: &str, secret: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        sealed::seal(Kind::Secret, secret, |salt| Some(self.keys(name, salt)), rng)
    }

    /// The secret called `name`, from its file.
    ///
    /// # Errors
    /// See [`SealedError`].
    pub fn open(self, name: &str, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        SealedFile::parse(Kind::Secret, file)?.content(|salt| Some(self.keys(name, salt)))
    }

    fn keys(self, name: &str, salt: &Salt) -> OneTimeKeys {
        let key = |what: &str| {
            let message = [what.as_bytes(), salt, name.as_bytes()].concat();
            Zeroizing::new(mac::keyed(self.0, &message).finalize().into_bytes().into())
        };
        OneTimeKeys { cipher: key("RustBalance state, cipher: "), mac: key("RustBalance state, MAC: ") }
    }
}

/// The bytes of the state key in `file`. Takes as much as [`StateKey::close`] unless the file is damaged.
///
/// # Errors
/// See [`SealedError`].
pub fn open(file: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, SealedError> {
    let content = SealedFile::parse(Kind::StateKey, file)?.content(|salt| passphrase.keys(salt))?;
    let key = <[u8; 32]>::try_from(content.as_slice()).map(Zeroizing::new);
    key.map_err(|_| SealedError { kind: Kind::StateKey, flaw: Flaw::Content })
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::rng::Rng;

    const KEY: StateKey<'_> = StateKey::new(&[7; 32]);

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::from_text(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_passphrase_and_no_other_opens_the_key() {
        let file = KEY.close(&passphrase("correct horse battery"), &mut Rng::seed_from_u64(1)).unwrap();
        assert_eq!(*open(&file, &passphrase("correct horse battery")).unwrap(), [7; 32]);
        let wrong = open(&file, &passphrase("correct horse batterx")).unwrap_err();
        assert_eq!(wrong, SealedError { kind: Kind::StateKey, flaw: Flaw::WrongKey });
        assert!(wrong.to_string().contains("the passphrase is another one"));
    }

    #[test]
    fn a_secret_comes_back_under_its_own_name_and_key_alone() {
        let file = KEY.seal("node_key", b"secret", &mut Rng::seed_from_u64(1)).unwrap();
        assert_eq!(*KEY.open("node_key", &file).unwrap(), b"secret");
        let wrong = Err(SealedError { kind: Kind::Secret, flaw: Flaw::WrongKey });
        assert_eq!(KEY.open("cluster_token", &file), wrong);
        assert_eq!(StateKey::new(&[8; 32]).open("node_key", &file), wrong);
    }

    #[test]
    fn one_secret_sealed_twice_gives_files_that_share_nothing_but_kind_and_length() {
        let file = |seed| KEY.seal("node_key", &[0; 64], &mut Rng::seed_from_u64(seed)).unwrap();
        let (one, two) = (file(1), file(2));
        let same = one.iter().zip(&two).skip(13).filter(|(a, b)| a == b).count();
        assert!(one.len() == two.len() && same < one.len() / 8, "{same} of {}", one.len());
    }
}
