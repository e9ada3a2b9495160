//! The node's keys as files. Each is a type of its own, zeroized when dropped, and never printed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::{ClusterToken, NodeKeypair};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::{HsIdKeypair, KeyFileError};
use zeroize::Zeroizing;

use crate::entropy::{self, EntropyError};
use crate::fault::Fault;
use crate::store::{Secrets, Store, StoreError, check_secret_file};

/// Longer than any key file; what is longer is not read to its end.
const FILE_MAX: usize = 1024;

/// Why a key cannot be used. No message contains key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or others can read it too.
    #[error(transparent)]
    File(#[from] StoreError),
    /// Not a tor key.
    #[error("{}: not a tor key file ({}); give the `hs_ed25519_secret_key` of a v3 onion service", path.display(), describe(.why))]
    Master {
        /// The file, or `standard input`.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyFileError,
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
}

impl KeyError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Entropy(_) => Fault::Runtime,
            Self::File(_) | Self::Master { .. } | Self::Base64 { .. } => Fault::State,
        }
    }
}

fn describe(why: &KeyFileError) -> String {
    match why {
        KeyFileError::Length(length) => format!("{length} bytes instead of 96"),
        KeyFileError::Header => "its header is not `== ed25519v1-secret: type0 ==`".to_owned(),
        KeyFileError::NotClamped => "its scalar is not clamped".to_owned(),
    }
}

/// The address' secret key, in tor's file format.
pub struct MasterKey {
    file: Zeroizing<Vec<u8>>,
    address: OnionAddress,
}

impl MasterKey {
    /// A new address.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = HsIdKeypair::generate(&mut entropy::rng()?);
        Ok(Self { file: pair.to_tor_file(), address: OnionAddress::new(pair.public()) })
    }

    /// From the content of tor's `hs_ed25519_secret_key`; `path` is for messages.
    ///
    /// # Errors
    /// It is not such a file.
    pub fn from_tor_file(bytes: Zeroizing<Vec<u8>>, path: &Path) -> Result<Self, KeyError> {
        let pair = HsIdKeypair::from_tor_file(&bytes).map_err(|why| KeyError::Master { path: path.to_owned(), why })?;
        Ok(Self { address: OnionAddress::new(pair.public()), file: bytes })
    }

    /// Reads tor's `hs_ed25519_secret_key`, which nobody else may be able to read.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_tor_file(read_secret_file(path)?, path)
    }

    /// The address it is the key of.
    pub const fn address(&self) -> OnionAddress {
        self.address
    }

    /// For the core.
    ///
    /// # Errors
    /// None in practice: the file was checked before.
    pub fn keypair(&self) -> Result<HsIdKeypair, KeyError> {
        let path = PathBuf::from("hs_ed25519_secret_key");
        HsIdKeypair::from_tor_file(&self.file).map_err(|why| KeyError::Master { path, why })
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

            pub(crate) fn to_file(&self) -> Zeroizing<Vec<u8>> {
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

const MASTER_FILE: &str = "hs_ed25519_secret_key";
const NODE_FILE: &str = "node_key";
const WIREGUARD_FILE: &str = "wireguard_key";
pub(crate) const TOKEN_FILE: &str = "cluster_token";
/// All files below `keys/`.
pub(crate) const KEY_FILES: [&str; 4] = [MASTER_FILE, NODE_FILE, WIREGUARD_FILE, TOKEN_FILE];

impl Secrets {
    /// Reads all keys of the node in `store`.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn read(store: &Store) -> Result<Self, KeyError> {
        Ok(Self {
            master: MasterKey::read(&store.key_file(MASTER_FILE))?,
            node: NodeKey::read(&store.key_file(NODE_FILE))?,
            wireguard: WireguardKey::read(&store.key_file(WIREGUARD_FILE))?,
            token: Token::read(&store.key_file(TOKEN_FILE))?,
        })
    }

    /// The files below `keys/`, by name.
    pub(crate) fn files(&self) -> [(&'static str, Zeroizing<Vec<u8>>); 4] {
        [
            (MASTER_FILE, self.master.file.clone()),
            (NODE_FILE, self.node.to_file()),
            (WIREGUARD_FILE, self.wireguard.to_file()),
            (TOKEN_FILE, self.token.to_file()),
        ]
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

/// Exactly 32 bytes in canonical base64.
pub(crate) fn from_base64(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    // One byte more than fits, since the decoder wants room for a whole last group.
    let mut buffer = Zeroizing::new([0; 33]);
    let length = BASE64_STANDARD.decode_slice(text, buffer.as_mut()).ok()?;
    let (bytes, _) = buffer.split_first_chunk::<32>()?;
    (length == 32).then(|| Zeroizing::new(*bytes))
}

/// Reads a secret from `input` (standard input, say) without leaving copies behind; `path` is for messages.
///
/// # Errors
/// It cannot be read.
pub fn read_secret(input: &mut impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // Room from the start: a buffer that grows leaves its old place as it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * FILE_MAX));
    input.take(FILE_MAX as u64).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    Ok(bytes)
}

fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
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
    fn a_master_key_is_tors_file_and_says_its_address() {
        let bytes = include_bytes!("../../core/testdata/ctor/cases/plain-3ip/hs_ed25519_secret_key");
        let hostname = include_str!("../../core/testdata/ctor/cases/plain-3ip/hostname");
        let key = MasterKey::from_tor_file(Zeroizing::new(bytes.to_vec()), Path::new("key"))
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.address().to_string(), hostname.trim());
        assert!(*key.file == bytes);
    }

    #[test]
    fn what_is_no_master_key_is_refused_by_name() {
        for (bytes, why) in [(vec![0; 95], "95 bytes instead of 96"), (vec![0; 96], "its header is not")] {
            let Err(error) = MasterKey::from_tor_file(Zeroizing::new(bytes), Path::new("/k")) else { panic!("{why}") };
            let message = error.to_string();
            assert!(message.starts_with("/k: not a tor key file") && message.contains(why), "{message}");
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
