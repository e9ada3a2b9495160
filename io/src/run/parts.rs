//! The tasks beside the driver and tor. Each lasts as long as the node; one that ends before it, by a panic for
//! example, leaves a node that looks alive and is not.

use std::panic::AssertUnwindSafe;

use smol::Task;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

/// The tasks that run; dropping them ends them.
pub(super) struct Parts {
    tasks: Vec<Task<()>>,
    to_ended: Sender<&'static str>,
    ended: Receiver<&'static str>,
}

impl Parts {
    pub(super) fn new() -> Self {
        // Who waits needs to hear of the first one only.
        let (to_ended, ended) = smol::channel::bounded(1);
        Self { tasks: Vec::new(), to_ended, ended }
    }

    /// Starts `work`; `name` is for the operator.
    pub(super) fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.to_ended.clone();
        self.tasks.push(smol::spawn(async move {
            // The message of a panic is on standard error by now.
            _ = AssertUnwindSafe(work).catch_unwind().await;
            _ = ended.try_send(name);
        }));
    }

    /// Waits until a part has ended; says which.
    pub(super) async fn ended(&self) -> &'static str {
        match self.ended.recv().await {
            Ok(name) => name,
            // Never: we hold a sender.
            Err(_) => core::future::pending().await,
        }
    }
}
