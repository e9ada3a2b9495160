//! More people than a service wants to serve at once: what proof of work is for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::client::Client;

/// How long each of the crowd waits for a page: longer than a service keeps a request in its queue (15 s).
const PATIENCE: Duration = Duration::from_secs(20);

/// Does `work` while `at_once` people behind each of `clients` load page after page, each over circuits of its own.
/// Returns how many pages the crowd got, and how many it did not get.
///
/// # Errors
/// Those of `work`. What the crowd gets is its own affair.
pub fn during<T>(
    clients: &[Client],
    address: &str,
    at_once: usize,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, [usize; 2])> {
    static CIRCUIT: AtomicU32 = AtomicU32::new(1_000);
    let (stop, served, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let visit = |client: &Client| {
        while !stop.load(Ordering::SeqCst) {
            let page = client.load(address, 80, CIRCUIT.fetch_add(1, Ordering::SeqCst), PATIENCE);
            (if page.is_ok() { &served } else { &refused }).fetch_add(1, Ordering::SeqCst);
        }
    };
    let outcome = thread::scope(|scope| {
        for client in clients {
            (0..at_once).for_each(|_| drop(scope.spawn(|| visit(client))));
        }
        let outcome = work();
        stop.store(true, Ordering::SeqCst);
        outcome
    })?;
    Ok((outcome, [served.into_inner(), refused.into_inner()]))
}
