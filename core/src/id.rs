//! Names of things: nodes, clusters, relays, tors, effects. Newtypes, so that no two can be swapped.

use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

/// `bytes` in lower-case hexadecimal, in full.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The order of `bytes`: names are keys or hashes, and nearly always the first eight bytes tell two of them apart.
fn order<const N: usize>(these: &[u8; N], those: &[u8; N]) -> Ordering {
    let start = |bytes: &[u8; N]| bytes.first_chunk().copied().map_or(0, u64::from_be_bytes);
    start(these).cmp(&start(those)).then_with(|| these.cmp(those))
}

/// What `digits`, two a byte in either case, stand for.
pub(crate) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut digits = digits.iter().map(|&digit| char::from(digit).to_digit(16));
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

/// Puts a name in the order of its bytes.
macro_rules! in_order {
    ($name:ty) => {
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                order(&self.0, &other.0)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

/// Writes `bytes` in hexadecimal.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// A node's ed25519 public key: its name in the mesh, and what verifies its records and beacons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

in_order!(NodeId);

impl NodeId {
    /// From 64 hex digits, either case, as `status` has them.
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text.as_bytes()).map(Self)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 8 hex digits, for logs and people.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0.first_chunk::<4>().map_or(&[], |short| short))
    }
}

/// A node's WireGuard (x25519) public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WgPublicKey(pub [u8; 32]);

impl fmt::Debug for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0.first_chunk::<4>().map_or(&[], |short| short))
    }
}

/// Which cluster: a hash of the master address and the first node's [`NodeId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 32]);

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0.first_chunk::<4>().map_or(&[], |short| short))
    }
}

/// One of this node's tors; a node may run several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TorId(pub u8);

/// Ties an [`Output`](crate::Output) that can fail to the [`Input::Done`](crate::Input) that says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// A relay's RSA identity fingerprint (SHA-1), the name tor's control port uses for HSDirs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelayFingerprint(pub [u8; 20]);

in_order!(RelayFingerprint);

impl RelayFingerprint {
    /// From 40 hex digits, either case, with or without a leading `$`, anything after `~` or `=` ignored
    /// (control-spec `LongName`).
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('$').unwrap_or(text);
        unhex(digits.split(['~', '=']).next()?.as_bytes()).map(Self)
    }
}

/// 40 upper-case hex digits, as control-spec writes it.
impl fmt::Display for RelayFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for RelayFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A relay's ed25519 identity, what the HSDir ring hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayEd25519Id(pub [u8; 32]);

impl fmt::Debug for RelayEd25519Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_bytes() {
        let mut names = [[0; 32], [1; 32], [255; 32]];
        names[0][0] = 128;
        let tails = names.map(|mut name| {
            name[31] ^= 1;
            name
        });
        for (one, other) in names.iter().chain(&tails).flat_map(|one| names.iter().map(move |other| (one, other))) {
            assert_eq!(NodeId(*one).cmp(&NodeId(*other)), one.cmp(other));
            assert_eq!(NodeId(*one) < NodeId(*other), one < other);
        }
    }

    #[test]
    fn fingerprint_reads_back_what_it_writes() {
        let relay = RelayFingerprint([0xA5; 20]);
        assert_eq!(RelayFingerprint::from_hex(&relay.to_string()), Some(relay));
        assert_eq!(RelayFingerprint::from_hex(&format!("${relay}~name")), Some(relay));
    }

    #[test]
    fn fingerprint_refuses_other_text() {
        for bad in ["", "$", "A5A5", "+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5+5", "zz".repeat(20).as_str()] {
            assert_eq!(RelayFingerprint::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_node_id_is_64_hex_digits() {
        assert_eq!(NodeId::from_hex(&"0a".repeat(32)), Some(NodeId([10; 32])));
        for bad in ["", &"+a".repeat(32), "0a", &"0a".repeat(33), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(NodeId::from_hex(bad), None, "{bad}");
        }
    }
}
