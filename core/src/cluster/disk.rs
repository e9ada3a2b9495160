//! What must be durable and what is: wanted content per file, one write at a time, repeated until it succeeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::roster::RosterFile;
use super::rotation::Staged;
use super::{Cluster, Key, sign};
use crate::id::EffectId;
use crate::input::EffectError;
use crate::output::{DurableKind, Event, Outbox};
use crate::time::Mono;
use crate::write_failures::WriteFailures;

#[derive(Debug, Default)]
struct File {
    wanted: Vec<u8>,
    durable: Vec<u8>,
    /// Whether those two are equal: they may be long, and are compared only when one of them changes.
    settled: bool,
    writing: Option<(EffectId, Vec<u8>)>,
    failures: WriteFailures,
}

impl File {
    fn is_due(&self) -> bool {
        self.writing.is_none() && !self.settled
    }
}

/// The node's files.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<DurableKind, File>,
}

impl Disk {
    /// What was found at start.
    pub(super) fn found(&mut self, kind: DurableKind, bytes: &[u8]) {
        let file = File { wanted: bytes.to_vec(), durable: bytes.to_vec(), settled: true, ..File::default() };
        self.files.insert(kind, file);
    }

    /// What the file should hold.
    pub(super) fn want(&mut self, kind: DurableKind, bytes: Vec<u8>) {
        let file = self.files.entry(kind).or_default();
        file.settled = bytes == file.durable;
        file.wanted = bytes;
    }

    /// Whether what is wanted is on disk.
    pub(super) fn is_settled(&self, kind: DurableKind) -> bool {
        self.files.get(&kind).is_none_or(|file| file.settled)
    }

    /// Whose newest content is not on disk yet.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = DurableKind> {
        self.files.iter().filter(|(_, file)| !file.settled).map(|(kind, _)| *kind)
    }

    /// Starts due writes.
    pub(super) fn tick(&mut self, now: Mono, out: &mut Outbox) {
        for (kind, file) in &mut self.files {
            if file.is_due() && now >= file.failures.retry_at() {
                let id = out.persist(*kind, file.wanted.clone());
                file.writing = Some((id, file.wanted.clone()));
            }
        }
    }

    /// A write ended; false if it was none of ours.
    pub(super) fn done(&mut self, now: Mono, id: EffectId, result: &Result<(), EffectError>, out: &mut Outbox) -> bool {
        let mut files = self.files.iter_mut();
        let Some((kind, file)) = files.find(|(_, file)| file.writing.as_ref().is_some_and(|(write, _)| *write == id))
        else {
            return false;
        };
        let written = file.writing.take().map(|(_, bytes)| bytes).unwrap_or_default();
        let what = format!("state/{}", kind.file_name());
        match result {
            Ok(()) => {
                file.failures.succeeded(&what, out);
                file.durable = written;
                file.settled = file.wanted == file.durable;
            }
            Err(EffectError::Disk(why)) => file.failures.failed(now, &what, why, out),
        }
        true
    }

    /// When a failed write is due again.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.files.values().filter(|file| file.is_due()).map(|file| file.failures.retry_at()).min()
    }
}

/// [`DurableKind::Lease`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseFile {
    pub incarnation: u64,
    pub epoch: u64,
}

/// A saved file, or the default and a warning if it does not decode.
pub(super) fn load<T: Default + serde::de::DeserializeOwned>(
    saved: &BTreeMap<DurableKind, Vec<u8>>,
    kind: DurableKind,
    out: &mut Outbox,
) -> T {
    let Some(bytes) = saved.get(&kind) else { return T::default() };
    sign::decode(bytes).unwrap_or_else(|| {
        out.event(Event::Warning(format!("state/{} does not decode and is ignored", kind.file_name())));
        T::default()
    })
}

impl Cluster {
    pub(super) fn want_lease(&mut self) {
        let file = LeaseFile { incarnation: self.records.own().incarnation, epoch: self.lease.epoch_max() };
        if self.wanted_lease != Some(file) {
            self.wanted_lease = Some(file);
            self.disk.want(DurableKind::Lease, sign::encode(&file));
        }
    }

