//! A file of secrets, closed with a passphrase or a key.
//!
//! ```text
//! head = magic of its kind (8) | version = 1 | INT_4(length of content) | salt (16)
//! keys = a key for the cipher and one for the MAC, which the kind derives anew for every salt
//! body = head | AES-256-CTR(content) | HMAC-SHA256(head | AES-256-CTR(content))
//! file = body | SHA-256(body)
//! ```
//! The version stands for all parameters, so no file can ask for more memory or time. The hash at the end needs no secret:
//! it tells a damaged file from a wrong passphrase.

use core::fmt;

use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::sealing::{MAC_LENGTH, OneTimeKeys};

const VERSION: u8 = 1;
const MAGIC_LENGTH: usize = 8;
const SALT_LENGTH: usize = 16;
const HEAD_LENGTH: usize = MAGIC_LENGTH + 1 + 4 + SALT_LENGTH;
const HASH_LENGTH: usize = 32;
/// The largest content, bytes: a key and all clients have a third of it.
const CONTENT_MAX: usize = 32 * 1024;
/// The largest file, bytes.
pub const FILE_MAX: usize = HEAD_LENGTH + CONTENT_MAX + MAC_LENGTH + HASH_LENGTH;

/// What a file derives its keys from, beside the secret that opens it.
pub(crate) type Salt = [u8; SALT_LENGTH];

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A backup of an address ([`crate::backup`]).
    Backup,
    /// The key of an encrypted state ([`crate::state_key`]).
    StateKey,
    /// A secret of an encrypted state.
    Secret,
}

impl Kind {
    const fn magic(self) -> &'static [u8; MAGIC_LENGTH] {
        match self {
            Self::Backup => b"RBBACKUP",
            Self::StateKey => b"RBSTATEK",
            Self::Secret => b"RBSECRET",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Backup => "a backup",
            Self::StateKey => "a state key",
            Self::Secret => "an encrypted secret",
        }
    }
}

/// Why a file cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedError {
    /// What it should be.
    pub kind: Kind,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is of another kind.
    OtherKind,
    /// Made by a later release.
    Version(u8),
    /// It ends too early.
    Truncated,
    /// Its checksum is wrong, or something follows.
    Damaged,
    /// It is whole, and another passphrase or key opens it.
    WrongKey,
    /// It opens, but what is in it does not decode.
    Content,
}

impl fmt::Display for SealedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = self.kind.noun();
        match (self.flaw, self.kind) {
            (Flaw::OtherKind, Kind::Backup) => {
                f.write_str("not a backup; give a file that `rustbalance key backup` wrote")
            }
            (Flaw::OtherKind, Kind::StateKey | Kind::Secret) => {
                write!(f, "not {noun}; put back what `rustbalance key encrypt` wrote, or set the node up anew")
            }
            (Flaw::Version(version), _) => {
                write!(f, "{noun} of version {version}, which this release does not know; use a later one")
            }
            (Flaw::Truncated, _) => f.write_str("cut off; copy the whole file again, or take another copy"),
            (Flaw::Damaged, _) => f.write_str("damaged; copy the file again, byte for byte, or take another copy"),
            (Flaw::WrongKey, Kind::Backup | Kind::StateKey) => f.write_str("whole, but the passphrase is another one"),
            (Flaw::WrongKey, Kind::Secret) => {
                f.write_str("whole, but of another state key or another name; put back the file that belongs here")
            }
            (Flaw::Content, _) => write!(f, "opened, but what is in it is not {noun}; report this as a bug"),
        }
    }
}

impl core::error::Error for SealedError {}

/// `None` for a content of more than [`CONTENT_MAX`], or without keys.
pub(crate) fn seal(
    kind: Kind,
    content: &[u8],
    keys: impl FnOnce(&Salt) -> Option<OneTimeKeys>,
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= CONTENT_MAX)?;
    let mut salt = [0; SALT_LENGTH];
    rng.fill_bytes(&mut salt);
    let keys = keys(&salt)?;
    let mut file = [&kind.magic()[..], &[VERSION], &length.to_be_bytes(), &salt].concat();
    let mut text = Zeroizing::new(content.to_vec());
    keys.apply(&mut text);
    file.extend_from_slice(&text);
    let mac = keys.mac(&file);
    file.extend_from_slice(&mac);
    let hash = Sha256::digest(&file);
    file.extend_from_slice(&hash);
    Some(file)
}

/// A file that is whole: what is in it is not known yet, nor who wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedFile<'a> {
    kind: Kind,
    /// What the MAC is of: head and text.
    signed: &'a [u8],
    salt: &'a Salt,
    text: &'a [u8],
    mac: &'a [u8; MAC_LENGTH],
}

impl<'a> SealedFile<'a> {
    /// Reads a file up to what a secret is needed for.
    ///
    /// # Errors
    /// `OtherKind`, `Version`, `Truncated`, `Damaged`.
    pub fn parse(kind: Kind, file: &'a [u8]) -> Result<Self, SealedError> {
        Self::read(kind, file).map_err(|flaw| SealedError { kind, flaw })
    }

