//! The node's keys as files. Each is a type of its own, zeroized when dropped, and never printed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::{ClusterToken, NodeKeypair};
use rustbalance_core::onion::key::KeyFileError;
pub(crate) use rustbalance_core::onion::key_file::from_base64;
use rustbalance_core::onion::key_file::{KEY_FILE_MAX, KeyFormat};
use rustbalance_core::sealed::SealedError;
use zeroize::Zeroizing;

use crate::entropy::{self, EntropyError};
use crate::fault::Fault;
use crate::store::{Secrets, Store, StoreError, check_secret_file};

mod export;
mod master;

pub use export::write_new_secret;
pub use master::{MASTER_FILE, MasterKey};

/// Why a key cannot be used. No message contains key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or others can read it too.
    #[error(transparent)]
    File(#[from] StoreError),
    /// Not a service's key.
    #[error("{}: not the key of an onion service: {why}; give tor's `hs_ed25519_secret_key`, or an ed25519 key in PEM or base64", path.display())]
    Master {
        /// The file, or `standard input`.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyFileError,
    },
    /// The files beside the key are of another one.
    #[error("{}: is of another service than the key beside it; give the directory as tor has it, or the key file alone", path.display())]
    Mixed {
        /// Which.
        path: PathBuf,
    },
    /// The wanted format has what the key's file has not.
    #[error("{}: tor's file has the key in expanded form, and from that nobody can work out the seed that {wanted} has; write it in tor's format, or give the file that it was made from", path.display())]
    NoSeed {
        /// The file, or `standard input`.
        path: PathBuf,
        /// What was asked for.
        wanted: KeyFormat,
    },
    /// Not 32 bytes in base64.
    #[error("{}: not a {what}: expected 44 base64 characters on one line; copy the file again, byte for byte", path.display())]
    Base64 {
        /// The file, or `standard input`.
        path: PathBuf,
        /// Which kind of key it should hold.
        what: &'static str,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A file of an encrypted state.
    #[error("{}: {why}", path.display())]
    Sealed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: SealedError,
    },
    /// It cannot be read without the passphrase.
    #[error("{}: is encrypted; give the passphrase, in a file with --passphrase-file", .0.display())]
    Encrypted(PathBuf),
    /// There is nothing to encrypt.
    #[error("{}: the keys are encrypted already; `rustbalance key passphrase` changes the passphrase", .0.display())]
    AlreadyEncrypted(PathBuf),
    /// There is nothing to decrypt.
    #[error("{}: the keys are not encrypted; `rustbalance key encrypt` encrypts them", .0.display())]
    NotEncrypted(PathBuf),
    /// More than a file can hold.
    #[error("a secret is too long to be encrypted; report this as a bug")]
    TooLong,
}

impl KeyError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entropy(_) | Self::TooLong => Fault::Runtime,
            Self::NoSeed { .. } => Fault::Usage,
            Self::File(error) => error.fault(),
            Self::Master { .. }
            | Self::Mixed { .. }
            | Self::Base64 { .. }
            | Self::Sealed { .. }
            | Self::Encrypted(_)
            | Self::AlreadyEncrypted(_)
            | Self::NotEncrypted(_) => Fault::State,
        }
    }
}

/// Makes a type for a secret of 32 bytes that is stored as one line of base64.
macro_rules! secret {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// A new one.
            ///
            /// # Errors
            /// No randomness.
            pub fn generate() -> Result<Self, KeyError> {
                Ok(Self(entropy::secret()?))
            }

            /// From base64, surrounding white space ignored; `path` is for messages.
            ///
            /// # Errors
            /// It is something else.
            pub fn from_text(text: &[u8], path: &Path) -> Result<Self, KeyError> {
                let text = core::str::from_utf8(text).ok().and_then(|text| from_base64(text.trim()));
                text.map(Self).ok_or_else(|| KeyError::Base64 { path: path.to_owned(), what: $what })
            }

            /// Reads its file, which nobody else may be able to read.
            ///
            /// # Errors
            /// See [`KeyError`].
            pub fn read(path: &Path) -> Result<Self, KeyError> {
                Self::from_text(&read_secret_file(path)?, path)
            }

            /// Its file: one line of base64.
            pub fn to_file(&self) -> Zeroizing<Vec<u8>> {
                let mut line = Zeroizing::new(vec![b'\n'; 45]);
                if let Some(text) = line.first_chunk_mut::<44>() {
                    // 32 bytes are 44 characters: it fits.
                    _ = BASE64_STANDARD.encode_slice(*self.0, text);
                }
                line
            }
        }
    };
}

secret!(NodeKey, "node key", "The seed of the node's signing key.");
secret!(WireguardKey, "WireGuard key", "The node's WireGuard key.");
secret!(Token, "cluster token", "The cluster token: authorises asking to be admitted.");

impl NodeKey {
    /// For the core.
    pub fn keypair(&self) -> NodeKeypair {
        NodeKeypair::from_seed(&self.0)
    }
}

