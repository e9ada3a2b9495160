//! The files in which tor reads who may connect (`authorized_clients` in its `HiddenServiceDir`): what they should hold,
//! and whether they do. Tor reads them anew at every `SETCONF`, and so keeps its introduction points.
//!
//! A service that is restricted always has one client more, ourselves: tor encrypts also what it tells its controller.
//! So the files are empty exactly where everybody may connect.

use core::fmt::Write as _;
use core::time::Duration;
use std::sync::Arc;

use crate::cluster::Access;
use crate::id::EffectId;
use crate::input::EffectError;
use crate::onion::client::{AUTH_FILE_SUFFIX, HsClientDescEncKey};
use crate::output::{DurableKind, Outbox};
use crate::time::Mono;
use crate::write_failures::WriteFailures;

/// Our own client's name; no [`ClientName`](crate::onion::client::ClientName) begins so.
const OWN_NAME: &str = "_rustbalance";

/// The files, to the operator.
const WHAT: &str = "tor's authorized_clients";

/// A write that takes longer may come too late: a tor that has had points meanwhile, and was not told to publish, believes to
/// have done so.
const SLOW: Duration = Duration::from_secs(2);

/// Names one content of the files. 0 is none.
pub type FilesSerial = u64;

/// What the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// What they should.
    Written(FilesSerial),
    /// They are being written.
    Writing,
    /// They cannot be written, or not in time.
    Failed,
}

/// The files.
pub struct AuthorizedClients {
    own: HsClientDescEncKey,
    access: Option<Arc<Access>>,
    /// Of the content they should have; grows.
    serial: FilesSerial,
    written: FilesSerial,
    writing: Option<(EffectId, FilesSerial)>,
    /// When that began.
    since: Mono,
    failed: bool,
    failures: WriteFailures,
}

impl AuthorizedClients {
    /// Nothing is known of the files yet. `own` is the service's own client.
    pub fn new(own: HsClientDescEncKey) -> Self {
        let failures = WriteFailures::default();
        Self {
            own,
            access: None,
            serial: 0,
            written: 0,
            writing: None,
            since: Mono::default(),
            failed: false,
            failures,
        }
    }

    /// Has them written if they do not say `access`.
    pub fn tick(&mut self, now: Mono, access: &Arc<Access>, out: &mut Outbox) {
        if self.access.as_ref() != Some(access) {
            self.access = Some(Arc::clone(access));
            self.write_again();
        }
        if self.written != self.serial && self.writing.is_none() && now >= self.failures.retry_at() {
            let id = out.persist(DurableKind::AuthorizedClients, self.text(access).into_bytes());
            (self.writing, self.since) = (Some((id, self.serial)), now);
        }
        self.failed |= self.writing.is_some() && now >= self.since.plus(SLOW);
    }

    /// Has them written again, for tor to read again: somebody may have removed them.
    pub fn write_again(&mut self) {
        self.serial += 1;
        self.failures.hurry();
    }

    /// A write ended; false if it was none of these.
    pub fn done(&mut self, now: Mono, id: EffectId, result: &Result<(), EffectError>, out: &mut Outbox) -> bool {
        let Some((_, serial)) = self.writing.take_if(|(writing, _)| *writing == id) else { return false };
        self.failed = result.is_err();
        match result {
            Ok(()) => {
                self.written = serial;
                self.failures.succeeded(WHAT, out);
            }
            Err(EffectError::Disk(why)) => self.failures.failed(now, WHAT, why, out),
        }
        true
    }

    /// What they hold.
    pub fn files(&self) -> Files {
        if self.written == self.serial {
            Files::Written(self.written)
        } else if self.failed {
            Files::Failed
        } else {
            Files::Writing
        }
    }

    /// When a failed write is due again, or one has taken too long.
    pub fn next_timeout(&self) -> Option<Mono> {
        match self.writing {
            Some(_) => (!self.failed).then(|| self.since.plus(SLOW)),
            None => (self.written != self.serial).then_some(self.failures.retry_at()),
        }
    }

