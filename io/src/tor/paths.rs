//! Where a node's tors keep their things inside the state directory.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustbalance_core::TorId;
use rustbalance_core::node::TORS_MAX;

use super::TorError;
use super::connection::ControlAccess;
use crate::store::{Store, StoreError, create_private_dir, remove, remove_or_warn};

/// Longest path of a unix socket, bytes (`sun_path` less its terminator).
const SOCKET_PATH_MAX: usize = 107;

/// Absolute paths. Those of the first tor are named here; the others have theirs in `tor/1`, `run/1` and so on, but for the
/// proxy's socket, which all share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorPaths {
    /// Whose.
    pub id: TorId,
    /// What we write for tor to read: `tor/torrc`.
    pub torrc: PathBuf,
    /// Tor's own: `tor/data`.
    pub data: PathBuf,
    /// The `HiddenServiceDir`: `tor/hs`, or in memory if the state is encrypted.
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
    /// The paths of the first tor inside the state directory `dir`.
    ///
    /// # Errors
    /// A unix socket's path would be too long for the system.
    pub fn new(dir: &Path) -> Result<Self, TorError> {
        Self::of(dir, TorId(0))
    }

    /// The paths of each tor of the node in `store`.
    ///
    /// # Errors
    /// As for [`TorPaths::new`].
    pub(crate) fn all(store: &Store) -> Result<Vec<Self>, TorError> {
        store.tors().map(|id| Self::in_store(store, id)).collect()
    }

    /// The paths of one tor of the node in `store`.
    ///
    /// # Errors
    /// As for [`TorPaths::new`].
    pub(crate) fn in_store(store: &Store, id: TorId) -> Result<Self, TorError> {
        let hidden_service = store.hidden_service(id);
        Self::of(store.dir(), id).map(|paths| Self { hidden_service, ..paths })
    }

    /// The paths of one tor inside the state directory `dir`.
    ///
    /// # Errors
    /// As for [`TorPaths::new`].
    pub fn of(dir: &Path, id: TorId) -> Result<Self, TorError> {
        let dir = std::path::absolute(dir).map_err(StoreError::io("find", dir))?;
        let (tor, run) = (own(dir.join("tor"), id), own(dir.join("run"), id));
        let paths = Self {
            id,
            torrc: tor.join("torrc"),
            data: tor.join("data"),
            hidden_service: hidden_service(&dir, id),
            control_socket: run.join("control.sock"),
            cookie: run.join("cookie"),
            socks_socket: run.join("socks.sock"),
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

    /// How to reach the tor that runs here.
    pub(super) fn control(&self) -> ControlAccess {
        ControlAccess::managed(&self.control_socket, &self.cookie)
    }

    /// Keys of authorised clients, while a tor without a service runs: `tor/client_keys`.
    pub(super) fn client_keys(&self) -> PathBuf {
        self.torrc.with_file_name("client_keys")
    }

    /// Makes the directories that are missing, for our eyes only; tor refuses others. Client keys that a killed `join` left
    /// go.
    pub(super) fn create_directories(&self) -> Result<(), TorError> {
        remove(&self.client_keys())?;
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

/// The `HiddenServiceDir` of one tor of the node in `dir`, unless it is in memory.
pub(crate) fn hidden_service(dir: &Path, id: TorId) -> PathBuf {
    own(dir.join("tor"), id).join("hs")
}

/// The same in a directory that is in memory.
pub(crate) fn hidden_service_in_memory(runtime: &Path, id: TorId) -> PathBuf {
    own(runtime.to_path_buf(), id).join("hs")
}

/// Removes what tors had that this node has no more, their copies of the key among it. What cannot be removed yet, since a
/// tor that was left behind still writes there, is named in the log and goes at the next start.
pub(crate) fn remove_surplus(dir: &Path, instances: u8) {
    let surplus = (instances.max(1)..TORS_MAX).map(TorId);
    surplus
        .flat_map(|id| ["tor", "run"].map(|parent| own(dir.join(parent), id)))
        .for_each(|gone| remove_or_warn(&gone));
}

/// Removes what is left of the `HiddenServiceDir` of a node's own tor, and the copy of the key in it: the node is attached
/// to another, with the service in `attached`. Should that be the same directory, it stays.
pub(crate) fn remove_own_service(dir: &Path, attached: &Path) {
    let own = hidden_service(dir, TorId(0));
    let is_same = own.canonicalize().is_ok_and(|own| attached.canonicalize().is_ok_and(|attached| attached == own));
    if !is_same {
        remove_or_warn(&own);
    }
}

/// Where in `parent` a tor has its own things.
fn own(parent: PathBuf, TorId(id): TorId) -> PathBuf {
    if id == 0 { parent } else { parent.join(id.to_string()) }
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
    fn each_tor_has_its_own_things_and_all_share_the_proxys_socket() {
        let paths = TorPaths::all(&Store::new("/dir").with_tors(3)).unwrap();
        let own = |paths: &TorPaths| {
            let TorPaths { torrc, data, hidden_service, control_socket, cookie, socks_socket, .. } = paths;
            [torrc, data, hidden_service, control_socket, cookie, socks_socket].map(|path| path.display().to_string())
        };
        let first = ["tor/torrc", "tor/data", "tor/hs", "run/control.sock", "run/cookie", "run/socks.sock"];
        let third = ["tor/2/torrc", "tor/2/data", "tor/2/hs", "run/2/control.sock", "run/2/cookie", "run/2/socks.sock"];
        let in_dir = |path| format!("/dir/{path}");
        assert_eq!((own(&paths[0]), own(&paths[2])), (first.map(in_dir), third.map(in_dir)));
        assert!(paths.iter().all(|of| of.proxy_socket == paths[0].proxy_socket));
        let in_memory = Store::new("/dir").with_tors(2).with_runtime_dir("/run/node".into());
        let services: Vec<_> = TorPaths::all(&in_memory).unwrap().into_iter().map(|of| of.hidden_service).collect();
        assert_eq!(services, ["/run/node/hs", "/run/node/1/hs"].map(PathBuf::from));
    }

    #[test]
    fn what_surplus_tors_had_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let places = ["tor/hs", "tor/data", "tor/1/hs", "tor/2/hs", "run/1", "run/2"];
        places.iter().for_each(|place| std::fs::create_dir_all(dir.path().join(place)).unwrap());
        let left = || places.into_iter().filter(|place| dir.path().join(place).exists()).collect::<Vec<_>>();
        remove_surplus(dir.path(), 2);
        assert_eq!(left(), ["tor/hs", "tor/data", "tor/1/hs", "run/1"]);
        remove_surplus(dir.path(), 1);
        assert_eq!(left(), ["tor/hs", "tor/data"]);
    }

    #[test]
    fn a_node_that_is_attached_keeps_no_copy_of_the_key_but_where_that_tor_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let (hs, key) = (dir.path().join("tor/hs"), dir.path().join("tor/hs/hs_ed25519_secret_key"));
        std::fs::create_dir_all(&hs).unwrap();
        std::fs::write(&key, b"secret").unwrap();
        std::fs::create_dir(dir.path().join("tor/data")).unwrap();
        let mut opened = std::fs::File::open(&key).unwrap();
        remove_own_service(dir.path(), &dir.path().join("tor/../tor/hs/"));
        assert!(key.exists());
        remove_own_service(dir.path(), &dir.path().join("elsewhere"));
        assert!(!hs.exists() && dir.path().join("tor/data").exists());
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut opened, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 6], "it is overwritten, too");
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
