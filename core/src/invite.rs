//! Invites: one line of text with which a new machine joins the cluster through tor, and nothing else.
//!
//! ```text
//! invite   = "rbi1-" | base32(address (32) | port (2) | secret (16) | expires (4) | checksum (6))
//! checksum = SHA3-256("rustbalance invite checksum" | all before it)[..6]
//! key pair = ed25519 from the seed SHA3-256("rustbalance invite key" | secret)
//! path     = "/" | base32(SHA3-256("rustbalance invite path" | public key)[..20])
//! ```
//! Integers are big endian. The cluster holds the public key alone: with what members store or tell each other nobody can
//! join. The joiner signs with the secret key ([`exchange`]); the path, below which the cluster answers on the service's
//! own port ([`front`]), tells whoever does not know the public key nothing.

use core::fmt;
use core::str::FromStr;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::cluster::NodeKeypair;
use crate::id::NodeId;
use crate::onion::address::OnionAddress;
use crate::onion::base32::{self, Base32Error};
use crate::onion::client::ClientName;
use crate::onion::key::HsId;
use crate::time::Wall;

pub mod exchange;
#[doc(hidden)]
pub mod exercise;
pub mod front;
pub mod pace;
mod seal;

/// What every invite begins with: the kind of text, and its version.
const PREFIX: &str = "rbi1-";
const SECRET_LENGTH: usize = 16;
const CHECKSUM_LENGTH: usize = 6;
/// Bytes of an invite. A multiple of five, so that base32 has one way to write it.
const LENGTH: usize = 32 + 2 + SECRET_LENGTH + 4 + CHECKSUM_LENGTH;
/// Characters of an invite.
pub const INVITE_LENGTH: usize = PREFIX.len() + LENGTH / 5 * 8;
/// Longest time an invite may be good for, seconds: who has not joined within a month needs another.
pub const LIFETIME_MAX_SECS: u64 = 30 * 86_400;

/// Why a text is no invite that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteError {
    /// Does not begin as invites do.
    Prefix,
    /// Shorter than an invite: it was cut off.
    Truncated,
    /// Longer than an invite.
    Longer,
    /// A character that no invite has.
    Letter,
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, but the address or port can be nobody's.
    Address,
    /// It was good until then, Unix seconds.
    Expired(u64),
}

impl fmt::Display for InviteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => write!(f, "not an invite: it does not begin with \"{PREFIX}\"; copy the whole line"),
            Self::Truncated => write!(f, "cut off: an invite has {INVITE_LENGTH} characters; copy the whole line"),
            Self::Longer => write!(f, "too long: an invite has {INVITE_LENGTH} characters; copy that line alone"),
            Self::Letter => {
                f.write_str("damaged: an invite has only the letters a to z and the digits 2 to 7; copy it again")
            }
            Self::Checksum => f.write_str("damaged: its checksum does not match; copy it again"),
            Self::Address => f.write_str("it names no onion service; have a member make another one"),
            Self::Expired(at) => write!(
                f,
                "it has expired (Unix time {at}); have a member make another one, or set this machine's clock if it is wrong"
            ),
        }
    }
}

impl std::error::Error for InviteError {}

/// An invite, secret and all. Zeroized on drop, no `Debug` of bytes.
pub struct Invite {
    address: OnionAddress,
    port: u16,
    secret: Zeroizing<[u8; SECRET_LENGTH]>,
    expires: u32,
}

