//! Keys of kinds that a later version has. Whoever does not know a kind passes over it and goes on with what follows; so
//! its length must be known: a kind is one byte, up to [`OF_NOBODY_MAX`] nothing follows it, from [`OF_NODE_MIN`]
//! to [`KIND_MAX`] the id of a node does.

use core::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Key, Stamp};
use crate::id::NodeId;

/// Kinds this version knows: below this.
pub(in crate::cluster) const KINDS: u8 = 7;
/// Later kinds up to this one are of no node.
const OF_NOBODY_MAX: u8 = 63;
/// Later kinds from this one on are of a node.
const OF_NODE_MIN: u8 = OF_NOBODY_MAX + 1;
/// Kinds beyond this one there are none: postcard would take two bytes for them.
const KIND_MAX: u8 = 127;

/// A key as it comes; `None` if it is of a later kind.
struct AnyKey(Option<Key>);

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, AnyKeyVisitor)
    }
}

struct AnyKeyVisitor;

impl<'de> Visitor<'de> for AnyKeyVisitor {
    type Value = AnyKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of an item")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<AnyKey, A::Error> {
        let short = || A::Error::custom("too short");
        let kind: u8 = parts.next_element()?.ok_or_else(short)?;
        let mut node = || parts.next_element::<NodeId>()?.ok_or_else(short);
        Ok(AnyKey(match kind {
            0 => Some(Key::Entry(node()?)),
            1 => Some(Key::Record(node()?)),
            2 => Some(Key::Plan),
            3 => Some(Key::Rotation),
            4 => Some(Key::Access),
            5 => Some(Key::Pause),
            6 => Some(Key::Invites),
            KINDS..=OF_NOBODY_MAX => None,
            OF_NODE_MIN..=KIND_MAX => node().map(|_| None)?,
            _ => return Err(A::Error::custom("no kind")),
        }))
    }
}

/// Those of `keys` that this version knows.
pub(in crate::cluster) fn known<'de, D: Deserializer<'de>>(keys: D) -> Result<Vec<Key>, D::Error> {
    let keys = Vec::<AnyKey>::deserialize(keys)?;
    Ok(keys.into_iter().filter_map(|AnyKey(key)| key).collect())
}

/// The same, with their stamps.
pub(in crate::cluster) fn known_stamps<'de, D: Deserializer<'de>>(keys: D) -> Result<Vec<(Key, Stamp)>, D::Error> {
    let keys = Vec::<(AnyKey, Stamp)>::deserialize(keys)?;
    Ok(keys.into_iter().filter_map(|(AnyKey(key), stamp)| Some((key?, stamp))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sign;

    const NODE: NodeId = NodeId([9; 32]);
    const ALL: [Key; KINDS as usize] =
        [Key::Entry(NODE), Key::Record(NODE), Key::Plan, Key::Rotation, Key::Access, Key::Pause, Key::Invites];

    fn read(bytes: &[u8]) -> Option<Option<Key>> {
        sign::decode::<AnyKey>(bytes).map(|AnyKey(key)| key)
    }

    #[test]
    fn every_kind_reads_back() {
        for (kind, key) in (0..KINDS).zip(ALL) {
            let bytes = sign::encode(&key);
            assert_eq!((bytes[0], read(&bytes)), (kind, Some(Some(key))));
        }
    }

    #[test]
    fn later_kinds_are_as_long_as_their_number_says() {
        for kind in KINDS..=KIND_MAX {
            let (short, long) = (vec![kind], [&[kind][..], &NODE.0].concat());
            let expected = if kind <= OF_NOBODY_MAX { (Some(None), None) } else { (None, Some(None)) };
            assert_eq!((read(&short), read(&long)), expected, "{kind}");
        }
        for kind in KIND_MAX + 1..=u8::MAX {
            assert_eq!(read(&[&[kind][..], &NODE.0].concat()), None, "{kind}");
        }
    }
}
