//! All tors of a node, each with a supervisor of its own.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustbalance_core::TorId;
use smol::Task;
use smol::channel::{Receiver, Sender};

use super::link::Link;
use super::{TorCommand, TorError, TorInput, attach, supervisor};
use crate::settings::Settings;
use crate::store::Store;

/// Commands for a tor that may wait.
const COMMANDS: usize = 256;

/// The running tors.
pub(crate) struct Tors {
    /// Where each takes its commands.
    pub commands: BTreeMap<TorId, Sender<TorCommand>>,
    /// Ends when all have stopped, because nobody holds `commands` any more; or with the error of the first that cannot be
    /// run, at which the others are killed.
    pub task: Task<Result<(), TorError>>,
}

/// Starts the tors of the node in `store`, or attaches to that of somebody else.
pub(crate) fn supervise_all(settings: &Arc<Settings>, store: &Arc<Store>, to_core: &Sender<(TorId, TorInput)>) -> Tors {
    let (mut commands, mut tors) = (BTreeMap::new(), Vec::new());
    for id in store.tors() {
        let (to_tor, from_core) = smol::channel::bounded(COMMANDS);
        commands.insert(id, to_tor);
        tors.push(smol::spawn(supervise(Arc::clone(settings), Arc::clone(store), id, to_core.clone(), from_core)));
    }
    Tors { commands, task: smol::spawn(all(tors)) }
}

/// Keeps the core connected to one tor for ever: of our own, or of somebody else. Returns `Ok` when `from_core` closes.
/// Dropping the future kills a tor of our own.
///
/// # Errors
/// What cannot be repaired by trying again: tor missing or too old, a bad option or key, files that cannot be written.
pub async fn supervise(
    settings: Arc<Settings>,
    store: Arc<Store>,
    id: TorId,
    to_core: Sender<(TorId, TorInput)>,
    from_core: Receiver<TorCommand>,
) -> Result<(), TorError> {
    let link = Link::new(id, to_core, from_core);
    if settings.tor.attach.control.is_some() {
        attach::run(&settings, &store, link).await
    } else {
        supervisor::run(settings, store, link).await
    }
}

/// Waits for all of `tasks`, or for the first error.
async fn all<E>(mut tasks: Vec<Task<Result<(), E>>>) -> Result<(), E> {
    poll_fn(|context| {
        let mut outcome = Ok(());
        tasks.retain_mut(|task| match Pin::new(task).poll(context) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                outcome = Err(error);
                false
            }
            Poll::Pending => true,
        });
        if outcome.is_err() || tasks.is_empty() { Poll::Ready(outcome) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol::Timer;
    use smol::future::FutureExt as _;

    use super::*;

    #[test]
    fn all_are_waited_for_and_the_first_error_ends_them() {
        let (go, wait) = smol::channel::bounded::<()>(1);
        let waits = |wait: smol::channel::Receiver<()>| {
            smol::spawn(async move {
                _ = wait.recv().await;
                Ok(())
            })
        };
        let both = smol::spawn(all(vec![smol::spawn(async { Ok::<(), u8>(()) }), waits(wait)]));
        assert!(!both.is_finished());
        drop(go);
        assert_eq!(smol::block_on(both), Ok(()));
        let (go, wait) = smol::channel::bounded(1);
        assert_eq!(smol::block_on(all(vec![waits(wait), smol::spawn(async { Err(7) })])), Err(7));
        let ended = async {
            while !go.is_closed() {
                smol::future::yield_now().await;
            }
            true
        };
        let late = async {
            Timer::after(Duration::from_secs(20)).await;
            false
        };
        assert!(smol::block_on(ended.or(late)), "the other one ends");
    }
}
