//! Authentication: `PROTOCOLINFO`, SAFECOOKIE, HASHEDPASSWORD and NULL (control-spec). The shell drives it, reading the
//! cookie's or the password's file between steps. Plain COOKIE is left out on purpose: it hands the cookie to whoever
//! listens, and every tor since 0.2.3 that offers it offers SAFECOOKIE.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::quote::{quote, words};
use super::reply::Reply;
use crate::id::{hex, unhex};

/// What `PROTOCOLINFO` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolInfo {
    /// `METHODS=`.
    pub methods: Vec<String>,
    /// `COOKIEFILE=`, unquoted.
    pub cookie_file: Option<Vec<u8>>,
    /// `VERSION Tor=`.
    pub tor_version: Option<String>,
}

impl ProtocolInfo {
    /// Reads the reply to [`protocol_info`]; `None` if it is a refusal or another version.
    pub fn parse(reply: &Reply) -> Option<Self> {
        let mut lines = reply.lines.iter().map(|line| line.text.as_slice());
        if !reply.is_ok() || lines.next() != Some(b"PROTOCOLINFO 1") {
            return None;
        }
        let mut info = Self { methods: Vec::new(), cookie_file: None, tor_version: None };
        for line in lines {
            let mut words = words(line);
            let keyword = words.next()?;
            for word in words {
                match (&*keyword.value, word.key) {
                    (b"AUTH", Some("METHODS")) => info.methods = word.text().split(',').map(str::to_owned).collect(),
                    (b"AUTH", Some("COOKIEFILE")) => info.cookie_file = Some(word.value.into_owned()),
                    (b"VERSION", Some("Tor")) => info.tor_version = Some(word.text()),
                    _ => {}
                }
            }
        }
        Some(info)
    }
}

/// `PROTOCOLINFO 1`.
pub fn protocol_info() -> Vec<u8> {
    b"PROTOCOLINFO 1\r\n".to_vec()
}

/// `AUTHENTICATE "password"`, for HASHEDPASSWORD. The password goes to whoever listens.
pub fn with_password(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let quoted = Zeroizing::new(quote(password));
    // Room from the start: a buffer that grows leaves its old place as it was.
    let mut command = Zeroizing::new(Vec::with_capacity(quoted.len() + 16));
    [b"AUTHENTICATE ", quoted.as_bytes(), b"\r\n"].iter().for_each(|part| command.extend_from_slice(part));
    command
}

/// `AUTHENTICATE`, for NULL: tor lets in everybody who reaches it.
pub fn without_proof() -> Vec<u8> {
    b"AUTHENTICATE\r\n".to_vec()
}

/// SAFECOOKIE: both sides prove that they know the cookie, neither sends it.
#[derive(ZeroizeOnDrop)]
pub struct SafeCookie {
    cookie: [u8; 32],
    client_nonce: [u8; 32],
}

/// Why SAFECOOKIE failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The cookie is not 32 bytes.
    CookieLength(usize),
    /// The reply is malformed.
    BadReply,
    /// The server does not know the cookie: not our tor.
    ServerHash,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CookieLength(length) => {
                write!(f, "tor's cookie file holds {length} bytes instead of 32: is the path right?")
            }
            Self::BadReply => f.write_str("tor's answer to AUTHCHALLENGE cannot be read"),
            Self::ServerHash => f.write_str(
                "whoever answers on the control socket does not know tor's cookie: not our tor, or an old cookie file",
            ),
        }
    }
}

impl std::error::Error for AuthError {}

impl SafeCookie {
    /// Starts with the cookie file's bytes and a random 32-byte nonce.
    ///
    /// # Errors
    /// The cookie is not 32 bytes.
    pub fn new(cookie: &[u8], client_nonce: [u8; 32]) -> Result<Self, AuthError> {
        let cookie = cookie.try_into().map_err(|_| AuthError::CookieLength(cookie.len()))?;
        Ok(Self { cookie, client_nonce })
    }

    /// `AUTHCHALLENGE SAFECOOKIE <nonce>`.
    pub fn challenge(&self) -> Vec<u8> {
        format!("AUTHCHALLENGE SAFECOOKIE {}\r\n", hex(&self.client_nonce)).into_bytes()
    }

