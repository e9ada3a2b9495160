//! Writing to the disk beside the loop, which never waits for it.

use core::time::Duration;
use std::sync::Arc;

use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::time::Mono;
use rustbalance_core::{Durable, EffectError, EffectId};
use smol::channel::{Receiver, RecvError, Sender};
use smol::future::FutureExt as _;

use crate::clock;
use crate::store::Store;

/// Records that may wait for the disk.
const QUEUE: usize = 64;
/// How soon a token that could not be written is tried again. Nobody waits for it but whoever copies the file.
const TOKEN_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A record that is wished for.
type Wish = (EffectId, Durable);
/// The same, and what came of it.
pub(super) type Done = (EffectId, Result<(), EffectError>);

/// The ends of the writer that the driver has. It ends when they are dropped.
pub(super) struct Disk {
    records: Sender<Wish>,
    /// Room for one: the newest token takes the place of one that still waits.
    tokens: Sender<ClusterToken>,
    /// Outcomes.
    pub done: Receiver<Done>,
}

impl Disk {
    /// Starts writing to `store`.
    pub fn start(store: Arc<Store>) -> Self {
        Self::start_trying_again_after(TOKEN_AGAIN_AFTER, store)
    }

    fn start_trying_again_after(pause: Duration, store: Arc<Store>) -> Self {
        let (records, wishes) = smol::channel::bounded(QUEUE);
        let (tokens, new_tokens) = smol::channel::bounded(1);
        let (to_done, done) = smol::channel::bounded(QUEUE);
        let token = TokenFile { store: Arc::clone(&store), pause, unwritten: None, is_warned: false };
        smol::spawn(write(store, token, wishes, new_tokens, to_done)).detach();
        Self { records, tokens, done }
    }

    /// Has a record written, after all that were before it.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn persist(&self, id: EffectId, record: Durable) -> Result<(), EffectError> {
        let why = || EffectError::Disk("too many records wait for the disk".to_owned());
        self.records.try_send((id, record)).map_err(|_| why())
    }

    /// Has the token written when no record waits, and again until that succeeds.
    pub fn put_token(&self, token: ClusterToken) {
        // It fails only if the writer has ended, as the driver has then.
        _ = self.tokens.force_send(token);
    }
}

enum Next {
    Record(Wish),
    Token(ClusterToken),
    Again,
}

/// One after the other, records first.
async fn write(
    store: Arc<Store>,
    mut token: TokenFile,
    wishes: Receiver<Wish>,
    tokens: Receiver<ClusterToken>,
    done: Sender<Done>,
) {
    loop {
        let record = async { wishes.recv().await.map(Next::Record) };
        let new_token = async { tokens.recv().await.map(Next::Token) };
        let next: Result<Next, RecvError> = record.or(new_token).or(token.again()).await;
        let Ok(next) = next else { return };
        match next {
            Next::Record((id, record)) => {
                let store = Arc::clone(&store);
                let written = smol::unblock(move || store.save(&record)).await;
                let result = written.map_err(|error| EffectError::Disk(error.to_string()));
                if done.send((id, result)).await.is_err() {
                    return;
                }
            }
            Next::Token(new) => token.write(new).await,
            Next::Again => token.write_again().await,
        }
    }
}

/// `keys/cluster_token`, in step with the cluster.
struct TokenFile {
    store: Arc<Store>,
    pause: Duration,
    /// The newest, if it could not be written, and when it is tried again.
    unwritten: Option<(ClusterToken, Mono)>,
    is_warned: bool,
}

impl TokenFile {
    /// When it is to be tried again; never, if all is well.
    async fn again(&self) -> Result<Next, RecvError> {
        clock::sleep_until(self.unwritten.as_ref().map(|(_, at)| *at)).await;
        Ok(Next::Again)
    }

    async fn write_again(&mut self) {
        if let Some((token, _)) = self.unwritten.take() {
            self.write(token).await;
        }
    }

    async fn write(&mut self, token: ClusterToken) {
        let store = Arc::clone(&self.store);
        let (written, token) = smol::unblock(move || (store.save_token(&token), token)).await;
        match written {
            Ok(()) => {
                self.unwritten = None;
                if core::mem::take(&mut self.is_warned) {
                    tracing::info!("keys/cluster_token is written: it is the cluster's token again");
                }
            }
            Err(error) => {
                self.unwritten = Some((token, clock::mono().plus(self.pause)));
                if !core::mem::replace(&mut self.is_warned, true) {
                    tracing::warn!(
                        "{error}; the node goes on, but the file does not have the cluster's token: it is tried again \
                         every {} s, and at the next start",
                        self.pause.as_secs()
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustbalance_core::DurableKind;

    use super::*;
    use crate::store::create_private_dir;

    /// Far longer than a write takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["keys", "state"] {
            create_private_dir(&dir.path().join(name)).unwrap();
        }
        let store = Arc::new(Store::new(dir.path()));
        (dir, store)
    }

    fn token(n: u8) -> ClusterToken {
        ClusterToken::new([n; 32])
    }

    /// Has a record written, and so sees that the writer has seen to what came before it.
    async fn write_a_record(disk: &Disk, id: u64) -> Result<(), EffectError> {
        let record = Durable { kind: DurableKind::Lease, bytes: b"lease".to_vec() };
        disk.persist(EffectId(id), record).unwrap();
        let (done, result) = clock::within(PATIENCE, disk.done.recv()).await.expect("in time").unwrap();
        assert_eq!(done, EffectId(id));
        result
    }

    async fn assert_comes_to_be(store: &Store, wanted: &ClusterToken) {
        let is_there = async {
            while !store.token().is_ok_and(|now| now.token() == *wanted) {
                clock::sleep(Duration::from_millis(5)).await;
            }
        };
        clock::within(PATIENCE, is_there).await.expect("in time");
    }

    #[test]
    fn a_token_that_cannot_be_written_keeps_nothing_else_from_it_and_the_newest_is_tried_again() {
        let (dir, store) = store();
        // A directory in the way refuses even root.
        let in_the_way = dir.path().join("keys/cluster_token.new");
        create_private_dir(&in_the_way).unwrap();
        smol::block_on(async {
            let disk = Disk::start_trying_again_after(Duration::from_millis(20), Arc::clone(&store));
            for n in [1, 2] {
                disk.put_token(token(n));
                write_a_record(&disk, n.into()).await.unwrap();
            }
            assert!(store.token().is_err());
            std::fs::remove_dir(&in_the_way).unwrap();
            assert_comes_to_be(&store, &token(2)).await;
            disk.put_token(token(3));
            assert_comes_to_be(&store, &token(3)).await;
        });
    }

    #[test]
    fn that_a_token_cannot_be_written_is_said_once_and_so_is_that_it_is() {
        let (dir, store) = store();
        let in_the_way = dir.path().join("keys/cluster_token.new");
        let mut file = TokenFile { store, pause: Duration::from_secs(1), unwritten: None, is_warned: false };
        smol::block_on(async {
            for _ in 0..2 {
                create_private_dir(&in_the_way).unwrap();
                file.write(token(1)).await;
                assert!(file.is_warned && file.unwritten.is_some());
                std::fs::remove_dir(&in_the_way).unwrap();
                file.write_again().await;
                assert!(!file.is_warned && file.unwritten.is_none());
            }
        });
    }
}
