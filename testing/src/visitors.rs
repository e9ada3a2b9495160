//! People who visit the service: fresh ones, each with a tor client that has never heard of it, and regular ones who stay.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::client::{Client, Page};
use crate::tor::Tor;
use crate::tor_net::TorNet;
use crate::wait::{self, Answer};

/// How long a fresh visitor waits for a page before giving up; a little less than tor itself waits (`SocksTimeout`, 120 s).
pub const PATIENCE: Duration = Duration::from_secs(110);
/// A regular visitor, who reloads, gives up only after this: longer than a client needs that knows nine dead points. One that
/// took a dead node's introduction point from a descriptor fetched before the takeover, and was not told so by the relays,
/// waits 31 s (three circuit build timeouts and a second) before its tor tries another point. Relays do not always tell in
/// time: a circuit's end may wait in one of them until something else is sent the same way.
pub const REGULAR_PATIENCE: Duration = Duration::from_secs(420);
/// What a client's tor waits for an introduction point that is dead and of which no relay told: three circuit build timeouts
/// and a second. It keeps in mind only who refused, for two minutes: a silent one it may pick again.
const DEAD_POINT: Duration = Duration::from_secs(31);
/// The longest that a regular visitor may wait for a page where nobody died: a blank screen and a reload, twice.
pub const RELOAD: Duration = Duration::from_secs(25);

/// The longest that a regular visitor may wait who knows so many dead points: that, and tor's time for each. Some it tries
/// twice, and with one it begins anew where the visitor has given up and asked again.
pub fn reload_with_dead(points: u32) -> Duration {
    (RELOAD + 2 * (points + 1) * DEAD_POINT).min(REGULAR_PATIENCE)
}

/// Between two pages of a regular visitor.
const READING: Duration = Duration::from_secs(1);
/// A regular visitor does not look at a blank screen for longer, and asks for a new circuit. (The old one may look alive
/// after a SIGKILL of the service's tor, for the same reason, and stay silent for two minutes.) Over a new circuit tor
/// itself goes from one introduction point to the next, and whoever interrupted it would make it forget which are dead.
pub const BLANK: Duration = Duration::from_secs(10);
/// Between an error on the screen and the reload.
const RELOADING: Duration = Duration::from_millis(500);

/// How visits went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Pages, by the node that served them.
    pub served_by: BTreeMap<String, usize>,
    /// Regular visitors only: connections that broke and were opened again.
    pub reloads: usize,
    /// Visits without a page in the end, each with its reason. A fresh visitor's first error counts: it does not reload.
    pub failed: Vec<String>,
    /// The longest wait for a page, from a visitor's first try on, reloads included.
    pub slowest: Duration,
}

impl Tally {
    /// Counts those of `other`, too.
    pub fn add(&mut self, other: Self) {
        self.reloads += other.reloads;
        self.failed.extend(other.failed);
        self.slowest = self.slowest.max(other.slowest);
        for (node, pages) in other.served_by {
            *self.served_by.entry(node).or_default() += pages;
        }
    }

    /// Visits that got their page.
    pub fn served(&self) -> usize {
        self.served_by.values().sum()
    }

    /// Everybody got a page, and nobody waited longer than `patience`.
    pub fn is_good(&self, patience: Duration) -> bool {
        self.failed.is_empty() && self.served() > 0 && self.slowest <= patience
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages, {} failed", self.served(), self.failed.len())?;
        if self.reloads > 0 {
            write!(f, ", {} reloads", self.reloads)?;
        }
        write!(f, ", slowest {:.1} s, by", self.slowest.as_secs_f32())?;
        self.served_by.iter().try_for_each(|(node, pages)| write!(f, " {node}:{pages}"))?;
        self.failed.iter().take(3).try_for_each(|reason| write!(f, "\n    failed: {reason}"))
    }
}

/// Sends `count` fresh visitors, `at_once` at a time; each is a new tor process that loads the page once.
///
/// # Errors
/// If a client's tor does not start or bootstrap: that is the network's fault, not the service's.
pub fn fresh(net: &TorNet, address: &str, count: usize, at_once: usize) -> Result<Tally> {
    let sent = AtomicUsize::new(0);
    fresh_while(net, address, at_once, || sent.fetch_add(1, Ordering::SeqCst) < count)
}

