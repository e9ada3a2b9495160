//! Where a node's tor keeps its things inside the state directory.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::TorError;
use crate::store::{StoreError, create_private_dir};

/// Longest path of a unix socket, bytes (`sun_path` less its terminator).
const SOCKET_PATH_MAX: usize = 107;

/// Absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorPaths {
    /// The service's identity key, the operator's original: `keys/hs_ed25519_secret_key`.
    pub master_key: PathBuf,
    /// What we write for tor to read: `tor/torrc`.
    pub torrc: PathBuf,
    /// Tor's own: `tor/data`.
    pub data: PathBuf,
    /// The `HiddenServiceDir`: `tor/hs`.
    pub hidden_service: PathBuf,
    /// `run/control.sock`.
    pub control_socket: PathBuf,
    /// Tor's control cookie, `run/cookie`.
    pub cookie: PathBuf,
    /// For `.onion` targets: `run/socks.sock`.
    pub socks_socket: PathBuf,
    /// Where tor hands over the service's connections: `run/proxy.sock`.
    pub proxy_socket: PathBuf,
}

impl TorPaths {
    /// The paths inside the state directory `dir`.
    ///
    /// # Errors
    /// A unix socket's path would be too long for the system.
    pub fn new(dir: &Path) -> Result<Self, TorError> {
        let dir = std::path::absolute(dir).map_err(StoreError::io("find", dir))?;
        let paths = Self {
            master_key: dir.join("keys/hs_ed25519_secret_key"),
            torrc: dir.join("tor/torrc"),
            data: dir.join("tor/data"),
            hidden_service: dir.join("tor/hs"),
            control_socket: dir.join("run/control.sock"),
            cookie: dir.join("run/cookie"),
            socks_socket: dir.join("run/socks.sock"),
            proxy_socket: dir.join("run/proxy.sock"),
        };
        for socket in [&paths.control_socket, &paths.socks_socket, &paths.proxy_socket] {
            let excess = socket.as_os_str().len().saturating_sub(SOCKET_PATH_MAX);
            if excess > 0 {
                return Err(TorError::SocketPath { path: socket.clone(), excess });
            }
        }
        Ok(paths)
    }

    /// Makes the directories that are missing, for our eyes only; tor refuses others.
    pub(super) fn create_directories(&self) -> Result<(), TorError> {
        let parents = [&self.torrc, &self.control_socket].into_iter().filter_map(|file| file.parent());
        let tors = [self.data.as_path(), self.hidden_service.as_path()];
        parents.chain(tors).try_for_each(|directory| Ok(create_private_dir(directory)?))
    }

    /// Removes the sockets that a tor which is gone left behind.
    pub(super) fn remove_stale_sockets(&self) -> Result<(), TorError> {
        [&self.control_socket, &self.socks_socket]
            .into_iter()
            .try_for_each(|socket| Ok(remove_stale_socket(socket).map_err(StoreError::io("remove", socket))?))
    }
}

/// Removes `path` if it is a socket; anything else there stays, for the bind to fail on.
pub(crate) fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_paths_up_to_the_systems_limit_are_fine() {
        let longest = "run/control.sock".len() + 1;
        let fits = format!("/{}", "d".repeat(SOCKET_PATH_MAX - longest - 1));
        assert!(TorPaths::new(Path::new(&fits)).is_ok());
        let refused = TorPaths::new(Path::new(&format!("{fits}dd"))).err();
        assert!(matches!(refused, Some(TorError::SocketPath { excess: 2, .. })), "{refused:?}");
    }

    #[test]
    fn only_sockets_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        remove_stale_socket(&file).unwrap();
        assert!(file.exists());
        let socket = dir.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        remove_stale_socket(&socket).unwrap();
        remove_stale_socket(&socket).unwrap();
        assert!(!socket.exists());
    }
}
