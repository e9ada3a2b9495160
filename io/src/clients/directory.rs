//! `DIR/authorized_clients`: the authorised clients as tor's own files, `NAME.auth`, for operators and their tools.
//!
//! It shows what is in force in the cluster, and what is written, changed or removed there is an order like those of
//! `rustbalance clients`. What we last wrote, or were about to write, is kept beside it (`.known`): so an order is told
//! from a file that merely is not up to date, also after a stop, a crash, a disk that failed, or a long absence. A
//! directory that is gone is no order, but made anew.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::{AUTH_FILE_SUFFIX, ClientName, HsClientDescEncKey};
use smol::channel::Sender;

use crate::clock;
use crate::status::{Answer, Question, Request, put};
use crate::store::{StoreError, atomic, create_private_dir, step};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon to ask a node again that is still busy with the order before.
const AFTER_BUSY: Duration = Duration::from_millis(20);
/// Longest `.auth` file that is read, bytes.
const FILE_MAX: u64 = 1024;
/// Files that are looked at; of more none is, since one that was not reached would pass for one that was removed.
const FILES_MAX: usize = 1024;

type Clients = BTreeMap<ClientName, HsClientDescEncKey>;
/// What a file holds, `None` if there is none.
type Held = Option<HsClientDescEncKey>;
/// What each file may hold without being an order: what we last wrote, or, if that was cut short, any of what we wrote
/// before and were to write. A name that is not there has no file.
type Known = BTreeMap<ClientName, Vec<Held>>;

/// In `.known`, in the place of a key.
const NO_FILE: &str = "-";

/// Keeps the directory and the cluster in step, for ever.
pub(crate) async fn watch(dir: PathBuf, questions: Sender<Question>) {
    let dir = Arc::new(dir);
    let mut said = BTreeSet::new();
    loop {
        if let Answer::Access(access) = put(Request::Access, &questions).await {
            let problems = step(Arc::clone(&dir), access, &questions).await;
            // Each once, for as long as it lasts.
            problems.difference(&said).for_each(|problem| tracing::warn!("{problem}"));
            said = problems;
        }
        clock::sleep(LOOK_EVERY).await;
    }
}

/// One look: orders go to the node, the rest of the directory is brought up to date. Returns what is wrong.
async fn step(dir: Arc<PathBuf>, access: Access, questions: &Sender<Question>) -> BTreeSet<String> {
    let look = {
        let dir = Arc::clone(&dir);
        smol::unblock(move || Look::take(&dir))
    };
    let look = match look.await {
        Ok(look) => look,
        Err(error) => return BTreeSet::from([error.to_string()]),
    };
    let (orders, mut problems) = (look.orders(&access), look.problems.clone());
    for order in &orders {
        if let Answer::Refused(why) = give(order, questions).await {
            problems.insert(format!("{}: {why}", dir.display()));
        }
    }
    if let Err(error) = smol::unblock(move || look.show(&dir, &access)).await {
        problems.insert(error.to_string());
    }
    problems
}