    /// Checks the server's hash and makes the `AUTHENTICATE` command.
    ///
    /// # Errors
    /// The reply is malformed, or the server does not know the cookie.
    pub fn authenticate(&self, reply: &Reply) -> Result<Vec<u8>, AuthError> {
        let [line] = reply.lines.as_slice() else { return Err(AuthError::BadReply) };
        let argument = |key| {
            let word = words(&line.text).find(|word| word.key == Some(key))?;
            unhex(&word.value)
        };
        let (Some(server_hash), Some(server_nonce)) = (argument("SERVERHASH"), argument("SERVERNONCE")) else {
            return Err(AuthError::BadReply);
        };
        let expected = self.hash(b"Tor safe cookie authentication server-to-controller hash", &server_nonce);
        if !bool::from(expected.ct_eq(&server_hash)) {
            return Err(AuthError::ServerHash);
        }
        let proof = self.hash(b"Tor safe cookie authentication controller-to-server hash", &server_nonce);
        Ok(format!("AUTHENTICATE {}\r\n", hex(&proof)).into_bytes())
    }

    /// `HMAC-SHA256(label, CookieString | ClientNonce | ServerNonce)`.
    fn hash(&self, label: &[u8], server_nonce: &[u8; 32]) -> [u8; 32] {
        let mut key = [0; 64]; // HMAC pads a key shorter than a block with zeros
        key.iter_mut().zip(label).for_each(|(byte, label)| *byte = *label);
        Hmac::<Sha256>::new(&key.into())
            .chain_update(self.cookie)
            .chain_update(self.client_nonce)
            .chain_update(server_nonce)
            .finalize()
            .into_bytes()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::transcript::Transcript;

    #[test]
    fn reads_protocol_info() {
        let transcript = Transcript::load("auth-odd-path");
        let info = ProtocolInfo::parse(&transcript.replies()[0]).unwrap();
        assert_eq!(info.methods, ["COOKIE", "SAFECOOKIE", "HASHEDPASSWORD"]);
        assert_eq!(info.cookie_file, Some(transcript.text("cookie_path").into_bytes()));
        assert_eq!(info.tor_version.as_deref(), Some("0.4.9.11"));
        let open = Transcript::load("service-start");
        let info = ProtocolInfo::parse(&open.replies()[0]).unwrap();
        assert_eq!((info.methods, info.cookie_file), (vec!["NULL".to_owned()], None));
    }

    #[test]
    fn refusal_is_no_protocol_info() {
        assert_eq!(ProtocolInfo::parse(&Transcript::load("auth-required").replies()[0]), None);
        assert_eq!(ProtocolInfo::parse(&Transcript::load("hspost").replies()[0]), None);
    }

    fn recorded() -> (SafeCookie, Transcript) {
        let transcript = Transcript::load("auth-safecookie");
        let nonce = unhex(transcript.text("client_nonce").as_bytes()).unwrap();
        (SafeCookie::new(&unhex::<32>(transcript.text("cookie").as_bytes()).unwrap(), nonce).unwrap(), transcript)
    }

    #[test]
    fn repeats_the_recorded_handshake() {
        let (auth, transcript) = recorded();
        let proof = auth.authenticate(&transcript.replies()[1]).unwrap();
        assert!(transcript.client.starts_with(&[protocol_info(), auth.challenge(), proof].concat()));
    }

    #[test]
    fn refuses_a_server_that_does_not_know_the_cookie() {
        let (auth, transcript) = recorded();
        let stranger = SafeCookie::new(&[7; 32], auth.client_nonce).unwrap();
        assert_eq!(stranger.authenticate(&transcript.replies()[1]), Err(AuthError::ServerHash));
    }

    #[test]
    fn a_password_is_quoted_and_none_is_nothing() {
        assert_eq!(*with_password(b"a \"b\"\r\nQUIT\\"), b"AUTHENTICATE \"a \\\"b\\\"\\015\\012QUIT\\\\\"\r\n");
        assert_eq!(without_proof(), b"AUTHENTICATE\r\n");
    }

    #[test]
    fn refuses_malformed_input() {
        let (auth, transcript) = recorded();
        assert_eq!(auth.authenticate(&transcript.replies()[0]), Err(AuthError::BadReply));
        assert_eq!(auth.authenticate(&transcript.replies()[2]), Err(AuthError::BadReply));
        assert_eq!(SafeCookie::new(&[0; 31], [0; 32]).err(), Some(AuthError::CookieLength(31)));
    }
}
