//! Ed25519 identities from microdescriptors (`GETINFO md/all`).

use super::decode_base64;
use crate::id::RelayEd25519Id;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// SHA-256 digest of a microdescriptor, and its relay's ed25519 identity.
pub type Identity = ([u8; 32], RelayEd25519Id);

const LF: &[u8] = b"\n";

/// Those of all microdescriptors in `text`. Those without an identity are skipped.
pub fn identities(text: &[u8]) -> BTreeMap<[u8; 32], RelayEd25519Id> {
    let (mut identities, mut draft) = (BTreeMap::new(), Draft::default());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        identities.extend(match line.strip_suffix(LF) {
            Some(line) => draft.line(line),
            None => draft.part(line, b""),
        });
    }
    identities.extend(draft.finish());
    identities
}

/// One microdescriptor after the other while they are read, line by line, so that nobody need hold their text: it has
/// megabytes.
#[derive(Default)]
pub struct Draft(Option<Microdesc>);

impl Draft {
    /// Takes the next line, without its LF; what the microdescriptor that ended before it says.
    pub fn line(&mut self, line: &[u8]) -> Option<Identity> {
        self.part(line, LF)
    }

    fn part(&mut self, line: &[u8], end: &[u8]) -> Option<Identity> {
        let starts = starts_microdesc(line);
        // Annotations of tor's cache stand between microdescriptors and are not hashed.
        let ended = if starts || line.starts_with(b"@") { self.0.take() } else { None };
        if starts {
            self.0 = Some(Microdesc::default());
        }
        if let Some(microdesc) = &mut self.0 {
            microdesc.line(line, end);
        }
        ended.and_then(Microdesc::finish)
    }

    /// All lines were read; what the last microdescriptor says.
    pub fn finish(self) -> Option<Identity> {
        self.0.and_then(Microdesc::finish)
    }
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
    fn line(&mut self, line: &[u8], end: &[u8]) {
        self.hash.update(line);
        self.hash.update(end);
        let value = line.strip_prefix(b"id ed25519 ").and_then(|value| core::str::from_utf8(value).ok());
        if let Some(id) = value.and_then(|value| decode_base64(value.trim_ascii_end())) {
            self.id.get_or_insert(RelayEd25519Id(id));
        }
    }

    fn finish(self) -> Option<Identity> {
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
    fn a_last_line_that_does_not_end_is_hashed_as_it_is() {
        let cut = TWO.trim_end();
        assert_eq!(identities(cut.as_bytes()).into_keys().collect::<Vec<_>>(), [digest(cut)]);
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
