//! What brings an address back when every node is lost: one encrypted file.
//!
//! It holds what belongs to the address and nothing of a node or a cluster: the key, who may connect, and the port. A
//! node that is founded with it is a new one, of a new cluster, so a backup cannot make two nodes of one identity.

#[doc(hidden)]
pub mod exercise;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cluster::{Access, CLIENTS_MAX, sign};
use crate::onion::key::HsIdKeypair;
use crate::passphrase::Passphrase;
use crate::sealed::{self, Flaw, Kind, SealedError, SealedFile};

/// Bytes of tor's secret key file, with which the content begins.
const KEY_LENGTH: usize = 96;

/// It opens, but what is in it does not decode.
const BAD_CONTENT: SealedError = SealedError { kind: Kind::Backup, flaw: Flaw::Content };

/// What belongs to an address.
#[derive(Debug)]
pub struct Backup {
    /// The key.
    pub master: HsIdKeypair,
    /// Who may connect.
    pub access: Access,
    /// The service's port.
    pub port: u16,
}

impl Backup {
    /// The file, encrypted with `passphrase`. Takes 64 MiB of memory and some tenths of a second.
    pub fn seal(&self, passphrase: &Passphrase, rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        sealed::seal(Kind::Backup, &self.content(), |salt| passphrase.keys(salt), rng)
    }

    fn content(&self) -> Zeroizing<Vec<u8>> {
        let rest = sign::encode(&(&self.access, self.port));
        Zeroizing::new([&self.master.to_tor_file()[..], &rest].concat())
    }

    /// What is in a file that was opened.
    ///
    /// # Errors
    /// `Content`.
    pub fn from_content(content: &[u8]) -> Result<Self, SealedError> {
        let (key, rest) = content.split_at_checked(KEY_LENGTH).ok_or(BAD_CONTENT)?;
        let master = HsIdKeypair::from_tor_file(key).map_err(|_| BAD_CONTENT)?;
        let (access, port): (Access, u16) = sign::decode(rest).ok_or(BAD_CONTENT)?;
        let fits = access.clients().count() <= CLIENTS_MAX && port != 0;
        fits.then_some(Self { master, access, port }).ok_or(BAD_CONTENT)
    }
}

/// A file that is whole: what is in it is not known yet, nor who wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a>(SealedFile<'a>);

impl<'a> Sealed<'a> {
    /// Reads a file up to what the passphrase is needed for.
    ///
    /// # Errors
    /// `OtherKind`, `Version`, `Truncated`, `Damaged`.
    pub fn parse(file: &'a [u8]) -> Result<Self, SealedError> {
        SealedFile::parse(Kind::Backup, file).map(Self)
    }

    /// Opens it. Takes 64 MiB of memory and some tenths of a second, whatever the file says.
    ///
    /// # Errors
    /// `WrongKey`, `Content`.
    pub fn open(&self, passphrase: &Passphrase) -> Result<Backup, SealedError> {
        Backup::from_content(&self.0.content(|salt| passphrase.keys(salt))?)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::onion::client::HsClientDescEncKeypair;
    use crate::rng::Rng;

    fn passphrase() -> Passphrase {
        Passphrase::from_text(b"correct horse battery\n").unwrap()
    }

    fn backup(access: Access) -> Backup {
        Backup { master: HsIdKeypair::from_seed(&[7; 32]), access, port: 8080 }
    }

    fn restricted() -> Access {
        let key = HsClientDescEncKeypair::from_bytes(&[9; 32]).public();
        Access::Restricted([("alice".parse().unwrap(), key)].into())
    }

    #[test]
    fn what_is_backed_up_comes_back() {
        for access in [Access::Open, Access::Restricted([].into()), restricted()] {
            let file = backup(access.clone()).seal(&passphrase(), &mut Rng::seed_from_u64(1)).unwrap();
            assert!(file.len() <= sealed::FILE_MAX);
            let again = Sealed::parse(&file).unwrap().open(&passphrase()).unwrap();
            assert_eq!((again.master.public(), again.port), (backup(Access::Open).master.public(), 8080));
            assert_eq!(again.access, access);
        }
    }

    #[test]
    fn two_backups_of_one_address_have_nothing_in_common_but_their_kind_and_length() {
        let file = |seed| backup(Access::Open).seal(&passphrase(), &mut Rng::seed_from_u64(seed)).unwrap();
        let (one, two) = (file(1), file(2));
        let same = one.iter().zip(&two).skip(13).filter(|(a, b)| a == b).count();
        assert!(one.len() == two.len() && same < one.len() / 16, "{same} of {}", one.len());
    }

    #[test]
    fn content_that_is_no_backup_is_refused() {
        let good = [&backup(Access::Open).master.to_tor_file()[..], &sign::encode(&(Access::Open, 80u16))].concat();
        assert!(Backup::from_content(&good).is_ok());
        for length in 0..good.len() {
            assert_eq!(Backup::from_content(&good[..length]).err(), Some(BAD_CONTENT), "{length}");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(Backup::from_content(&longer).err(), Some(BAD_CONTENT));
        let no_port = [&good[..96], &sign::encode(&(Access::Open, 0u16))].concat();
        assert_eq!(Backup::from_content(&no_port).err(), Some(BAD_CONTENT));
    }
}
