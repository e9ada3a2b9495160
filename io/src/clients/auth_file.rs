//! Tor's files of authorised clients, `NAME.auth`, each with one key: reading one, and what can be wrong with it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustbalance_core::onion::client::{
    AUTH_FILE_SUFFIX, BadClientName, ClientKeyError, ClientName, HsClientDescEncKey,
};

/// Longest that is read, bytes.
const FILE_MAX: u64 = 1024;

/// A file that is no client's, or not one that we take.
#[derive(Debug, thiserror::Error)]
#[error("{}: {flaw}", path.display())]
pub struct AuthFileError {
    path: PathBuf,
    flaw: Flaw,
}

/// What is wrong with a file, and the way out.
#[derive(Debug, thiserror::Error)]
enum Flaw {
    /// Tor takes any name.
    #[error("{0}; rename the file")]
    Name(BadClientName),
    #[error("cannot be read: {0}; see that it is there and that this user may read it")]
    Io(#[from] io::Error),
    /// A directory, say.
    #[error("is not a file; put one with the client's key in its place, or remove it")]
    Kind,
    #[error("has more than {FILE_MAX} bytes, and a client's file has one line; write that one into it")]
    Length,
    #[error("{0}")]
    Key(ClientKeyError),
}

/// Which client a file is of; `None` if tor does not read files of that name, either.
pub(super) fn client(path: &Path) -> Option<Result<ClientName, AuthFileError>> {
    let name = path.file_name()?.as_encoded_bytes().strip_suffix(AUTH_FILE_SUFFIX.as_bytes())?;
    let name = str::from_utf8(name).map_err(|_| BadClientName).and_then(str::parse);
    Some(name.map_err(|why| AuthFileError { path: path.to_owned(), flaw: Flaw::Name(why) }))
}

/// The key in a file, as `parse` finds it.
///
/// # Errors
/// It cannot be read, or holds something else.
pub(super) fn key(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<HsClientDescEncKey, ClientKeyError>,
) -> Result<HsClientDescEncKey, AuthFileError> {
    read(path)
        .and_then(|bytes| parse(&String::from_utf8_lossy(&bytes)).map_err(Flaw::Key))
        .map_err(|flaw| AuthFileError { path: path.to_owned(), flaw })
}

fn read(path: &Path) -> Result<Vec<u8>, Flaw> {
    // Looked at first: to open a pipe would be to wait for who writes into it.
    if !fs::metadata(path)?.is_file() {
        return Err(Flaw::Kind);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX { Err(Flaw::Length) } else { Ok(bytes) }
}