    /// One line per file: its name, a space, its content.
    fn text(&self, access: &Access) -> String {
        let mut text = String::new();
        let mut file = |name: &str, key: HsClientDescEncKey| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}{AUTH_FILE_SUFFIX} {}", key.to_auth_line());
        };
        if access.is_restricted() {
            file(OWN_NAME, self.own);
            access.clients().for_each(|(name, key)| file(name.as_str(), key));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::client::HsClientDescEncKeypair;
    use crate::output::{Event, Output};
    use crate::write_failures::WRITE_AGAIN;

    fn key(n: u8) -> HsClientDescEncKey {
        HsClientDescEncKeypair::from_bytes(&[n; 32]).public()
    }

    fn restricted(names: &[&str]) -> Arc<Access> {
        let clients = names.iter().zip(1..).map(|(name, n)| (name.parse().unwrap(), key(n)));
        Arc::new(Access::Restricted(clients.collect()))
    }

    fn written(out: &mut Outbox) -> Option<(EffectId, String)> {
        let output = out.pop()?;
        let Output::Persist { id, record } = output else { panic!("{output:?}") };
        Some((id, String::from_utf8(record.bytes).unwrap()))
    }

    #[test]
    fn the_files_are_empty_only_where_everybody_may_connect() {
        for (access, files) in [
            (Arc::new(Access::Open), vec![]),
            (restricted(&[]), vec!["_rustbalance.auth"]),
            (restricted(&["bob", "alice"]), vec!["_rustbalance.auth", "alice.auth", "bob.auth"]),
        ] {
            let (mut clients, mut out) = (AuthorizedClients::new(key(9)), Outbox::default());
            clients.tick(Mono::default(), &access, &mut out);
            let (_, text) = written(&mut out).unwrap();
            assert_eq!(text.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>(), files);
            assert!(text.lines().all(|line| line.contains(" descriptor:x25519:")), "{text}");
        }
    }

    #[test]
    fn a_change_during_a_write_is_written_next_and_counts_when_it_is() {
        let (mut clients, mut out, now) = (AuthorizedClients::new(key(9)), Outbox::default(), Mono::default());
        clients.tick(now, &restricted(&["a"]), &mut out);
        let (first, _) = written(&mut out).unwrap();
        clients.tick(now, &restricted(&[]), &mut out);
        assert_eq!((written(&mut out), clients.files()), (None, Files::Writing));
        assert!(clients.done(now, first, &Ok(()), &mut out));
        assert!(!clients.done(now, first, &Ok(()), &mut out), "once");
        assert_eq!(clients.files(), Files::Writing);
        clients.tick(now, &restricted(&[]), &mut out);
        let (second, text) = written(&mut out).unwrap();
        assert!(!text.contains("a.auth "));
        assert!(clients.done(now, second, &Ok(()), &mut out));
        assert_eq!(clients.files(), Files::Written(2));
        clients.tick(now, &restricted(&[]), &mut out);
        assert_eq!(written(&mut out), None);
    }

    #[test]
    fn a_write_that_takes_too_long_has_failed_until_it_ends() {
        let (mut clients, mut out, now) = (AuthorizedClients::new(key(9)), Outbox::default(), Mono::from_ms(5));
        clients.tick(now, &restricted(&[]), &mut out);
        let (id, _) = written(&mut out).unwrap();
        assert_eq!((clients.files(), clients.next_timeout()), (Files::Writing, Some(now.plus(SLOW))));
        clients.tick(now.plus(SLOW), &restricted(&[]), &mut out);
        assert_eq!((clients.files(), clients.next_timeout(), written(&mut out)), (Files::Failed, None, None));
        clients.done(now.plus(SLOW), id, &Ok(()), &mut out);
        assert_eq!((clients.files(), clients.next_timeout()), (Files::Written(1), None));
    }

    #[test]
    fn a_failed_write_is_known_and_repeated() {
        let (mut clients, mut out, now) = (AuthorizedClients::new(key(9)), Outbox::default(), Mono::from_ms(5));
        clients.tick(now, &restricted(&[]), &mut out);
        let (id, _) = written(&mut out).unwrap();
        clients.done(now, id, &Err(EffectError::Disk("full".into())), &mut out);
        assert!(matches!(out.pop(), Some(Output::Event(Event::Warning(text))) if text.contains("full")));
        assert_eq!((clients.files(), clients.next_timeout()), (Files::Failed, Some(now.plus(WRITE_AGAIN))));
        clients.tick(now, &restricted(&[]), &mut out);
        assert_eq!(written(&mut out), None);
        clients.tick(now.plus(WRITE_AGAIN), &restricted(&[]), &mut out);
        assert!(written(&mut out).is_some());
    }
}