/// Has the node do it, once it is done with the one before.
async fn give(order: &[AccessChange], questions: &Sender<Question>) -> Answer {
    loop {
        let answer = put(Request::ChangeAccess { changes: order.to_vec() }, questions).await;
        if answer != Answer::Busy {
            return answer;
        }
        clock::sleep(AFTER_BUSY).await;
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
struct Look {
    files: Clients,
    /// Names of files that hold no key.
    unreadable: BTreeSet<ClientName>,
    known: Known,
    problems: BTreeSet<String>,
}

impl Look {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        create_private_dir(dir)?;
        let mut look = Self::default();
        let known = match fs::read_to_string(known_file(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            known => known.map_err(StoreError::io("read", &known_file(dir)))?,
        };
        for (name, key) in known.lines().filter_map(|line| line.split_once(' ')) {
            let held = if key == NO_FILE { Some(None) } else { key.parse().ok().map(Some) };
            if let Some((name, held)) = name.parse().ok().zip(held) {
                look.known.entry(name).or_default().push(held);
            }
        }
        for (before, entry) in fs::read_dir(dir).map_err(StoreError::io("read", dir))?.enumerate() {
            if before == FILES_MAX {
                return Err(StoreError::Crowded { dir: dir.to_owned(), max: FILES_MAX });
            }
            let path = entry.map_err(StoreError::io("read", dir))?.path();
            look.read(&path);
        }
        Ok(look)
    }

    fn read(&mut self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(AUTH_FILE_SUFFIX));
        let Some(name) = name else { return };
        let mut problem = |why: &str| self.problems.insert(format!("{}: {why}; it is ignored", path.display()));
        let name: ClientName = match name.parse() {
            Ok(name) => name,
            Err(why) => {
                problem(&format!("{why}"));
                return;
            }
        };
        let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= FILE_MAX);
        let text = if is_small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        match text.parse() {
            Ok(key) => _ = self.files.insert(name, key),
            Err(why) => {
                problem(&why.to_string());
                self.unreadable.insert(name);
            }
        }
    }

    /// What the operator did since we last wrote, and is not so yet: each for itself, so that one that is refused does not
    /// keep the others from being done.
    fn orders(&self, access: &Access) -> Vec<Vec<AccessChange>> {
        let in_force: Clients = access.clients().map(|(name, key)| (name.clone(), key)).collect();
        let order = |name: &ClientName| {
            let remove = in_force.contains_key(name).then(|| AccessChange::Remove(name.clone()));
            let add = self.files.get(name).map(|key| AccessChange::Add(name.clone(), *key));
            remove.into_iter().chain(add).collect()
        };
        self.ordered(&in_force).into_iter().map(order).collect()
    }

    /// Whose files differ both from what we last wrote and from what is in force.
    fn ordered(&self, in_force: &Clients) -> BTreeSet<&ClientName> {
        let Self { files, unreadable, known, .. } = self;
        let names = files.keys().chain(known.keys()).filter(|name| !unreadable.contains(*name));
        let held = |in_what: &Clients, name| in_what.get(name).copied();
        names
            .filter(|name| {
                let file = held(files, name);
                file != held(in_force, name) && !known_of(known, name).contains(&file)
            })
            .collect()
    }

    /// Brings the directory up to date, save where an order is open.
    fn show(&self, dir: &Path, access: &Access) -> Result<(), StoreError> {
        let mut in_force: Clients = access.clients().map(|(name, key)| (name.clone(), key)).collect();
        let ordered = self.ordered(&in_force);
        in_force.retain(|name, _| !ordered.contains(name));
        let open = self.known.iter().filter(|(name, _)| ordered.contains(name));
        let known: Known = in_force
            .iter()
            .map(|(name, key)| (name.clone(), vec![Some(*key)]))
            .chain(open.map(|(name, held)| (name.clone(), held.clone())))
            .collect();
        // First what is about to be written: files of a step that is cut short must not be taken for an operator's, for
        // whom they hold may be out by then.
        let before = if self.known == known { &known } else { &both(&self.known, &known) };
        Self::write_known(dir, &self.known, before)?;
        let is_old = |(name, key): &(&ClientName, &HsClientDescEncKey)| {
            self.files.get(*name) != Some(*key) && !self.unreadable.contains(*name)
        };
        for (name, key) in in_force.iter().filter(is_old) {
            let path = dir.join(format!("{name}{AUTH_FILE_SUFFIX}"));
            atomic::replace(&path, format!("{}\n", key.to_auth_line()).as_bytes())?;
        }
        for name in self.files.keys().filter(|name| !in_force.contains_key(*name) && !ordered.contains(name)) {
            let path = dir.join(format!("{name}{AUTH_FILE_SUFFIX}"));
            step::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
        Self::write_known(dir, before, &known)
    }

    fn write_known(dir: &Path, on_disk: &Known, known: &Known) -> Result<(), StoreError> {
        if on_disk == known {
            return Ok(());
        }
        let lines = known.iter().flat_map(|(name, held)| {
            held.iter().map(move |held| {
                let held = held.map_or_else(|| NO_FILE.to_owned(), |key| key.to_auth_line());
                format!("{name} {held}\n")
            })
        });
        atomic::replace(&known_file(dir), lines.collect::<String>().as_bytes())
    }
}

fn known_of<'a>(known: &'a Known, name: &ClientName) -> &'a [Held] {
    known.get(name).map_or(&[None], Vec::as_slice)
}