impl Invite {
    /// A new one to the service at `address` and `port`, good until `expires`.
    pub fn new(address: OnionAddress, port: u16, expires: Wall, rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_LENGTH]);
        rng.fill_bytes(&mut *secret);
        Self { address, port, secret, expires: u32::try_from(expires.as_secs()).unwrap_or(u32::MAX) }
    }

    /// The service it leads to.
    pub fn address(&self) -> OnionAddress {
        self.address
    }

    /// The service's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Until when it is good.
    pub fn expires(&self) -> Wall {
        Wall::from_secs(self.expires.into())
    }

    /// Whether it is good at `now`, by the joiner's own clock.
    ///
    /// # Errors
    /// `Expired`.
    pub fn check_expiry(&self, now: Wall) -> Result<(), InviteError> {
        let expires = self.expires().as_secs();
        if now.as_secs() < expires { Ok(()) } else { Err(InviteError::Expired(expires)) }
    }

    /// What the cluster knows of it.
    pub fn id(&self) -> InviteId {
        InviteId(self.keypair().id().0)
    }

    /// Its key pair, of the kind that nodes have.
    pub(crate) fn keypair(&self) -> NodeKeypair {
        let seed = Sha3_256::new().chain_update(b"rustbalance invite key").chain_update(*self.secret).finalize();
        NodeKeypair::from_seed(&Zeroizing::new(seed.into()))
    }

    /// The line itself, for whoever is invited and nobody else.
    pub fn expose_line(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend(self.address.id().0);
        bytes.extend(self.port.to_be_bytes());
        bytes.extend(*self.secret);
        bytes.extend(self.expires.to_be_bytes());
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        let mut line = Zeroizing::new(String::with_capacity(INVITE_LENGTH));
        line.push_str(PREFIX);
        line.push_str(&base32::encode(&bytes));
        line
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invite(..)")
    }
}

/// Takes upper case too, and white space around it. Says nothing of the time: see [`Invite::check_expiry`].
impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        let (prefix, body) = text.split_at_checked(PREFIX.len()).ok_or(InviteError::Prefix)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(InviteError::Prefix);
        }
        let bytes = base32::decode::<LENGTH>(body).map_err(|error| match error {
            Base32Error::Length if body.len() < INVITE_LENGTH - PREFIX.len() => InviteError::Truncated,
            Base32Error::Length => InviteError::Longer,
            Base32Error::Letter => InviteError::Letter,
        })?;
        let bytes = Zeroizing::new(bytes);
        let (known, given) = bytes.split_last_chunk::<CHECKSUM_LENGTH>().ok_or(InviteError::Truncated)?;
        if checksum(known) != *given {
            return Err(InviteError::Checksum);
        }
        let (id, rest) = known.split_first_chunk().ok_or(InviteError::Truncated)?;
        let (port, rest) = rest.split_first_chunk().ok_or(InviteError::Truncated)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(InviteError::Truncated)?;
        let expires = rest.first_chunk().ok_or(InviteError::Truncated)?;
        let (id, port) = (HsId(*id), u16::from_be_bytes(*port));
        if !id.is_valid() || port == 0 {
            return Err(InviteError::Address);
        }
        let (secret, expires) = (Zeroizing::new(*secret), u32::from_be_bytes(*expires));
        Ok(Self { address: OnionAddress::new(id), port, secret, expires })
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let hash = Sha3_256::new().chain_update(b"rustbalance invite checksum").chain_update(bytes).finalize();
    let hash: [u8; 32] = hash.into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// An invite's public key: what members know of it, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteId(pub [u8; 32]);

impl InviteId {
    /// Where the cluster answers whoever has it.
    pub fn path(self) -> InvitePath {
        let hash = Sha3_256::new().chain_update(b"rustbalance invite path").chain_update(self.0).finalize();
        let (mut path, text) =
            (InvitePath([0; InvitePath::LENGTH]), base32::encode(hash.first_chunk::<20>().map_or(&[], |some| some)));
        path.0.iter_mut().zip(text.bytes()).for_each(|(to, letter)| *to = letter);
        path
    }

    /// As the key of a signature.
    pub(crate) fn signer(self) -> NodeId {
        NodeId(self.0)
    }
}

/// The first 8 hex digits, for logs.
impl fmt::Debug for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteId({})", NodeId(self.0))
    }
}

/// The path of an invite, without its slash. Known to members and to the invited; no `Debug` of it.
#[derive(Clone, Copy)]
pub struct InvitePath([u8; Self::LENGTH]);

impl InvitePath {
    /// Characters.
    pub const LENGTH: usize = 32;

    /// As it stands in a request.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for InvitePath {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for InvitePath {}

impl fmt::Debug for InvitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitePath(..)")
    }
}

/// What the operator calls an invite: like a client's name, 1 to 32 letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteName(ClientName);

/// A text is no [`InviteName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadInviteName;

impl fmt::Display for BadInviteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an invite's name has 1 to 32 letters, digits, \"-\", \"_\" and \".\", and begins with a letter or digit",
        )
    }
}

impl std::error::Error for BadInviteName {}

impl FromStr for InviteName {
    type Err = BadInviteName;

