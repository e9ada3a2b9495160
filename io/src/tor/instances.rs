//! All tors of a node, each with a supervisor of its own.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustbalance_core::TorId;
use rustbalance_core::onion::address::OnionAddress;
use smol::Task;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

use super::link::Link;
use super::{TorCommand, TorError, TorInput, attach, supervisor};
use crate::clock;
use crate::settings::Settings;
use crate::store::Store;

/// Commands for a tor that may wait.
const COMMANDS: usize = 256;

/// The running tors.
pub(crate) struct Tors {
    /// Where each takes its commands.
    pub commands: BTreeMap<TorId, Sender<TorCommand>>,
    /// Who keep them running.
    pub supervisors: Supervisors,
}

/// Starts the tors of the node in `store`, which serves `address`, or attaches to that of somebody else.
pub(crate) fn supervise_all(
    settings: &Arc<Settings>,
    store: &Arc<Store>,
    address: OnionAddress,
    to_core: &Sender<(TorId, TorInput)>,
) -> Tors {
    let (mut commands, mut supervisors) = (BTreeMap::new(), Supervisors::default());
    for id in store.tors() {
        let (to_tor, from_core) = smol::channel::bounded(COMMANDS);
        commands.insert(id, to_tor);
        let (settings, to_core) = (Arc::clone(settings), to_core.clone());
        if settings.tor.attach.control.is_some() {
            supervisors.spawn(attach::supervise(settings, address, to_core, from_core));
        } else {
            supervisors.spawn(supervise(settings, Arc::clone(store), id, to_core, from_core));
        }
    }
    Tors { commands, supervisors }
}

/// Keeps the core connected to one tor of our own for ever. Returns `Ok` when `from_core` closes. Dropping the future kills
/// that tor.
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
    supervisor::run(settings, store, Link::new(id, to_core, from_core)).await
}

/// One task for each tor. It ends, its tor stopped, when nobody can send it commands any more, or with an error.
#[derive(Default)]
pub(crate) struct Supervisors(Vec<Task<Result<(), TorError>>>);

impl Supervisors {
    /// Starts one.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = Result<(), TorError>> + Send + 'static) {
        // The message of a panic is on standard error by now.
        let work = async { AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(TorError::Supervisor)) };
        self.0.push(smol::spawn(work));
    }

    /// Waits for all, or for the first error; the others go on then.
    pub(crate) async fn ended(&mut self) -> Result<(), TorError> {
        poll_fn(|context| {
            let mut outcome = Ok(());
            self.0.retain_mut(|task| match Pin::new(task).poll(context) {
                Poll::Ready(ended) => {
                    if outcome.is_ok() {
                        outcome = ended;
                    }
                    false
                }
                Poll::Pending => true,
            });
            if outcome.is_err() || self.0.is_empty() { Poll::Ready(outcome) } else { Poll::Pending }
        })
        .await
    }

    /// Waits until all have stopped their tors, once nobody can send commands any more. What takes longer than `limit` is
    /// killed. Then no tor of ours is left.
    ///
    /// # Errors
    /// The first.
    pub(crate) async fn stop(mut self, limit: Duration) -> Result<(), TorError> {
        let all = async {
            let mut outcome = Ok(());
            while !self.0.is_empty() {
                outcome = outcome.and(self.ended().await);
            }
            outcome
        };
        let stopped = clock::within(limit, all).await;
        if stopped.is_none() {
            tracing::warn!("tor does not stop by itself: killing it");
        }
        for task in self.0 {
            task.cancel().await;
        }
        stopped.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, pending, poll_once, yield_now};

    use super::*;

    /// Nothing here takes this long unless it is broken.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A tor that stops, in its own time, when `commands` close; then it closes the channel that is returned.
    fn patient(tors: &mut Supervisors) -> (Sender<()>, Receiver<()>) {
        let (commands, from_core) = smol::channel::bounded::<()>(1);
        let (running, stopped) = smol::channel::bounded(1);
        tors.spawn(async move {
            let _running = running;
            while from_core.recv().await.is_ok() {}
            for _ in 0..100 {
                yield_now().await;
            }
            Ok(())
        });
        (commands, stopped)
    }

    #[test]
    fn all_are_waited_for() {
        let mut tors = Supervisors::default();
        tors.spawn(async { Ok(()) });
        let (commands, stopped) = patient(&mut tors);
        block_on(async {
            assert!(poll_once(tors.ended()).await.is_none());
            drop(commands);
            tors.ended().await.unwrap();
        });
        assert!(stopped.is_closed());
    }

    #[test]
    fn the_first_error_is_told_at_once_and_the_other_tors_are_still_stopped_in_order() {
        let mut tors = Supervisors::default();
        let (commands, stopped) = patient(&mut tors);
        tors.spawn(async { Err(TorError::NotAttached) });
        assert!(matches!(block_on(tors.ended()), Err(TorError::NotAttached)));
        assert!(!stopped.is_closed());
        drop(commands);
        block_on(tors.stop(PATIENCE)).unwrap();
        assert!(stopped.is_closed());
    }

    #[test]
    fn a_supervisor_that_panics_is_an_error() {
        let mut tors = Supervisors::default();
        tors.spawn(async { panic!("as a bug would") });
        assert!(matches!(block_on(tors.ended()), Err(TorError::Supervisor)));
    }

    #[test]
    fn what_does_not_stop_is_gone_when_the_time_for_it_is_over() {
        let (running, stopped) = smol::channel::bounded::<()>(1);
        let mut tors = Supervisors::default();
        tors.spawn(async move {
            let _running = running;
            pending().await
        });
        block_on(tors.stop(Duration::ZERO)).unwrap();
        assert!(stopped.is_closed());
    }
}