/// Of each name, all that the one or the other knows.
fn both(one: &Known, other: &Known) -> Known {
    let of = |name: &ClientName| {
        let (mut held, more) = (known_of(one, name).to_vec(), known_of(other, name));
        held.extend(more.iter().filter(|more| !known_of(one, name).contains(more)));
        (name.clone(), held)
    };
    one.keys().chain(other.keys()).map(of).collect()
}

fn known_file(dir: &Path) -> PathBuf {
    dir.join(".known")
}

#[cfg(test)]
mod tests {
    use rustbalance_core::onion::client::HsClientDescEncKeypair;

    use super::*;
    use crate::store::failing::at_every_step;

    fn key(n: u8) -> HsClientDescEncKey {
        HsClientDescEncKeypair::from_bytes(&[n; 32]).public()
    }

    fn access(clients: &[(&str, u8)]) -> Access {
        Access::Restricted(clients.iter().map(|(name, n)| (name.parse().unwrap(), key(*n))).collect())
    }

    fn add(name: &str, n: u8) -> AccessChange {
        AccessChange::Add(name.parse().unwrap(), key(n))
    }

    fn remove(name: &str) -> AccessChange {
        AccessChange::Remove(name.parse().unwrap())
    }

    /// A directory that shows `clients`.
    fn showing(clients: &[(&str, u8)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("authorized_clients");
        Look::take(&dir).unwrap().show(&dir, &access(clients)).unwrap();
        (root, dir)
    }

    fn write(dir: &Path, name: &str, n: u8) {
        fs::write(dir.join(format!("{name}.auth")), key(n).to_auth_line()).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        Look::take(dir).unwrap().files.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_written_changed_or_removed_is_an_order() {
        let in_force = [("alice", 1), ("bob", 2), ("carol", 3)];
        let (_root, dir) = showing(&in_force);
        assert_eq!(Look::take(&dir).unwrap().orders(&access(&in_force)), Vec::<Vec<_>>::new());
        fs::remove_file(dir.join("alice.auth")).unwrap();
        write(&dir, "bob", 9);
        write(&dir, "dave", 4);
        let orders = Look::take(&dir).unwrap().orders(&access(&in_force));
        assert_eq!(orders, [vec![remove("alice")], vec![remove("bob"), add("bob", 9)], vec![add("dave", 4)]]);
        // Done: nothing is left to order, and the directory counts as shown.
        let done = access(&[("bob", 9), ("carol", 3), ("dave", 4)]);
        let look = Look::take(&dir).unwrap();
        assert_eq!(look.orders(&done), Vec::<Vec<_>>::new());
        look.show(&dir, &done).unwrap();
        assert_eq!(names(&dir), ["bob", "carol", "dave"]);
    }

    #[test]
    fn an_order_that_is_refused_stays_one_and_keeps_nothing_else_from_being_shown() {
        let (_root, dir) = showing(&[("alice", 1)]);
        write(&dir, "dave", 1);
        let now = access(&[("alice", 1), ("erin", 5)]);
        for _ in 0..2 {
            let look = Look::take(&dir).unwrap();
            assert_eq!(look.orders(&now), [vec![add("dave", 1)]]);
            look.show(&dir, &now).unwrap();
            assert_eq!(names(&dir), ["alice", "dave", "erin"]);
        }
    }

    #[test]
    fn a_directory_that_is_merely_old_orders_nothing_and_is_brought_up_to_date() {
        let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
        let now = access(&[("alice", 7), ("erin", 5)]);
        let look = Look::take(&dir).unwrap();
        assert_eq!(look.orders(&now), Vec::<Vec<_>>::new());
        look.show(&dir, &now).unwrap();
        assert_eq!(names(&dir), ["alice", "erin"]);
        assert_eq!(Look::take(&dir).unwrap().files.values().copied().collect::<Vec<_>>(), [key(7), key(5)]);
        fs::remove_dir_all(&dir).unwrap();
        let look = Look::take(&dir).unwrap();
        assert_eq!(look.orders(&now), Vec::<Vec<_>>::new(), "a directory that is gone removes nobody");
        look.show(&dir, &now).unwrap();
        assert_eq!(names(&dir), ["alice", "erin"]);
    }

    #[test]
    fn a_crash_between_two_files_orders_nothing_that_is_not_in_force() {
        let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
        // What a step wrote of alice and erin, without mallory, before it could say so in `.known`.
        fs::remove_file(dir.join("mallory.auth")).unwrap();
        write(&dir, "erin", 5);
        let now = access(&[("alice", 1), ("erin", 5)]);
        assert_eq!(Look::take(&dir).unwrap().orders(&now), Vec::<Vec<_>>::new());
    }

    #[test]
    fn whatever_step_fails_nothing_is_taken_for_an_order_also_when_others_change_it_again_before_the_next_look() {
        let (then, now) = (access(&[("alice", 7), ("erin", 5)]), access(&[("alice", 8), ("mallory", 3)]));
        at_every_step(|trouble| {
            let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
            let look = Look::take(&dir).unwrap();
            _ = trouble.strike_at(|| look.show(&dir, &then));
            for now in [&then, &now] {
                let look = Look::take(&dir).unwrap();
                assert_eq!(look.orders(now), Vec::<Vec<_>>::new());
            }
            Look::take(&dir).unwrap().show(&dir, &now).unwrap();
            assert_eq!(Look::take(&dir).unwrap().files.values().copied().collect::<Vec<_>>(), [key(8), key(3)]);
            write(&dir, "erin", 5);
            assert_eq!(Look::take(&dir).unwrap().orders(&now), [vec![add("erin", 5)]], "an order is one afterwards");
        });
    }

    #[test]
    fn files_that_hold_no_key_are_named_and_remove_nobody() {
        let in_force = [("alice", 1)];
        let (_root, dir) = showing(&in_force);
        fs::write(dir.join("alice.auth"), "descriptor:x25519:").unwrap();
        write(&dir, "not a name", 3);
        fs::write(dir.join("README"), "anything").unwrap();
        let look = Look::take(&dir).unwrap();
        assert_eq!((look.orders(&access(&in_force)), look.problems.len()), (vec![], 2), "{:?}", look.problems);
        look.show(&dir, &access(&in_force)).unwrap();
        assert_eq!(fs::read_to_string(dir.join("alice.auth")).unwrap(), "descriptor:x25519:", "it is the operator's");
    }

    #[test]
    fn a_directory_with_too_many_files_orders_nothing_and_is_left_as_it_is() {
        let (_root, dir) = showing(&[("alice", 1)]);
        (0..FILES_MAX).for_each(|n| fs::write(dir.join(format!("{n}.txt")), "").unwrap());
        let before = fs::read_dir(&dir).unwrap().count();
        let (questions, asked) = smol::channel::unbounded();
        let now = access(&[("alice", 1), ("erin", 5)]);
        let problems = smol::block_on(step(Arc::new(dir.clone()), now, &questions));
        let expected = format!("{}: has more than 1024 entries, so nothing in it counts; remove all", dir.display());
        assert!(problems.len() == 1 && problems.first().unwrap().starts_with(&expected), "{problems:?}");
        assert!(asked.is_empty() && fs::read_dir(&dir).unwrap().count() == before);
    }

    #[test]
    fn opening_the_address_empties_the_directory() {
        let (_root, dir) = showing(&[("alice", 1)]);
        let look = Look::take(&dir).unwrap();
        assert_eq!(look.orders(&Access::Open), Vec::<Vec<_>>::new());
        look.show(&dir, &Access::Open).unwrap();
        assert_eq!(names(&dir), Vec::<String>::new());
    }
}
