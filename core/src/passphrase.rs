//! Passphrases, and the keys that come of one.

use core::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::sealed::Salt;
use crate::sealing::OneTimeKeys;

/// Argon2's memory, KiB. With passes and lanes it is what RFC 9106 recommends second.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// The shortest passphrase, bytes. One that a person makes up needs more.
pub const PASSPHRASE_MIN: usize = 12;
/// The longest, bytes.
pub const PASSPHRASE_MAX: usize = 512;

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseError {
    /// Fewer bytes than [`PASSPHRASE_MIN`].
    Short,
    /// More bytes than [`PASSPHRASE_MAX`].
    Long,
    /// More than one line.
    Lines,
}

impl fmt::Display for PassphraseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => {
                write!(f, "a passphrase has at least {PASSPHRASE_MIN} characters; six random words are good")
            }
            Self::Long => write!(f, "a passphrase has at most {PASSPHRASE_MAX} bytes"),
            Self::Lines => f.write_str("a passphrase is one line"),
        }
    }
}

impl core::error::Error for PassphraseError {}

/// A passphrase. Zeroized on drop, no `Debug` of bytes.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// The line in `text`, its end left out.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn from_text(text: &[u8]) -> Result<Self, PassphraseError> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\n') {
            return Err(PassphraseError::Lines);
        }
        match line.len() {
            ..PASSPHRASE_MIN => Err(PassphraseError::Short),
            PASSPHRASE_MIN..=PASSPHRASE_MAX => Ok(Self(Zeroizing::new(line.to_vec()))),
            _ => Err(PassphraseError::Long),
        }
    }

    /// Whether both are the same; for one that was typed twice.
    pub fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }

    /// `Argon2id(passphrase, salt; 64 MiB, 3 passes, 4 lanes)`, 64 bytes: one key for the cipher, one for the MAC. `None`
    /// only if these parameters were no parameters.
    pub(crate) fn keys(&self, salt: &Salt) -> Option<OneTimeKeys> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
        let mut both = Zeroizing::new([0; 64]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(&self.0, salt, &mut *both).ok()?;
        let (cipher, rest) = both.split_first_chunk::<32>()?;
        Some(OneTimeKeys { cipher: Zeroizing::new(*cipher), mac: Zeroizing::new(*rest.first_chunk()?) })
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::from_text(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_passphrase_is_one_line_of_some_length_and_not_shown() {
        for (text, error) in [
            ("", PassphraseError::Short),
            ("eleven char\n", PassphraseError::Short),
            ("correct horse\nbattery staple\n", PassphraseError::Lines),
        ] {
            assert_eq!(Passphrase::from_text(text.as_bytes()).err(), Some(error), "{text}");
        }
        assert_eq!(Passphrase::from_text(&[b'a'; 513]).err(), Some(PassphraseError::Long));
        let (unix, dos) = (passphrase("correct horse battery\n"), passphrase("correct horse battery\r\n"));
        assert!(
            unix.is(&dos) && unix.is(&passphrase("correct horse battery")) && !unix.is(&passphrase("correct horse b"))
        );
        assert_eq!(format!("{unix:?}"), "Passphrase(..)");
    }
}
