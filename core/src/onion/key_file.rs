//! A service's secret key as files have it: tor's own, PEM and plain base64.
//!
//! Tor's file has the *expanded* key, the SHA-512 hash of a seed; the other two have the seed. So any of them can be
//! written as tor's, but tor's as none of the others.

use core::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::key::{HsIdKeypair, KeyFileError};

/// Longer than any key file, bytes.
pub const KEY_FILE_MAX: usize = 1024;

/// What a PEM file begins and ends with.
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// What PKCS#8 version 1 has before an ed25519 seed (RFC 8410, section 7): all lengths in it are fixed.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// Tor's `hs_ed25519_secret_key`: the expanded key.
    Tor,
    /// PKCS#8 in PEM, as OpenSSL and Onionbalance write it: the seed.
    Pem,
    /// The seed in base64, on one line.
    Base64,
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tor => "tor",
            Self::Pem => "pem",
            Self::Base64 => "base64",
        })
    }
}

/// The key is known in expanded form only, from which nobody can work out the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSeed;

/// A key, and what else its file told.
#[derive(Debug)]
pub struct HsIdKeyFile {
    keypair: HsIdKeypair,
    format: KeyFormat,
    seed: Option<Zeroizing<[u8; 32]>>,
}

impl HsIdKeyFile {
    /// Reads any of the formats. White space around text is ignored.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let text = core::str::from_utf8(bytes).unwrap_or_default().trim();
        if text.starts_with("-----BEGIN ") {
            return Ok(Self::from_seed(read_pem(text)?, KeyFormat::Pem));
        }
        if let Some(seed) = from_base64(text) {
            return Ok(Self::from_seed(seed, KeyFormat::Base64));
        }
        Ok(Self { keypair: HsIdKeypair::from_tor_file(bytes)?, format: KeyFormat::Tor, seed: None })
    }

    /// A key that is only known as tor has it.
    pub fn expanded(keypair: HsIdKeypair) -> Self {
        Self { keypair, format: KeyFormat::Tor, seed: None }
    }

    fn from_seed(seed: Zeroizing<[u8; 32]>, format: KeyFormat) -> Self {
        Self { keypair: HsIdKeypair::from_seed(&seed), format, seed: Some(seed) }
    }

    /// The key.
    pub const fn keypair(&self) -> &HsIdKeypair {
        &self.keypair
    }

    /// How it was written.
    pub const fn format(&self) -> KeyFormat {
        self.format
    }

    /// Writes it in `format`.
    ///
    /// # Errors
    /// That format has the seed.
    pub fn write(&self, format: KeyFormat) -> Result<Zeroizing<Vec<u8>>, NoSeed> {
        let seed = || self.seed.as_deref().ok_or(NoSeed);
        Ok(match format {
            KeyFormat::Tor => self.keypair.to_tor_file(),
            KeyFormat::Pem => {
                let der = Zeroizing::new([&PKCS8_HEAD[..], seed()?].concat());
                joined([PEM_BEGIN, "\n", &encode(&der), "\n", PEM_END, "\n"])
            }
            KeyFormat::Base64 => joined([&encode(seed()?), "\n"]),
        })
    }
}

/// The seed in a PEM file that holds one private key and nothing else.
fn read_pem(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    if text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err(KeyFileError::Encrypted);
    }
    let body = text.strip_prefix(PEM_BEGIN).and_then(|text| text.strip_suffix(PEM_END)).ok_or(KeyFileError::Pem)?;
    if body.len() > KEY_FILE_MAX {
        return Err(KeyFileError::Pem);
    }
    let mut one_line = Zeroizing::new(Vec::with_capacity(body.len()));
    one_line.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new([0; KEY_FILE_MAX]);
    let length = BASE64_STANDARD.decode_slice(&*one_line, &mut *der).map_err(|_| KeyFileError::Pem)?;
    let der = der.get(..length).unwrap_or_default();
    let seed = der.strip_prefix(&PKCS8_HEAD).and_then(|seed| seed.try_into().ok());
    seed.map(Zeroizing::new).ok_or(KeyFileError::NotEd25519)
}

/// Exactly 32 bytes in canonical base64.
pub fn from_base64(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    // One byte more than fits, since the decoder wants room for a whole last group.
    let mut buffer = Zeroizing::new([0; 33]);
    let length = BASE64_STANDARD.decode_slice(text, buffer.as_mut()).ok()?;
    let (bytes, _) = buffer.split_first_chunk::<32>()?;
    (length == 32).then(|| Zeroizing::new(*bytes))
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(bytes))
}

/// Without a copy left behind by a buffer that grows.
fn joined<const N: usize>(parts: [&str; N]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(parts.concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3.
    const RFC_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    /// Its public key, from section 10.1.
    const RFC_PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

    fn parse(bytes: &[u8]) -> Result<HsIdKeyFile, KeyFileError> {
        HsIdKeyFile::parse(bytes)
    }

    #[test]
    fn the_rfcs_example_is_read_and_written_to_the_byte() {
        let key = parse(RFC_PEM.as_bytes()).unwrap();
        assert_eq!(*key.write(KeyFormat::Pem).unwrap(), RFC_PEM.as_bytes());
        assert_eq!(encode(&key.keypair().public().0).as_str(), RFC_PUBLIC);
    }

    #[test]
    fn a_seed_can_be_written_in_every_format_and_is_the_same_key_in_each() {
        let key = parse(b"  1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI=\r\n").unwrap();
        assert_eq!(key.format(), KeyFormat::Base64);
        for format in [KeyFormat::Tor, KeyFormat::Pem, KeyFormat::Base64] {
            let written = key.write(format).unwrap();
            let again = parse(&written).unwrap();
            assert_eq!((again.format(), again.keypair().public()), (format, key.keypair().public()));
            assert_eq!(again.write(format), Ok(written));
        }
    }

    #[test]
    fn an_expanded_key_has_no_seed_to_write() {
        let tor = parse(RFC_PEM.as_bytes()).unwrap().write(KeyFormat::Tor).unwrap();
        let key = parse(&tor).unwrap();
        assert_eq!(key.format(), KeyFormat::Tor);
        assert_eq!((key.write(KeyFormat::Pem), key.write(KeyFormat::Base64)), (Err(NoSeed), Err(NoSeed)));
        assert_eq!(key.write(KeyFormat::Tor), Ok(tor));
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let x25519 = RFC_PEM.replace("Vw", "Vu");
        let two = [RFC_PEM, RFC_PEM].concat();
        let encrypted = RFC_PEM.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let long = RFC_PEM.replace("\nMC", &format!("\n{}MC", "A".repeat(2000)));
        for (text, error) in [
            ("", KeyFileError::Length(0)),
            ("1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI", KeyFileError::Length(43)),
            (x25519.as_str(), KeyFileError::NotEd25519),
            (&two, KeyFileError::Pem),
            (&encrypted, KeyFileError::Encrypted),
            (&long, KeyFileError::Pem),
            (RFC_PEM.trim_end_matches("-\n"), KeyFileError::Pem),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", KeyFileError::Pem),
            ("-----BEGIN PRIVATE KEY-----", KeyFileError::Pem),
        ] {
            assert_eq!(parse(text.as_bytes()).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_seed() {
        let key = parse(RFC_PEM.as_bytes()).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains("212"), "{shown}");
    }
}
