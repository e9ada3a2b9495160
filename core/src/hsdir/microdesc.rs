//! Ed25519 identities from microdescriptors (`GETINFO md/all`).

use super::decode_base64;
use crate::id::RelayEd25519Id;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// SHA-256 digest of each microdescriptor to its relay's ed25519 identity. Those without one are skipped.
pub fn identities(text: &[u8]) -> BTreeMap<[u8; 32], RelayEd25519Id> {
    let mut identities = BTreeMap::new();
    let mut current: Option<Microdesc> = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        // Annotations of tor's cache stand between microdescriptors and are not hashed.
        if starts_microdesc(line) || line.starts_with(b"@") {
            current.take().and_then(Microdesc::finish).map(|(digest, id)| identities.insert(digest, id));
        }
        if starts_microdesc(line) {
            current = Some(Microdesc::default());
        }
        if let Some(microdesc) = &mut current {
            microdesc.line(line);
        }
    }
    current.and_then(Microdesc::finish).map(|(digest, id)| identities.insert(digest, id));
    identities
}

/// Every microdescriptor begins with this line, even once its key object is gone (dir-spec).
fn starts_microdesc(line: &[u8]) -> bool {
    line.strip_prefix(b"onion-key").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// One microdescriptor while it is read.
#[derive(Default)]
struct Microdesc {
    hash: Sha256,
    id: Option<RelayEd25519Id>,
}

impl Microdesc {
    fn line(&mut self, line: &[u8]) {
        self.hash.update(line);
        let value = line.strip_prefix(b"id ed25519 ").and_then(|value| core::str::from_utf8(value).ok());
        if let Some(id) = value.and_then(|value| decode_base64(value.trim_ascii_end())) {
            self.id.get_or_insert(RelayEd25519Id(id));
        }
    }

    fn finish(self) -> Option<([u8; 32], RelayEd25519Id)> {
        self.id.map(|id| (self.hash.finalize().into(), id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "onion-key\nid ed25519 MEpZuHoaC1eUDwMPG6A81+XooTrYTUWBT0LMKODavLk\n";
    const TWO: &str = "onion-key\nntor-onion-key x\nid ed25519 O1p3k2E8vu/tgGHXZ7y5lcQz0MGLKAJEjyhSnIh2++c\n";

    fn digest(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    #[test]
    fn digest_covers_the_exact_text() {
        let found = identities(format!("{ONE}@last-listed 2026-01-01\n{TWO}").as_bytes());
        assert_eq!(found.keys().copied().collect::<std::collections::BTreeSet<_>>(), [digest(ONE), digest(TWO)].into());
    }

    #[test]
    fn microdescriptor_without_identity_is_skipped() {
        assert_eq!(identities(b"onion-key\nid rsa1024 abc\nonion-key\nid ed25519 short\n"), BTreeMap::new());
        assert_eq!(identities(b"id ed25519 MEpZuHoaC1eUDwMPG6A81+XooTrYTUWBT0LMKODavLk\n"), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut text = ONE.as_bytes().to_vec();
            text.extend(bytes);
            prop_assert!(identities(&text).len() <= 300);
        }
    }
}
