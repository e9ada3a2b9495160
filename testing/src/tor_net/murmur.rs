//! Traffic between all relays, as there is in life.
//!
//! Of several ends of circuits that are to go to one relay at once C tor sends the first; the others wait until something
//! else goes that way (`circuitmux_append_destroy_cell`). On a network where nothing else does, that takes minutes, in which
//! relays take introduction points and sessions for alive that are gone. No network with users is so quiet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use crate::control::Control;
use crate::tor::Tor;

/// Relays that tor extends a circuit to after the first, at least (`MAX_RELAY_EARLY_CELLS_PER_CIRCUIT`, or one less).
const HOPS: usize = 7;
/// Between two circuits.
const PAUSE: Duration = Duration::from_millis(50);
/// Circuits that are left open: each has this many pauses to be built.
const OPEN: usize = 20;

/// A client whose circuits lead from every relay to every other, again and again. Ends when it is dropped.
pub(super) struct Murmur {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _tor: Tor,
}

impl Murmur {
    /// Begins among the relays of these fingerprints.
    pub(super) fn begin(tor: Tor, relays: &[String]) -> Result<Self> {
        let (is_over, control, paths) = (Arc::new(AtomicBool::new(false)), tor.control()?, paths(relays));
        let thread = thread::spawn({
            let is_over = is_over.clone();
            move || murmur(control, &paths, &is_over)
        });
        Ok(Self { is_over, thread: Some(thread), _tor: tor })
    }
}

impl Drop for Murmur {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn murmur(mut control: Control, paths: &[String], is_over: &AtomicBool) {
    let mut open = VecDeque::new();
    for path in paths.iter().cycle() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        // Tests stop relays, and circuits through these fail: nobody needs a certain one.
        if let Ok(reply) = control.command(format!("EXTENDCIRCUIT 0 {path} purpose=general\r\n").as_bytes()) {
            open.extend(reply.to_string().rsplit(' ').next().map(str::to_owned));
        }
        if let Some(oldest) = (open.len() > OPEN).then(|| open.pop_front()).flatten() {
            let _closed = control.command(format!("CLOSECIRCUIT {oldest}\r\n").as_bytes());
        }
        thread::sleep(PAUSE);
    }
}

/// Paths in which each two of the relays stand side by side somewhere: zigzags, cut to what tor extends to.
fn paths(relays: &[String]) -> Vec<String> {
    let count = relays.len();
    let zigzag = |start: usize| -> Vec<String> {
        let offset = |step: usize| if step.is_multiple_of(2) { step / 2 } else { count - step.div_ceil(2) };
        let places = (0..count).map(|step| (start + offset(step)) % count);
        places.filter_map(|place| Some(format!("${}", relays.get(place)?))).collect()
    };
    let cut = |path: Vec<String>| -> Vec<String> {
        let starts = (0..path.len().saturating_sub(1)).step_by(HOPS);
        starts.map(|start| path.iter().skip(start).take(HOPS + 1).cloned().collect::<Vec<_>>().join(",")).collect()
    };
    (0..count).flat_map(|start| cut(zigzag(start))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_two_relays_stand_side_by_side_and_no_path_is_too_long() {
        for count in 2..=26 {
            let relays: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let paths: Vec<Vec<String>> =
                paths(&relays).iter().map(|path| path.split(',').map(str::to_owned).collect()).collect();
            assert!(paths.iter().all(|path| (2..=HOPS + 1).contains(&path.len())), "{paths:?}");
            assert!(paths.iter().all(|path| path.iter().collect::<BTreeSet<_>>().len() == path.len()), "{paths:?}");
            let pairs: BTreeSet<_> = paths
                .iter()
                .flat_map(|path| path.windows(2))
                .map(|pair| pair.iter().collect::<BTreeSet<_>>())
                .collect();
            assert_eq!(pairs.len(), count * (count - 1) / 2);
        }
    }
}
