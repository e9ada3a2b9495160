//! A disk without room, a real one: what fails says so and leaves nothing half done, and what was done before stays done.
//!
//! They mount small disks, so they need root and a mount namespace of their own:
//! `unshare --mount cargo test -p rustbalance --test full_disk -- --ignored`.

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;

use common::node::Node;
use common::{assert_refused, text};
use rustix::process::Signal;

/// More than a node needs.
const ROOM: &str = "size=16m,nr_inodes=1000";

/// A disk mounted where a node has its directory; gone when dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(node: &Node, room: &str) -> Self {
        let disk = Self { at: node.dir() };
        disk.mount_with(&format!("{room},mode=700"));
        node.configure("[tor]\noptions = ['DisableNetwork 1']\n");
        disk
    }

    fn resize(&self, room: &str) {
        self.mount_with(&format!("remount,{room}"));
    }

    fn mount_with(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs", text(&self.at)]);
        assert!(mount.status().expect("mount starts").success(), "{options}");
    }

    /// Leaves no room. Removing the file that is returned makes some.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = File::create(&path).expect("room for a file");
        let full = std::iter::repeat_with(|| file.write_all(&[0; 4096])).find_map(Result::err).expect("an end");
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // With the namespace it goes in any case.
        _ = Command::new("umount").args(["--lazy", text(&self.at)]).status();
    }
}

/// Founds a node on each of `disks`, from one that has room for the configuration alone to the first that is large enough.
fn found_on(disks: impl Iterator<Item = String>) {
    for (refused, room) in disks.enumerate() {
        let node = Node::unfounded();
        let disk = Disk::mount(&node, &room);
        let run = node.run(&["init"]);
        if run.code == 0 {
            assert!(refused > 2, "{room} is more than enough");
            return;
        }
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{room}: {}", run.stderr);
        assert!(
            run.stderr.contains("No space left on device (os error 28); make room on that disk"),
            "{room}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(text(&node.dir())), "{room}: {}", run.stderr);
        disk.resize(ROOM);
        let again = node.run(&["init"]);
        assert_eq!(again.code, 0, "{room}: {}", again.stderr);
        assert!(!node.dir().join(".new").exists());
    }
    panic!("none was large enough");
}

#[test]
#[ignore = "needs root and a mount namespace of its own"]
fn a_node_that_is_founded_where_files_run_out_can_be_founded_there_once_there_is_room() {
    found_on((3..60).map(|files| format!("size=16m,nr_inodes={files}")));
}

#[test]
#[ignore = "needs root and a mount namespace of its own"]
fn a_node_that_is_founded_where_room_runs_out_can_be_founded_there_once_there_is_room() {
    found_on((2..60).map(|pages| format!("size={}k,nr_inodes=1000", 4 * pages)));
}

#[test]
#[ignore = "needs root and a mount namespace of its own"]
fn what_was_done_before_the_disk_was_full_is_there_once_it_is_not() {
    let node = Node::unfounded();
    let disk = Disk::mount(&node, ROOM);
    assert_eq!(node.run(&["init"]).code, 0);
    let add = |name| node.run(&["clients", "add", name]);
    let running = node.start();
    node.wait("a tor", |node| node.dir().join("run/cookie").exists());
    let id = node.status()["node"].as_str().expect("text")[..8].to_owned();
    assert_eq!(add("before").code, 0);
    assert_eq!(node.run(&["weight", &id, "7"]).code, 0);

    let filler = disk.fill();
    assert_refused(&add("meanwhile"), 1, "does not get the change onto its disk");
    assert_refused(&node.run(&["weight", &id, "8"]), 1, "on this node's disk not within 10 s");
    let said = |what: &str| node.log_text().lines().filter(|line| line.contains(what)).count();
    assert_eq!(said("cannot write state/orders: "), 1, "and not for each try:\n{}", node.log_text());
    assert!(said("No space left on device (os error 28); make room on that disk") > 0, "{}", node.log_text());
    node.wait("a warning", |node| node.status()["warnings"].to_string().contains("disk is full"));
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    let (code, _) = node.spawn(&["run"], File::create(node.log()).expect("room for a log"), &[]).end();
    assert_eq!(code, Some(1), "systemd starts it again");
    assert_eq!(said("No space left on device (os error 28); make room on that disk"), 1, "{}", node.log_text());

    fs::remove_file(filler).expect("our own file");
    let _running = node.start();
    let listed = node.run(&["clients", "list"]).stdout;
    assert!(listed.contains("before"), "{listed}");
    assert_eq!(node.status()["ordered"], serde_json::json!(["weight 7"]));
    assert_eq!(node.run(&["weight", &id, "8"]).code, 0);
    assert_eq!(add("after").code, 0);
}
