//! Secrets that come from a file, or from standard input.

use std::path::Path;

use rustbalance_core::cluster::Access;
use rustbalance_io::clients::import;
use rustbalance_io::keys::{KeyError, MasterKey, read_secret};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Reads `path`, or standard input if it is `-`.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn read<T>(
    path: &Path,
    from_file: impl FnOnce(&Path) -> Result<T, KeyError>,
    from_bytes: impl FnOnce(Zeroizing<Vec<u8>>, &Path) -> Result<T, KeyError>,
) -> Result<T, KeyError> {
    if !is_stdin(path) {
        return from_file(path);
    }
    let name = Path::new("standard input");
    from_bytes(read_secret(&mut std::io::stdin().lock(), name)?, name)
}

/// A service's key in any format.
///
/// # Errors
/// As for [`read`].
pub fn master_key(path: &Path) -> Result<MasterKey, KeyError> {
    read(path, MasterKey::read, MasterKey::from_file)
}

/// The same, and who may connect to that service, by what is beside its key. A key from standard input has nothing beside
/// it.
///
/// # Errors
/// As for [`read`]; what is beside it cannot be read, or is not possible here.
pub fn service(path: &Path) -> Result<(MasterKey, Access), Failure> {
    let key = master_key(path)?;
    let access = if is_stdin(path) { Access::Open } else { import::access_beside(path)? };
    Ok((key, access))
}

/// Refuses a second file that is standard input, of which there is one. Each file with the flag that names it.
///
/// # Errors
/// Two are.
pub fn refuse_two_from_stdin(files: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
    let mut named = files.iter().filter(|(_, file)| file.is_some_and(is_stdin)).map(|(flag, _)| flag);
    match (named.next(), named.next()) {
        (Some(first), Some(second)) => {
            Err(Failure::usage(format!("{first} and {second}: both are -; give one of them as a file")))
        }
        _ => Ok(()),
    }
}

/// Whether standard input, or output, is meant.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
