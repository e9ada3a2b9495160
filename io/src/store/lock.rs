//! One process per state directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{StoreError, step};

/// Holds the state directory until dropped. The kernel lets go of it when the process dies, however it does.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a child that is being started has it, too, until it has become another program.
    fn drop(&mut self) {
        _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Stays when the lock is gone: removing it would race with the next owner.
const FILE: &str = "lock";

impl Lock {
    /// Whether the file, if it is there, is one of ours, whose content may be replaced.
    pub(super) fn check_own(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE);
        let is_ours = match File::open(&path) {
            Ok(mut file) => {
                let length = file.metadata().map_err(StoreError::io("read", &path))?.len();
                length == 0 || read_pid(&mut file).is_some()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        if is_ours { Ok(()) } else { Err(StoreError::Foreign { path }) }
    }

    /// Takes `dir`.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = step::open(&options, &path).map_err(StoreError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(error) => return Err(StoreError::io("lock", &path)(error.into())),
        }
        write_pid(&mut file).map_err(StoreError::io("write", &path))?;
        Ok(Self(file))
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    step::truncate(file)?;
    file.rewind()?;
    step::write(file, format!("{}\n", std::process::id()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_next_can_take_it_though_a_child_still_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        drop(Lock::take(dir.path()).unwrap());
        drop(inherited);
    }
}
