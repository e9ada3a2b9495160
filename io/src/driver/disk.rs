//! Writing to the disk beside the loop, which never waits for it.

use std::sync::Arc;

use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::{Durable, EffectError, EffectId};
use smol::channel::{Receiver, Sender};

use crate::store::Store;

/// Records that may wait for the disk.
const QUEUE: usize = 64;

/// What goes to the disk, in this order.
pub(super) enum Write {
    Record(EffectId, Durable),
    Token(ClusterToken),
}

/// A record that was wished for, and what came of it.
pub(super) type Done = (EffectId, Result<(), EffectError>);

/// Starts writing to `store`: where wishes go, and where their outcomes come from. It ends when nobody holds the first.
pub(super) fn start(store: Arc<Store>) -> (Sender<Write>, Receiver<Done>) {
    let (persist, wishes) = smol::channel::bounded(QUEUE);
    let (to_done, persisted) = smol::channel::bounded(QUEUE);
    smol::spawn(write_records(store, wishes, to_done)).detach();
    (persist, persisted)
}

/// One after the other.
async fn write_records(store: Arc<Store>, wishes: Receiver<Write>, done: Sender<Done>) {
    while let Ok(wish) = wishes.recv().await {
        let store = Arc::clone(&store);
        let (id, record) = match wish {
            Write::Record(id, record) => (id, record),
            Write::Token(token) => {
                if let Err(error) = smol::unblock(move || store.save_token(&token)).await {
                    tracing::warn!("{error}; the node goes on, and writes it at its next start");
                }
                continue;
            }
        };
        let written = smol::unblock(move || store.save(&record)).await;
        let result = written.map_err(|error| EffectError::Disk(error.to_string()));
        if done.send((id, result)).await.is_err() {
            return;
        }
    }
}
