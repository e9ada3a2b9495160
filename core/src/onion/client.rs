//! Authorised clients of a service: their names, their keys, and tor's files of them (rend-spec `[CLIENT-AUTH-MGMT]`).

use core::fmt;
use core::str::FromStr;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use super::address::OnionAddress;
use super::base32::{self, Base32Error};
use super::key::sound_x25519;

/// Longest name, bytes.
pub const CLIENT_NAME_MAX: usize = 32;
/// What the key's line begins with in tor's files.
const LINE_PREFIX: &str = "descriptor:x25519:";
/// Ends the name of a file that tor reads in `authorized_clients`.
pub const AUTH_FILE_SUFFIX: &str = ".auth";

/// What the operator calls a client: 1 to 32 letters, digits, `-`, `_` and `.`, the first a letter or digit. It is the name
/// of the client's `.auth` file, and no client ever sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ClientName(String);

/// A text is no [`ClientName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadClientName;

impl fmt::Display for BadClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a client's name has 1 to {CLIENT_NAME_MAX} letters, digits, \"-\", \"_\" and \".\", and begins with a letter or digit"
        )
    }
}

impl std::error::Error for BadClientName {}

impl ClientName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientName {
    type Error = BadClientName;

    fn try_from(text: String) -> Result<Self, BadClientName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let starts_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let is_name = starts_well && text.len() <= CLIENT_NAME_MAX && text.bytes().all(is_allowed);
        if is_name { Ok(Self(text)) } else { Err(BadClientName) }
    }
}

impl FromStr for ClientName {
    type Err = BadClientName;

    fn from_str(text: &str) -> Result<Self, BadClientName> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `KP_hsc_desc_enc`, x25519: for whom descriptors are encrypted. Never zero or of low order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "[u8; 32]", into = "[u8; 32]")]
pub struct HsClientDescEncKey([u8; 32]);

/// Why a text is no [`HsClientDescEncKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKeyError {
    /// Not 52 letters of base32, alone or after `descriptor:x25519:`.
    Syntax,
    /// Zero, or of low order: everybody could decrypt for it.
    Weak,
}

impl fmt::Display for ClientKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => {
                "a client's public key has 52 letters and digits of base32, as in descriptor:x25519:<key>; \
                 copy it again from the client's side"
            }
            Self::Weak => "this is no x25519 key that could keep a secret; have the client make a new one",
        })
    }
}

impl std::error::Error for ClientKeyError {}

impl HsClientDescEncKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the line of tor's `authorized_clients/NAME.auth`, with spaces and line ends around it. The key alone is none.
    ///
    /// # Errors
    /// See [`ClientKeyError`].
    pub fn from_auth_line(text: &str) -> Result<Self, ClientKeyError> {
        Self::from_base32(text.trim_ascii().strip_prefix(LINE_PREFIX).ok_or(ClientKeyError::Syntax)?)
    }

    fn from_base32(key: &str) -> Result<Self, ClientKeyError> {
        base32::decode(key).map_err(|(Base32Error::Length | Base32Error::Letter)| ClientKeyError::Syntax)?.try_into()
    }

    /// The line of tor's `authorized_clients/NAME.auth`: `descriptor:x25519:<base32>`.
    pub fn to_auth_line(self) -> String {
        format!("{LINE_PREFIX}{}", self.to_base32())
    }

    /// 52 letters, in upper case as tor's own examples have it.
    pub fn to_base32(self) -> String {
        base32::encode(&self.0).to_ascii_uppercase()
    }
}

impl TryFrom<[u8; 32]> for HsClientDescEncKey {
    type Error = ClientKeyError;

    fn try_from(bytes: [u8; 32]) -> Result<Self, ClientKeyError> {
        if sound_x25519(bytes).is_some() { Ok(Self(bytes)) } else { Err(ClientKeyError::Weak) }
    }
}

impl From<HsClientDescEncKey> for [u8; 32] {
    fn from(key: HsClientDescEncKey) -> Self {
        key.0
    }
}

/// Takes the key alone or the whole line of an `.auth` file, with spaces and line ends around it.
impl FromStr for HsClientDescEncKey {
    type Err = ClientKeyError;

    fn from_str(text: &str) -> Result<Self, ClientKeyError> {
        let text = text.trim_ascii();
        Self::from_base32(text.strip_prefix(LINE_PREFIX).unwrap_or(text))
    }
}

/// The first bytes, enough to tell keys apart.
impl fmt::Debug for HsClientDescEncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HsClientDescEncKey({}..)", self.to_base32().get(..8).unwrap_or_default())
    }
}

/// `KS_hsc_desc_enc` with its public half. Zeroized on drop, no `Debug` of bytes, no `Clone`.
pub struct HsClientDescEncKeypair {
    secret: StaticSecret,
    public: HsClientDescEncKey,
}