    fn read(kind: Kind, file: &'a [u8]) -> Result<Self, Flaw> {
        let Some(rest) = file.strip_prefix(kind.magic()) else {
            let is_start = !file.is_empty() && kind.magic().starts_with(file);
            return Err(if is_start { Flaw::Truncated } else { Flaw::OtherKind });
        };
        let (version, rest) = rest.split_first().ok_or(Flaw::Truncated)?;
        if *version != VERSION {
            return Err(Flaw::Version(*version));
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Truncated)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > CONTENT_MAX {
            return Err(Flaw::Damaged);
        }
        let (salt, rest) = rest.split_first_chunk::<SALT_LENGTH>().ok_or(Flaw::Truncated)?;
        let (text, rest) = rest.split_at_checked(length).ok_or(Flaw::Truncated)?;
        let (mac, rest) = rest.split_first_chunk::<MAC_LENGTH>().ok_or(Flaw::Truncated)?;
        let (hash, rest) = rest.split_first_chunk::<HASH_LENGTH>().ok_or(Flaw::Truncated)?;
        let (body, _) = file.split_at_checked(HEAD_LENGTH + length + MAC_LENGTH).ok_or(Flaw::Truncated)?;
        let (signed, _) = body.split_at_checked(HEAD_LENGTH + length).ok_or(Flaw::Truncated)?;
        if !rest.is_empty() || Sha256::digest(body).as_slice() != hash {
            return Err(Flaw::Damaged);
        }
        Ok(Self { kind, signed, salt, text, mac })
    }

    /// What is in it.
    ///
    /// # Errors
    /// `WrongKey`.
    pub fn content(&self, keys: impl FnOnce(&Salt) -> Option<OneTimeKeys>) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let keys = keys(self.salt).filter(|keys| keys.verifies(self.signed, self.mac));
        let keys = keys.ok_or(SealedError { kind: self.kind, flaw: Flaw::WrongKey })?;
        let mut content = Zeroizing::new(self.text.to_vec());
        keys.apply(&mut content);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::rng::Rng;

    /// Keys that only the same `secret` and salt give.
    fn keys(secret: u8) -> impl Fn(&Salt) -> Option<OneTimeKeys> {
        move |salt| {
            let mut keys = OneTimeKeys::default();
            keys.cipher[..SALT_LENGTH].copy_from_slice(salt);
            keys.mac[0] = secret;
            Some(keys)
        }
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        seal(Kind::Backup, content, keys(1), &mut Rng::seed_from_u64(1)).unwrap()
    }

    fn parse(file: &[u8]) -> Result<SealedFile<'_>, Flaw> {
        SealedFile::parse(Kind::Backup, file).map_err(|error| error.flaw)
    }

    fn open(file: &[u8], secret: u8) -> Result<Vec<u8>, Flaw> {
        Ok(parse(file)?.content(keys(secret)).map_err(|error| error.flaw)?.to_vec())
    }

    /// With the hash at the end made right.
    fn rehashed(mut file: Vec<u8>) -> Vec<u8> {
        file.truncate(file.len() - HASH_LENGTH);
        let hash = Sha256::digest(&file);
        [&file[..], &hash].concat()
    }

    #[test]
    fn another_secret_opens_nothing_and_is_told_from_damage() {
        let file = sealed(b"content");
        assert_eq!(open(&file, 1).unwrap(), b"content");
        assert_eq!(open(&file, 2), Err(Flaw::WrongKey));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_noticed_without_the_secret() {
        let good = sealed(b"content");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(parse(&[]).err(), Some(Flaw::OtherKind));
        for end in 1..good.len() {
            assert_eq!(parse(&good[..end]).err(), Some(Flaw::Truncated), "{end} bytes");
        }
        assert_eq!(parse(&[&good[..], &[0]].concat()).err(), Some(Flaw::Damaged));
    }

    #[test]
    fn who_makes_the_hash_right_again_has_not_made_the_mac_right() {
        let good = sealed(b"content");
        for byte in [13, HEAD_LENGTH, HEAD_LENGTH + 7] {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            let bad = rehashed(bad);
            assert_eq!(open(&bad, 1), Err(Flaw::WrongKey), "byte {byte}");
        }
    }

    #[test]
    fn other_files_are_refused_by_name() {
        assert_eq!(parse(b"age-encryption.org/v1").err(), Some(Flaw::OtherKind));
        let mut later = sealed(b"content");
        later[8] = 2;
        assert_eq!(parse(&later).err(), Some(Flaw::Version(2)));
        let mut huge = sealed(b"content");
        huge[9] = 255;
        assert_eq!(parse(&huge).err(), Some(Flaw::Damaged));
        let secret = seal(Kind::Secret, b"content", keys(1), &mut Rng::seed_from_u64(1)).unwrap();
        assert_eq!(parse(&secret).err(), Some(Flaw::OtherKind));
        let long = vec![0; CONTENT_MAX + 1];
        assert_eq!(seal(Kind::Backup, &long, keys(1), &mut Rng::seed_from_u64(1)), None);
    }
}