/// Sends fresh visitors, `at_once` at a time, for as long as `go_on` says so.
///
/// # Errors
/// As [`fresh`].
pub fn fresh_while(net: &TorNet, address: &str, at_once: usize, go_on: impl Fn() -> bool + Sync) -> Result<Tally> {
    let tally = Mutex::new(Tally::default());
    let visit = || -> Result<()> {
        while go_on() {
            let (outcome, took) = fresh_visit(net, address)?;
            record(&tally, outcome, took);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(visit)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a visitor panicked"))?)
    })?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn fresh_visit(net: &TorNet, address: &str) -> Result<(Result<Page>, Duration)> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let client = Client::start(net, &format!("fresh{}", NUMBER.fetch_add(1, Ordering::SeqCst)))?;
    let began = Instant::now();
    let outcome = client.load(address, 80, 0, PATIENCE);
    let took = began.elapsed();
    let dir = client.tor().dir().to_path_buf();
    drop(client);
    if outcome.is_ok() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok((outcome, took))
}

fn record(tally: &Mutex<Tally>, outcome: Result<Page>, took: Duration) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.slowest = tally.slowest.max(took);
    match outcome {
        Ok(page) => *tally.served_by.entry(page.node).or_default() += 1,
        Err(error) => tally.failed.push(format!("{error:#}")),
    }
}

/// Regular visitors in the background: each keeps one tor client, with its descriptor and circuits, and loads a page every
/// second. An error, or a screen that stays blank for [`BLANK`], makes it reload over a new circuit; only seven minutes
/// without a page are a failed visit.
pub struct Regulars {
    clients: Vec<Arc<Client>>,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    /// How many visits each has ended.
    visits: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<()>>,
}

impl Regulars {
    /// Starts `count` of them.
    ///
    /// # Errors
    /// If a client's tor does not start or bootstrap.
    pub fn start(net: &TorNet, address: &str, count: usize) -> Result<Self> {
        let mut regulars = Self {
            clients: Vec::new(),
            stop: Arc::default(),
            tally: Arc::default(),
            visits: Vec::new(),
            threads: Vec::new(),
        };
        for client in Client::start_some(net, "regular", count)?.into_iter().map(Arc::new) {
            regulars.clients.push(Arc::clone(&client));
            let (stop, tally, visits) = (Arc::clone(&regulars.stop), Arc::clone(&regulars.tally), Arc::default());
            regulars.visits.push(Arc::clone(&visits));
            let address = address.to_owned();
            regulars.threads.push(thread::spawn(move || {
                let mut circuit = 0;
                while !stop.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let outcome = regular_visit(&client, &address, &mut circuit, &tally);
                    record(&tally, outcome, began.elapsed());
                    visits.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(READING);
                }
            }));
        }
        Ok(regulars)
    }

    /// The tor of each.
    pub fn tors(&self) -> impl Iterator<Item = &Tor> {
        self.clients.iter().map(|client| client.tor())
    }

    /// How it went since the start or the last call, up to a visit of each that began now: whoever was still waiting for
    /// a page has got it or given up.
    ///
    /// # Errors
    /// If a visitor ends no visit for longer than its patience.
    pub fn take_tally(&self) -> Result<Tally> {
        let ended = || self.visits.iter().map(|visits| visits.load(Ordering::SeqCst));
        let before: Vec<usize> = ended().collect();
        wait::until("each regular visitor's next visit", 3 * REGULAR_PATIENCE, || {
            let all = ended().zip(&before).all(|(now, before)| now >= before + 2);
            Ok(Answer::from_option(all.then_some(()), || "some still wait for a page".into()))
        })?;
        Ok(std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Regulars {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn regular_visit(client: &Client, address: &str, circuit: &mut u32, tally: &Mutex<Tally>) -> Result<Page> {
    let deadline = Instant::now() + REGULAR_PATIENCE;
    let mut blank = BLANK;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = client.load(address, 80, *circuit, left.min(blank));
        if outcome.is_ok() || Instant::now() + RELOADING >= deadline {
            return outcome;
        }
        *circuit += 1;
        blank = PATIENCE;
        tally.lock().unwrap_or_else(PoisonError::into_inner).reloads += 1;
        thread::sleep(RELOADING);
    }
}