/// No bytes of the secret.
impl fmt::Debug for HsClientDescEncKeypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HsClientDescEncKeypair({:?})", self.public)
    }
}

impl HsClientDescEncKeypair {
    /// A new client's.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self::from_bytes(&bytes)
    }

    /// Any 32 bytes are a secret: x25519 clamps them.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*bytes);
        // A multiple of the base point by a clamped scalar is never weak.
        let public = HsClientDescEncKey(PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// For `authorized_clients`.
    pub fn public(&self) -> HsClientDescEncKey {
        self.public
    }

    /// What the service and this client have in common in one descriptor (`SECRET_SEED` of `[HS-DESC-ENCRYPTION-KEYS]`).
    pub(crate) fn exchange(&self, ephemeral_key: [u8; 32]) -> SharedSecret {
        self.secret.diffie_hellman(&PublicKey::from(ephemeral_key))
    }

    /// The line of tor's `.auth_private` file in the client's `ClientOnionAuthDir`:
    /// `<address without .onion>:descriptor:x25519:<base32 of the secret>`. It is all that a client needs; who has it, is one.
    pub fn expose_auth_private_line(&self, address: OnionAddress) -> Zeroizing<String> {
        let mut key = base32::encode(&*Zeroizing::new(self.secret.to_bytes()));
        key.make_ascii_uppercase();
        let host = address.host();
        let mut line = Zeroizing::new(String::with_capacity(host.len() + 1 + LINE_PREFIX.len() + key.len()));
        line.extend([host.as_str(), ":", LINE_PREFIX, key.as_str()]);
        key.zeroize();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::key::HsId;
    use crate::rng::Seed;

    #[test]
    fn tors_own_example_of_an_auth_line_reads_back() {
        let line = "descriptor:x25519:OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q";
        let key: HsClientDescEncKey = format!("{line}\n").parse().unwrap();
        assert_eq!(key.to_auth_line(), line);
        assert_eq!(line[18..].to_lowercase().parse(), Ok(key));
        assert_eq!(HsClientDescEncKey::from_auth_line(&format!(" {line}\n")), Ok(key));
        assert_eq!(
            HsClientDescEncKey::from_auth_line(&line[18..]),
            Err(ClientKeyError::Syntax),
            "tor takes no key alone"
        );
    }

    #[test]
    fn what_is_no_key_is_refused_by_kind() {
        let parse = |text: &str| text.parse::<HsClientDescEncKey>();
        let key = "OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q";
        for text in ["", &key[1..], &format!("{key}A"), &key.replace('O', "0"), &format!("descriptor:p256:{key}")] {
            assert_eq!(parse(text), Err(ClientKeyError::Syntax), "{text}");
        }
        assert_eq!(parse(&"a".repeat(52)), Err(ClientKeyError::Weak));
        assert_eq!(postcard::from_bytes::<HsClientDescEncKey>(&[0; 32]).ok(), None);
    }

    #[test]
    fn names_that_could_leave_the_directory_or_look_like_an_option_are_refused() {
        for good in ["a", "alice", "7", "a.b-c_D", &"x".repeat(CLIENT_NAME_MAX)] {
            assert_eq!(good.parse::<ClientName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\n", "ä", &"x".repeat(CLIENT_NAME_MAX + 1)] {
            assert_eq!(bad.parse::<ClientName>(), Err(BadClientName), "{bad:?}");
        }
        assert_eq!(postcard::from_bytes::<ClientName>(b"\x02..").ok(), None);
    }

    #[test]
    fn the_private_line_is_of_the_key_that_the_service_lists() {
        // RFC 7748, 6.1: Alice's pair.
        let secret = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let bytes = |text| {
            use base64::Engine as _;
            <[u8; 32]>::try_from(base64::prelude::BASE64_STANDARD.decode(text).unwrap()).unwrap()
        };
        let pair = HsClientDescEncKeypair::from_bytes(&bytes(secret));
        assert_eq!(*pair.public().as_bytes(), bytes(public));
        let address = OnionAddress::new(HsId([3; 32]));
        let line = pair.expose_auth_private_line(address);
        let (host, key) = line.split_once(":descriptor:x25519:").unwrap();
        assert_eq!((host, base32::decode(key)), (address.host().as_str(), Ok(bytes(secret))));
    }

    #[test]
    fn debug_shows_no_secret() {
        let pair = HsClientDescEncKeypair::generate(&mut Seed::new([1; 32]).fork("client"));
        let shown = format!("{pair:?}");
        assert!(shown.starts_with("HsClientDescEncKeypair(HsClientDescEncKey(") && shown.len() < 60, "{shown}");
    }
}
