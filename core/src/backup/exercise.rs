//! For fuzzing: any bytes as a backup, past the hash at its end and past its encryption.

use rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};

use super::{Backup, Sealed};
use crate::cluster::Access;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::HsIdKeypair;
use crate::passphrase::Passphrase;
use crate::rng::Rng;

/// `bytes` as a file whose hash is right, and as what is in one.
///
/// # Panics
/// What was read does not read back: a bug of ours.
pub fn exercise(bytes: &[u8]) {
    let (body, _) = bytes.split_at_checked(bytes.len().saturating_sub(32)).unwrap_or_default();
    let whole = [body, &Sha256::digest(body)].concat();
    _ = Sealed::parse(&whole);
    if let Ok(backup) = Backup::from_content(bytes) {
        let again = Backup::from_content(&backup.content());
        let same = again.is_ok_and(|again| {
            again.master.public() == backup.master.public()
                && (again.access, again.port) == (backup.access, backup.port)
        });
        assert!(same);
    }
}

/// A file, and what is in it.
pub fn samples() -> Option<[Vec<u8>; 2]> {
    let key = HsClientDescEncKeypair::from_bytes(&[9; 32]).public();
    let access = Access::Restricted([("alice".parse().ok()?, key)].into());
    let backup = Backup { master: HsIdKeypair::from_seed(&[7; 32]), access, port: 80 };
    let passphrase = Passphrase::from_text(b"correct horse battery").ok()?;
    Some([backup.seal(&passphrase, &mut Rng::seed_from_u64(1))?, backup.content().to_vec()])
}