    /// Makes the files what they should be.
    pub(super) fn save(&mut self, out: &mut Outbox, now: Mono) {
        self.want_lease();
        let changes = (self.items.durable_changes(), self.contacts.changes());
        if self.saved_changes != Some(changes) {
            self.saved_changes = Some(changes);
            let mut file = self.roster_file();
            file.token = self.rotations.sealed().cloned();
            if let Some(Staged { entry, rotation, token }) = self.rotations.staged() {
                if let Some((node, entry)) = entry {
                    let held = self.items.blob(Key::Entry(*node)).map(|(_, held)| held);
                    file.entries.retain(|other| Some(other.as_slice()) != held);
                    file.entries.push(entry.clone());
                }
                file.rotation = Some(rotation.clone());
                file.token = Some(token.clone());
            }
            if let Some(access) = self.admittance.staged() {
                file.access = Some(access.clone());
            }
            self.disk.want(DurableKind::Roster, sign::encode(&file));
            let invites = self.items.blob(Key::Invites).map(|(_, blob)| blob);
            if let Some(blob) = self.invites.staged().map(Vec::as_slice).or(invites) {
                self.disk.want(DurableKind::Invites, blob.to_vec());
            }
            if let Some((_, blob)) = self.items.blob(Key::Plan) {
                self.disk.want(DurableKind::Plan, blob.to_vec());
            }
        }
        self.disk.tick(now, out);
    }

    /// The roster as anyone may have it.
    pub(super) fn roster_file(&self) -> RosterFile {
        RosterFile {
            entries: self.items.entries().cloned().collect(),
            contacts: self.contacts.of_members(&self.roster),
            rotation: self.items.blob(Key::Rotation).map(|(_, blob)| blob.to_vec()),
            token: None,
            access: self.items.blob(Key::Access).map(|(_, blob)| blob.to_vec()).or(self.admittance.damaged().cloned()),
        }
    }

    pub(super) fn is_roster_durable(&self) -> bool {
        self.disk.is_settled(DurableKind::Roster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;
    use crate::write_failures::WRITE_AGAIN;

    fn write(out: &mut Outbox) -> Option<EffectId> {
        match out.pop() {
            Some(Output::Persist { id, .. }) => Some(id),
            _ => None,
        }
    }

    #[test]
    fn one_write_at_a_time_and_the_newest_content_in_the_end() {
        let (mut disk, mut out) = (Disk::default(), Outbox::default());
        let now = Mono::from_ms(0);
        disk.want(DurableKind::Lease, vec![1]);
        disk.tick(now, &mut out);
        let first = write(&mut out).unwrap();
        disk.want(DurableKind::Lease, vec![2]);
        disk.tick(now, &mut out);
        assert_eq!(write(&mut out), None);
        assert!(disk.done(now, first, &Ok(()), &mut out));
        assert!(!disk.is_settled(DurableKind::Lease));
        disk.tick(now, &mut out);
        let second = write(&mut out).unwrap();
        assert!(disk.done(now, second, &Ok(()), &mut out));
        assert!(disk.is_settled(DurableKind::Lease));
        assert!(!disk.done(now, second, &Ok(()), &mut out), "only once");
    }

    #[test]
    fn a_failed_write_is_said_and_repeated() {
        let (mut disk, mut out) = (Disk::default(), Outbox::default());
        disk.want(DurableKind::Roster, vec![1]);
        disk.tick(Mono::from_ms(0), &mut out);
        let id = write(&mut out).unwrap();
        assert!(disk.done(Mono::from_ms(5), id, &Err(EffectError::Disk("full".into())), &mut out));
        assert!(matches!(out.pop(), Some(Output::Event(Event::Warning(text))) if text.contains("state/roster: full")));
        let retry = disk.next_timeout().unwrap();
        assert_eq!(retry, Mono::from_ms(5).plus(WRITE_AGAIN));
        disk.tick(Mono::from_ms(6), &mut out);
        assert_eq!(write(&mut out), None);
        disk.tick(retry, &mut out);
        assert!(write(&mut out).is_some());
    }
}
