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
use std::sync::{Arc, Mutex, PoisonError};

use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::{AUTH_FILE_SUFFIX, ClientName, HsClientDescEncKey};
use smol::channel::Sender;

use super::auth_file;
use crate::clock;
use crate::status::{Answer, Question, Request, put};
use crate::store::{StoreError, atomic, create_private_dir, step};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon to ask a node again that is still busy with the order before.
const AFTER_BUSY: Duration = Duration::from_millis(20);
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

/// What is wrong in the directory, for operators: each with its file, and the way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems(Arc<Mutex<BTreeSet<String>>>);

impl Problems {
    /// As of the last look.
    pub fn now(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Logs each once, for as long as it lasts.
    fn replace(&self, problems: BTreeSet<String>) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.difference(&said).for_each(|problem| tracing::warn!("{problem}"));
        *said = problems;
    }
}

/// Keeps the directory and the cluster in step, for ever.
pub(crate) async fn watch(dir: PathBuf, problems: Problems, questions: Sender<Question>) {
    let dir = Arc::new(dir);
    loop {
        if let Answer::Access(access) = put(Request::Access, &questions).await {
            problems.replace(step(Arc::clone(&dir), access, &questions).await);
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
    for (name, order) in &orders {
        if let Answer::Refused(why) = give(order, questions).await {
            problems.insert(format!("{}: {why}", file(&dir, name).display()));
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
    /// Names of files whose key is not known.
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
        let Some(name) = auth_file::client(path) else { return };
        let read = name.and_then(|name| {
            let key = auth_file::key(path, str::parse).inspect_err(|_| _ = self.unreadable.insert(name.clone()))?;
            self.files.insert(name, key);
            Ok(())
        });
        if let Err(error) = read {
            self.problems.insert(format!("{error}; it is ignored until then"));
        }
    }

    /// What the operator did since we last wrote, and is not so yet: each for itself, so that one that is refused does not
    /// keep the others from being done.
    fn orders(&self, access: &Access) -> Vec<(ClientName, Vec<AccessChange>)> {
        let in_force: Clients = access.clients().map(|(name, key)| (name.clone(), key)).collect();
        let order = |name: &ClientName| {
            let remove = in_force.contains_key(name).then(|| AccessChange::Remove(name.clone()));
            let add = self.files.get(name).map(|key| AccessChange::Add(name.clone(), *key));
            (name.clone(), remove.into_iter().chain(add).collect())
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
            let path = file(dir, name);
            atomic::replace(&path, format!("{}\n", key.to_auth_line()).as_bytes())?;
        }
        for name in self.files.keys().filter(|name| !in_force.contains_key(*name) && !ordered.contains(name)) {
            let path = file(dir, name);
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

fn file(dir: &Path, name: &ClientName) -> PathBuf {
    dir.join(format!("{name}{AUTH_FILE_SUFFIX}"))
}

fn known_file(dir: &Path) -> PathBuf {
    dir.join(".known")
}

#[cfg(test)]
mod tests;
