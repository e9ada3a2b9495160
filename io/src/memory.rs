//! Keeping what is in memory from going elsewhere: into a core dump, or to swap.

use std::fmt;
use std::io;

use memmap2::{Advice, MmapMut};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use zeroize::Zeroize as _;

/// How much of this process cannot be swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// All of it, for as long as it lives.
    Everything,
    /// The key of an encrypted state alone: the limit for locked memory is too low for more.
    StateKey,
}

/// Sees that neither this process nor those it starts leave a core dump, that no other process of this user can look into
/// it, and, if there is no limit for locked memory, that nothing of it is swapped. What the system refuses is logged.
pub fn protect() -> Locked {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if getrlimit(Resource::Core) != none
        && let Err(error) = setrlimit(Resource::Core, none)
    {
        tracing::warn!("core dumps cannot be limited: {error}; set LimitCORE=0, or `ulimit -c 0`");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("core dumps cannot be turned off: {error}; set LimitCORE=0, or `ulimit -c 0`");
    }
    match lock_everything() {
        Ok(()) => Locked::Everything,
        Err(error) => {
            tracing::debug!("not all memory is locked: {error}");
            Locked::StateKey
        }
    }
}

/// With a limit, locking all would make some later allocation fail. A capability that lifts it shows only by trying, and
/// one of a user namespace does not count, so the limit alone decides.
fn lock_everything() -> io::Result<()> {
    let limit = getrlimit(Resource::Memlock);
    if let Some(bytes) = limit.maximum {
        return Err(io::Error::other(format!("at most {bytes} bytes may be")));
    }
    if limit.current.is_some() {
        setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    }
    // Pages as they come into use: a thread's stack is mostly never touched.
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// A key of 32 bytes in a page of its own, which is not swapped, in no core dump and in no child; wiped when dropped.
pub(crate) struct LockedKey(MmapMut);

impl LockedKey {
    /// Copies it there.
    ///
    /// # Errors
    /// No memory. A page that cannot be locked is only logged.
    pub(crate) fn new(key: &[u8; 32]) -> io::Result<Self> {
        let mut page = MmapMut::map_anon(key.len())?;
        if let Err(error) = page.lock() {
            tracing::warn!(
                "the state key may be swapped: {error}; set LimitMEMLOCK=infinity, or `ulimit -l unlimited`"
            );
        }
        for advice in [Advice::DontDump, Advice::DontFork] {
            // Whoever has no such advice has core dumps turned off, and programs started by `exec` have no copy.
            _ = page.advise(advice);
        }
        page.copy_from_slice(key);
        Ok(Self(page))
    }

    /// Its bytes.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.first_chunk().expect("as many were mapped")
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn a_protected_process_leaves_no_core_dump_nor_do_those_that_it_starts() {
        protect();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }

    #[test]
    fn a_key_lies_in_locked_memory_that_no_dump_has_and_is_not_shown() {
        let key = LockedKey::new(&[7; 32]).unwrap();
        assert_eq!((key.expose(), format!("{key:?}").as_str()), (&[7; 32], "LockedKey(..)"));
        assert!(locked_kib() >= 4);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let address = key.expose().as_ptr().addr();
        let holds_it = |line: &str| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let ends = range.map(|(start, end)| [start, end].map(|end| usize::from_str_radix(end, 16)));
            matches!(ends, Some([Ok(start), Ok(end)]) if (start..end).contains(&address))
        };
        let flags = maps.lines().skip_while(|line| !holds_it(line)).find(|line| line.starts_with("VmFlags:"));
        // proc_pid_smaps(5): locked, not in a core dump, not in a child.
        let flags: Vec<_> = flags.unwrap().split(' ').collect();
        assert!(["lo", "dd", "dc"].iter().all(|flag| flags.contains(flag)), "{flags:?}");
    }
}
