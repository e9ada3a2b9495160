//! `.onion` addresses with their checksum (rend-spec `[ONIONADDRESS]`).

use core::fmt;
use core::str::FromStr;

use sha3::{Digest as _, Sha3_256};

use super::base32::{self, Base32Error};
use super::key::HsId;

const VERSION: u8 = 3;
/// Bytes of an address: key, checksum, version.
const ADDRESS_LENGTH: usize = 35;

/// 56 base32 characters and `.onion`. Derived from [`HsId`]; `Display` writes it in full, so keep it out of logs below `info`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnionAddress(HsId);

/// Why a text is no v3 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Not 56 characters (with or without `.onion`).
    Length,
    /// A character outside base32.
    Base32,
    /// The checksum does not match: a typing mistake.
    Checksum,
    /// A version other than 3.
    Version(u8),
    /// The checksum matches but the key is none that tor accepts.
    Key,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a v3 onion address has 56 characters before \".onion\""),
            Self::Base32 => f.write_str("an onion address has only the letters a to z and the digits 2 to 7"),
            Self::Checksum => f.write_str("the onion address has a wrong checksum; check it for typing mistakes"),
            Self::Version(version) => write!(f, "the onion address has version {version}; only version 3 exists"),
            Self::Key => f.write_str("the onion address encodes no valid key"),
        }
    }
}

impl std::error::Error for AddressError {}

impl OnionAddress {
    /// The address of `id`.
    pub fn new(id: HsId) -> Self {
        Self(id)
    }

    /// The identity it encodes.
    pub fn id(&self) -> HsId {
        self.0
    }

    /// The 56 characters without `.onion`, as control-spec's HSADDRESS takes them:
    /// `base32(KP_hs_id | CHECKSUM | VERSION)`.
    pub fn host(&self) -> String {
        let bytes = [&self.0.0[..], &checksum(self.0), &[VERSION]].concat();
        core::mem::take(&mut *base32::encode(&bytes))
    }
}

/// Takes upper case too, and the host with or without `.onion`.
impl FromStr for OnionAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let host = match text.len().checked_sub(".onion".len()).and_then(|at| text.split_at_checked(at)) {
            Some((host, suffix)) if suffix.eq_ignore_ascii_case(".onion") => host,
            Some(_) | None => text,
        };
        let bytes = base32::decode::<ADDRESS_LENGTH>(host).map_err(|error| match error {
            Base32Error::Length => AddressError::Length,
            Base32Error::Letter => AddressError::Base32,
        })?;
        let (key, rest) = bytes.split_first_chunk::<32>().ok_or(AddressError::Length)?;
        let id = HsId(*key);
        let &[check_0, check_1, version] = rest else { return Err(AddressError::Length) };
        if version != VERSION {
            return Err(AddressError::Version(version));
        }
        if [check_0, check_1] != checksum(id) {
            return Err(AddressError::Checksum);
        }
        if !id.is_valid() {
            return Err(AddressError::Key);
        }
        Ok(Self(id))
    }
}

impl fmt::Display for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.onion", self.host())
    }
}

/// Redacted, unlike `Display`.
impl fmt::Debug for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionAddress(..)")
    }
}

/// `H(".onion checksum" | KP_hs_id | VERSION)[..2]`.
fn checksum(id: HsId) -> [u8; 2] {
    let hash = Sha3_256::new().chain_update(b".onion checksum").chain_update(id.0).chain_update([VERSION]);
    let [first, second, ..]: [u8; 32] = hash.finalize().into();
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v3rqpjm2qs53m53fhzxwfauv3xibzuwkyvyqawiefjessomhkyxwj7yd";

    #[test]
    fn an_address_reads_back_in_any_case_with_or_without_suffix() {
        for text in [GOOD.to_owned(), format!("{GOOD}.onion"), format!("{GOOD}.onion").to_uppercase()] {
            let address: OnionAddress = text.parse().expect("valid");
            assert_eq!(address.host(), GOOD);
            assert_eq!(address.to_string(), format!("{GOOD}.onion"));
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        let refusal = |text: &str| text.parse::<OnionAddress>().err();
        assert_eq!(refusal(""), Some(AddressError::Length));
        assert_eq!(refusal(&GOOD[1..]), Some(AddressError::Length));
        assert_eq!(refusal(&format!("{GOOD}.onio")), Some(AddressError::Length));
        assert_eq!(refusal(&"ü".repeat(28)), Some(AddressError::Base32));
        assert_eq!(refusal(&GOOD.replacen('v', "0", 1)), Some(AddressError::Base32));
        assert_eq!(refusal(&GOOD.replacen('v', "a", 1)), Some(AddressError::Checksum));
        let version_2 = format!("{}c", &GOOD[..55]);
        assert_eq!(refusal(&version_2), Some(AddressError::Version(2)));
        let no_key = OnionAddress::new(HsId([0; 32])).host();
        assert_eq!(refusal(&no_key), Some(AddressError::Key));
    }

    #[test]
    fn debug_does_not_show_the_address() {
        assert_eq!(format!("{:?}", OnionAddress::new(HsId([3; 32]))), "OnionAddress(..)");
    }
}
