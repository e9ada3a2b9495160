//! What the core is to know of the machine: file handles, memory, room on the disk. Linux.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use rustbalance_core::health::{HostFacts, Use};
use rustix::process::{Resource, getrlimit};
use smol::channel::Sender;

use crate::clock;

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(10);
/// Where control groups are mounted (version 2).
const GROUPS: &str = "/sys/fs/cgroup";

/// Measures the machine that has the state directory `dir`, now and every ten seconds. Ends when nobody listens any more.
pub(crate) async fn watch(dir: PathBuf, facts: Sender<HostFacts>) {
    loop {
        let dir = dir.clone();
        let measured = smol::unblock(move || measure(&dir)).await;
        if facts.send(measured).await.is_err() {
            return;
        }
        clock::sleep(EVERY).await;
    }
}

fn measure(dir: &Path) -> HostFacts {
    HostFacts { files: files(), memory: group_memory().or_else(own_memory), disk_free: disk_free(dir) }
}

fn files() -> Option<Use> {
    // Reading the directory takes one itself.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some(Use { used: u64::try_from(open).ok()?, limit: getrlimit(Resource::Nofile).current })
}

/// What this process holds of memory.
fn own_memory() -> Option<Use> {
    let kib: u64 = field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")?;
    Some(Use { used: kib.saturating_mul(1024), limit: None })
}

/// What the processes of our control group, tor among them, hold of memory that the system cannot take back, if the group
/// has a limit.
fn group_memory() -> Option<Use> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let ours = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new(GROUPS).join(ours);
    let limit = fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()?;
    let used = field(&fs::read_to_string(group.join("memory.stat")).ok()?, "anon")?;
    Some(Use { used, limit: Some(limit) })
}

/// The number after `name` on its line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| words.next().filter(|word| *word == name).and(words.next()))?.parse().ok()
}

fn disk_free(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_measured() {
        let before = measure(Path::new("/proc/self"));
        assert_eq!(before.disk_free, Some(0), "nothing can be written there");
        let handles: Vec<_> = (0..5).map(|_| fs::File::open("/dev/null").expect("readable")).collect();
        let HostFacts { files, memory, disk_free } = measure(&std::env::temp_dir());
        let files = files.expect("Linux");
        assert!(files.used >= 5 && files.limit.is_none_or(|limit| files.used <= limit), "{files:?}");
        assert!(memory.is_some_and(|memory| memory.used > 100_000), "{memory:?}");
        assert!(disk_free.is_some_and(|free| free > 0));
        drop(handles);
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "anon_thp 7\nanon 4096\nfile 1\nVmRSS:\t  12 kB\nodd\n";
        assert_eq!(
            [field(text, "anon"), field(text, "VmRSS:"), field(text, "odd"), field(text, "none")],
            [Some(4096), Some(12), None, None]
        );
    }

    #[test]
    fn a_directory_that_is_gone_is_not_measured() {
        assert_eq!(disk_free(Path::new("/nonexistent")), None);
    }
}
