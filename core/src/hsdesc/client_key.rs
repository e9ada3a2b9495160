//! A client's key for a service that is for authorised clients only, as tor's clients keep it.

use core::fmt;

use zeroize::Zeroizing;

use crate::onion::address::{AddressError, OnionAddress};
use crate::onion::base32;
use crate::onion::client::HsClientDescEncKeypair;

/// What an `.auth_private` file says: which service, and the client's keys for it.
pub struct ClientKey {
    address: OnionAddress,
    keypair: HsClientDescEncKeypair,
}

/// Why a text is no client key. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKeyError {
    /// Not four fields with colons between.
    Fields,
    /// The first field is no address.
    Address(AddressError),
    /// The second and third field are not `descriptor:x25519`.
    Kind,
    /// The fourth field is not 32 bytes in base32.
    Key,
}

impl fmt::Display for ClientKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields => {
                f.write_str("not of the form ADDRESS:descriptor:x25519:KEY, as tor's .auth_private files are")
            }
            Self::Address(error) => error.fmt(f),
            Self::Kind => f.write_str("not a descriptor:x25519 key, the only kind there is"),
            Self::Key => f.write_str("its last field is not a key of 52 base32 characters"),
        }
    }
}

impl std::error::Error for ClientKeyError {}

/// No bytes.
impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

impl ClientKey {
    /// Reads the one line of an `.auth_private` file: `<56 characters>:descriptor:x25519:<base32>`.
    ///
    /// # Errors
    /// See [`ClientKeyError`].
    pub fn parse(text: &str) -> Result<Self, ClientKeyError> {
        let mut fields = text.trim().split(':');
        let (Some(address), Some(kind), Some(algorithm), Some(key), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(ClientKeyError::Fields);
        };
        if (kind, algorithm) != ("descriptor", "x25519") {
            return Err(ClientKeyError::Kind);
        }
        let address = address.parse().map_err(ClientKeyError::Address)?;
        let secret = Zeroizing::new(base32::decode(key).map_err(|_| ClientKeyError::Key)?);
        Ok(Self { address, keypair: HsClientDescEncKeypair::from_bytes(&secret) })
    }

    /// The service it is for.
    pub fn address(&self) -> OnionAddress {
        self.address
    }

    /// The client's keys.
    pub fn keypair(&self) -> &HsClientDescEncKeypair {
        &self.keypair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "v3rqpjm2qs53m53fhzxwfauv3xibzuwkyvyqawiefjessomhkyxwj7yd";

    #[test]
    fn tors_line_gives_address_and_key() {
        let keypair = HsClientDescEncKeypair::from_bytes(&[7; 32]);
        let line = keypair.expose_auth_private_line(HOST.parse().expect("an address"));
        let key = ClientKey::parse(&format!("{}\n", *line)).expect("tor's form");
        assert_eq!((key.address().host().as_str(), key.keypair().public()), (HOST, keypair.public()));
        assert_eq!(format!("{key:?}"), "ClientKey(..)");
    }

    #[test]
    fn each_mistake_has_its_name() {
        let key = base32::encode(&[7; 32]).to_string();
        let refusal = |text: &str| ClientKey::parse(text).err();
        assert_eq!(refusal(""), Some(ClientKeyError::Fields));
        assert_eq!(refusal(&format!("{HOST}:descriptor:x25519:{key}:")), Some(ClientKeyError::Fields));
        assert_eq!(refusal(&format!("{HOST}:descriptor:ed25519:{key}")), Some(ClientKeyError::Kind));
        assert_eq!(refusal(&format!("{HOST}:descriptor:x25519:{}", &key[1..])), Some(ClientKeyError::Key));
        assert_eq!(refusal(&format!("x:descriptor:x25519:{key}")), Some(ClientKeyError::Address(AddressError::Length)));
    }
}