impl WireguardKey {
    /// For the mesh.
    pub fn secret(&self) -> StaticSecret {
        StaticSecret::from(*self.0)
    }

    /// The public half.
    pub fn public(&self) -> WgPublicKey {
        WgPublicKey(PublicKey::from(&self.secret()).to_bytes())
    }
}

impl Token {
    /// For the core.
    pub fn token(&self) -> ClusterToken {
        ClusterToken::new(*self.0)
    }
}

impl From<&ClusterToken> for Token {
    fn from(token: &ClusterToken) -> Self {
        Self(Zeroizing::new(*token.expose_secret()))
    }
}

pub(crate) const NODE_FILE: &str = "node_key";
pub(crate) const WIREGUARD_FILE: &str = "wireguard_key";
pub(crate) const TOKEN_FILE: &str = "cluster_token";
/// All files below `keys/`.
pub(crate) const KEY_FILES: [&str; 4] = [MASTER_FILE, NODE_FILE, WIREGUARD_FILE, TOKEN_FILE];

impl Secrets {
    /// Reads all keys of the node in `store`.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn read(store: &Store) -> Result<Self, KeyError> {
        let secret = |name| Ok::<_, KeyError>((store.read_secret(name)?, store.key_file(name)));
        let ((node, node_path), (wireguard, wireguard_path)) = (secret(NODE_FILE)?, secret(WIREGUARD_FILE)?);
        Ok(Self {
            master: store.master_key()?,
            node: NodeKey::from_text(&node, &node_path)?,
            wireguard: WireguardKey::from_text(&wireguard, &wireguard_path)?,
            token: store.token()?,
        })
    }

    /// The files below `keys/`, by name.
    pub(crate) fn files(&self) -> [(&'static str, Zeroizing<Vec<u8>>); 4] {
        [
            (MASTER_FILE, self.master.to_tor_file()),
            (NODE_FILE, self.node.to_file()),
            (WIREGUARD_FILE, self.wireguard.to_file()),
            (TOKEN_FILE, self.token.to_file()),
        ]
    }
}

impl Store {
    /// The address' key.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn master_key(&self) -> Result<MasterKey, KeyError> {
        MasterKey::from_file(self.read_secret(MASTER_FILE)?, &self.key_file(MASTER_FILE))
    }

    /// The cluster token.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn token(&self) -> Result<Token, KeyError> {
        Token::from_text(&self.read_secret(TOKEN_FILE)?, &self.token_file())
    }
}

/// A public WireGuard key as people copy it: base64, as `wg` prints it.
pub fn wireguard_public_to_text(key: WgPublicKey) -> String {
    to_base64(&key.0)
}

/// Reads what [`wireguard_public_to_text`] writes; `None` if it is anything else.
pub fn wireguard_public_from_text(text: &str) -> Option<WgPublicKey> {
    from_base64(text.trim()).map(|key| WgPublicKey(*key))
}

pub(crate) fn to_base64(bytes: &[u8; 32]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Reads a secret from `input` (standard input, say) without leaving copies behind; `path` is for messages.
///
/// # Errors
/// It cannot be read.
pub fn read_secret(input: &mut impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // Room from the start: a buffer that grows leaves its old place as it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_FILE_MAX));
    input.take(KEY_FILE_MAX as u64).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    Ok(bytes)
}

/// Reads a secret's file, which nobody else may be able to read.
///
/// # Errors
/// It cannot be read, or others can read it.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    check_secret_file(path)?;
    read_secret(&mut File::open(path).map_err(StoreError::io("read", path))?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_what_they_write() {
        let token = Token::generate().unwrap();
        let line = token.to_file();
        assert_eq!((line.len(), line.last()), (45, Some(&b'\n')));
        let again = Token::from_text(&line, Path::new("token")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(*again.0, *token.0);
    }

    #[test]
    fn what_is_no_secret_is_refused_by_name_and_not_shown() {
        let long = "A".repeat(45);
        for text in ["", "AAAA", long.as_str(), "\u{e4}"] {
            let Err(error) = Token::from_text(text.as_bytes(), Path::new("/t")) else { panic!("{text}") };
            let message = error.to_string();
            assert!(message.starts_with("/t: not a cluster token"), "{message}");
            assert!(text.len() < 4 || !message.contains(text));
        }
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, *Token::generate().unwrap().to_file().first_chunk::<45>().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let Err(error) = Token::read(&path) else { panic!("it was read") };
        assert!(error.to_string().contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(Token::read(&path).is_ok());
    }

    #[test]
    fn wireguard_keys_are_written_as_wg_writes_them() {
        // `wg genkey` / `wg pubkey` format, checked with RFC 7748's Alice.
        let secret = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key =
            WireguardKey::from_text(secret.as_bytes(), Path::new("key")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(wireguard_public_to_text(key.public()), public);
        assert_eq!(wireguard_public_from_text(public), Some(key.public()));
        assert_eq!(wireguard_public_from_text(&public[1..]), None);
    }
}