    fn from_str(text: &str) -> Result<Self, BadInviteName> {
        text.parse().map(Self).map_err(|_| BadInviteName)
    }
}

impl fmt::Display for InviteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::id::WgPublicKey;
    use crate::onion::key::HsIdKeypair;
    use crate::rng::Rng;

    fn invite() -> Invite {
        let rng = &mut Rng::seed_from_u64(1);
        let address = OnionAddress::new(HsIdKeypair::generate(rng).public());
        Invite::new(address, 80, Wall::from_secs(1_700_000_000), rng)
    }

    #[test]
    fn an_invite_reads_back_what_it_writes_in_any_case() {
        let invite = invite();
        let line = invite.expose_line();
        assert_eq!(line.len(), INVITE_LENGTH);
        for text in [line.to_string(), line.to_uppercase(), format!("  {}\n", *line)] {
            let again: Invite = text.parse().unwrap();
            assert_eq!(*again.expose_line(), *line);
            assert_eq!((again.address(), again.port(), again.expires()), (invite.address(), 80, invite.expires()));
            assert_eq!(again.id(), invite.id());
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        let line = invite().expose_line();
        let refusal = |text: &str| text.parse::<Invite>().err();
        for text in ["", "rbi", "rbi2-aaaa", "ü", "http://example.org/"] {
            assert_eq!(refusal(text), Some(InviteError::Prefix), "{text}");
        }
        for end in PREFIX.len()..INVITE_LENGTH {
            assert_eq!(refusal(&line[..end]), Some(InviteError::Truncated));
        }
        assert_eq!(refusal(&format!("{}a", *line)), Some(InviteError::Longer));
        assert_eq!(refusal(&format!("{}1", &line[..INVITE_LENGTH - 1])), Some(InviteError::Letter));
        for at in PREFIX.len()..INVITE_LENGTH {
            let mut other = line.to_string();
            other.replace_range(at..=at, if &line[at..=at] == "a" { "b" } else { "a" });
            assert_eq!(refusal(&other), Some(InviteError::Checksum), "character {at}");
        }
        let nobody = Invite { address: OnionAddress::new(HsId([0; 32])), ..invite() };
        assert_eq!(refusal(&nobody.expose_line()), Some(InviteError::Address));
        assert_eq!(refusal(&Invite { port: 0, ..invite() }.expose_line()), Some(InviteError::Address));
    }

    #[test]
    fn an_invite_is_good_until_it_expires() {
        let check = |secs| invite().check_expiry(Wall::from_secs(secs));
        assert_eq!(check(1_699_999_999), Ok(()));
        assert_eq!(check(1_700_000_000), Err(InviteError::Expired(1_700_000_000)));
    }

    #[test]
    fn what_others_see_of_an_invite_differs_from_one_to_the_next() {
        let rng = &mut Rng::seed_from_u64(2);
        let (one, other) = (invite(), Invite::new(invite().address(), 80, Wall::from_secs(0), rng));
        assert_ne!(one.id(), other.id());
        assert!(one.id().path() != other.id().path());
        let path = one.id().path();
        assert!(path.as_bytes().iter().all(|letter| letter.is_ascii_lowercase() || (b'2'..=b'7').contains(letter)));
    }

    #[test]
    fn no_bytes_make_anything_panic() {
        use rand_core::Rng as _;
        let (rng, id) = (&mut Rng::seed_from_u64(7), invite().id());
        let asked = exchange::Guest::new(&invite(), NodeKeypair::from_seed(&[1; 32]), WgPublicKey([1; 32]), None, rng);
        for _ in 0..5_000 {
            let mut bytes = asked.request().to_vec();
            for _ in 0..rng.next_u32() % 8 {
                let at = rng.next_u32() as usize % bytes.len();
                bytes[at] = rng.next_u32().to_le_bytes()[0];
            }
            bytes.truncate(rng.next_u32() as usize % (bytes.len() + 1));
            if let front::Look::Request { body, .. } = front::look(&bytes, &[id.path()]) {
                _ = exchange::check_request(body, id);
            }
            _ = exchange::check_request(&bytes, id);
            _ = asked.handle(&bytes);
            _ = String::from_utf8_lossy(&bytes).parse::<Invite>();
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", invite()), "Invite(..)");
        assert_eq!(format!("{:?}", invite().id().path()), "InvitePath(..)");
    }
}
