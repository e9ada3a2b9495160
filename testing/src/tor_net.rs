//! A private tor network on loopback, or on another subnet of this machine: directory authorities and relays, all C tor processes.
//!
//! Its time runs fast: with a voting interval of V seconds a new shared random value (SRV) comes at every unix time
//! divisible by 24 V, a new time period (TP) 12 V later; both every 8 minutes at the default V of 20.

mod authority;
mod murmur;
mod subnet;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use rustbalance_core::control::command;
use rustbalance_core::id::RelayFingerprint;

use crate::control::Control;
use crate::tor::Tor;
use crate::wait::{self, Answer};
use authority::Authority;
use murmur::Murmur;
use subnet::Subnet;

/// Every relay has an address of its own, so all use the same ports.
const OR_PORT: u16 = 21_000;
const DIR_PORT: u16 = 21_001;
/// Of a round before the first consensus: relays that are started later may be late for it.
const EARLY: f64 = 0.6;
/// For votes and again for signatures in such a round: the shortest tor allows.
const FIRST_DELAY_SECS: u64 = 2;
/// What every relay is said to carry.
const BANDWIDTH: u32 = 1000;
/// More than a network takes to start.
const START_SECS: u64 = 150;
/// Relays are up within one voting interval of being started, or something is wrong.
const UP_LIMIT: Duration = Duration::from_secs(120);

/// The shape of a network.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The tor binary.
    pub tor: PathBuf,
    /// Directory authorities; they are relays and HSDirs too.
    pub authorities: u8,
    /// Other relays.
    pub relays: u8,
    /// V: a multiple of 5, at least 10.
    pub voting_interval_secs: u64,
    /// The same before the first consensus. At least 10, with which that comes early.
    pub first_interval_secs: u64,
    /// The first three bytes of the relays' addresses, if the network is not to be on loopback: a /24 of this machine,
    /// which nobody else uses.
    pub subnet: Option<[u8; 3]>,
}

impl Default for Shape {
    fn default() -> Self {
        let (voting_interval_secs, first_interval_secs) = (20, 10);
        Self { tor: "tor".into(), authorities: 3, relays: 8, voting_interval_secs, first_interval_secs, subnet: None }
    }
}

impl Shape {
    /// One in which no tor fetches another consensus for `calm`, at most an hour, and nothing would rotate with it. As a
    /// relay that is late for the first one would be in none, that comes late.
    pub fn calm_for(calm: Duration) -> Self {
        Self::calm(calm, |_| true)
    }

    /// The same, in the half of the day that ends with `end`.
    pub fn calm_before(end: Rotation, calm: Duration) -> Self {
        Self::calm(calm, |next| next == end)
    }

    fn calm(calm: Duration, may_end_with: impl Fn(Rotation) -> bool) -> Self {
        let least = calm + Duration::from_secs(START_SECS);
        // Tor wants a day to be divisible by it, and counters of no more than 2^18 seconds: the first slot's reach 48 of these.
        let intervals = (0..=5400).step_by(5).filter(|interval| *interval > least.as_secs() && 86_400 % interval == 0);
        let mut calm = intervals.filter(|interval| {
            let (next, left) = next_rotation(*interval);
            left > least && may_end_with(next)
        });
        Self { voting_interval_secs: calm.next().unwrap_or(3600), first_interval_secs: 60, ..Self::default() }
    }
}

/// What changes twice in 24 voting intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// A new shared random value.
    SharedRandom,
    /// A new time period.
    TimePeriod,
}

/// A running network; all its tors end when it is dropped.
pub struct TorNet {
    dir: PathBuf,
    shape: Shape,
    subnet: Subnet,
    common: Vec<String>,
    murmur: Option<Murmur>,
    tors: Vec<Tor>,
}

impl TorNet {
    /// Starts a network with its files in `dir` and waits until its consensus lists every relay as running HSDir and
    /// every relay is bootstrapped.
    ///
    /// # Errors
    /// If tor is missing, or the network is not up within 2 minutes.
    pub fn start(dir: &Path, shape: Shape) -> Result<Self> {
        let subnet = shape.subnet.map_or_else(Subnet::take, |network| Ok(Subnet::given(network)))?;
        let authorities = make_authorities(dir, &shape, &subnet)?;
        let common = common_lines(&authorities);
        let mut net = Self { dir: dir.to_path_buf(), shape, subnet, common, murmur: None, tors: Vec::new() };
        wait_past_a_vote(net.shape.first_interval_secs);
        for authority in &authorities {
            let lines = [relay_lines(&authority.name, authority.address), net.authority_lines()].concat();
            net.start_tor(&authority.name, &lines)?;
        }
        for number in 0..net.shape.relays {
            let address = net.subnet.host(100 + number);
            let name = format!("relay{number}");
            net.start_tor(&name, &relay_lines(&name, address))?;
        }
        net.write_bandwidths()?;
        net.wait_up()?;
        net.murmur = Some(net.begin_to_murmur()?);
        Ok(net)
    }

    /// What a tor that is to use this network must have in its torrc, one line each.
    pub fn client_torrc_lines(&self) -> Vec<String> {
        self.common.clone()
    }

    /// The tor binary the network runs.
    pub fn binary(&self) -> &Path {
        &self.shape.tor
    }

    /// Where a tor called `name` keeps its files.
    pub fn dir_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An address of the network's own subnet that no relay uses; `number` 0 to 49.
    pub fn spare_address(&self, number: u8) -> Ipv4Addr {
        self.subnet.host(200 + number.min(49))
    }

    /// Every address that relays and authorities of this shape have in the subnet, as its last byte.
    pub fn hosts(shape: &Shape) -> impl Iterator<Item = u8> {
        (0..shape.authorities).map(authority_host).chain((0..shape.relays).map(relay_host))
    }

    /// Relays in the network, authorities included.
    pub fn relays(&self) -> usize {
        self.tors.len()
    }

    /// One of its relays.
    ///
    /// # Errors
    /// If there is none with this fingerprint.
    pub fn relay(&self, wanted: RelayFingerprint) -> Result<&Tor> {
        let is_it = |tor: &&Tor| fingerprint(tor).as_deref() == Some(&*wanted.to_string());
        self.tors.iter().find(is_it).with_context(|| format!("no relay {wanted}"))
    }

    /// What rotates next, and in how long.
    pub fn next_rotation(&self) -> (Rotation, Duration) {
        next_rotation(self.shape.voting_interval_secs)
    }

    fn start_tor(&mut self, name: &str, lines: &[String]) -> Result<()> {
        let torrc = [&self.common, lines].concat();
        self.tors.push(Tor::start(&self.shape.tor, name, &self.dir_of(name), &torrc)?);
        Ok(())
    }

    fn authority_lines(&self) -> Vec<String> {
        let interval = self.shape.voting_interval_secs;
        let mut lines: Vec<String> = [
            "AuthoritativeDirectory 1",
            "V3AuthoritativeDirectory 1",
            "TestingDirAuthVoteHSDir *",
            "TestingDirAuthVoteGuard *",
            "TestingMinExitFlagThreshold 0",
            "AuthDirFastGuarantee 1",
        ]
        .map(str::to_owned)
        .into();
        lines.push(format!("V3BandwidthsFile {}", self.dir.join("bandwidths").display()));
        let first = ("TestingV3AuthInitial", self.shape.first_interval_secs, FIRST_DELAY_SECS);
        for (prefix, interval, delay) in [("V3Auth", interval, 4), first] {
            lines.push(format!("{prefix}VotingInterval {interval}"));
            lines.push(format!("{prefix}VoteDelay {delay}"));
            lines.push(format!("{prefix}DistDelay {delay}"));
        }
        lines
    }

    /// Tells the authorities that all relays are equally fast (authorities themselves stay unmeasured and get little to do).
    /// Else a consensus from the first minute gives nearly all weight to the one relay that has measured itself, and paths
    /// through it twice fail for half a minute.
    fn write_bandwidths(&self) -> Result<()> {
        let mut file = format!("{}\n", since_epoch().as_secs());
        for tor in &self.tors {
            let fingerprint = wait::until("a relay's fingerprint", UP_LIMIT, || {
                Ok(Answer::from_option(fingerprint(tor), || format!("none in {}", tor.dir().display())))
            })?;
            file.push_str(&format!("node_id=${fingerprint} bw={BANDWIDTH}\n"));
        }
        // In one step: an authority reads it whenever it votes.
        fs::write(self.dir.join("bandwidths.new"), file)?;
        Ok(fs::rename(self.dir.join("bandwidths.new"), self.dir.join("bandwidths"))?)
    }

    fn begin_to_murmur(&self) -> Result<Murmur> {
        let name = "murmur";
        let torrc = [&self.common, &["SocksPort 0".to_owned()][..]].concat();
        let tor = Tor::start(&self.shape.tor, name, &self.dir_of(name), &torrc)?;
        let relays: Vec<_> = self.tors.iter().filter_map(fingerprint).collect();
        self.wait_consensus(&mut tor.control()?, "a client")?;
        Murmur::begin(tor, &relays)
    }

    fn wait_up(&self) -> Result<()> {
        let (authorities, relays) = self.tors.split_at(self.shape.authorities.into());
        authorities.iter().try_for_each(|tor| self.wait_consensus(&mut tor.control()?, "an authority"))?;
        for tor in relays {
            // Until now they were told that there is none; RELOAD makes them ask again at once.
            tor.control()?.command(&command::signal("RELOAD"))?;
        }
        relays.iter().try_for_each(|tor| self.wait_consensus(&mut tor.control()?, "a relay"))
    }

    /// Waits until a tor knows every relay as a running HSDir and can build circuits.
    fn wait_consensus(&self, control: &mut Control, who: &str) -> Result<()> {
        wait::until(&format!("a consensus with every relay at {who}"), UP_LIMIT, || {
            let hsdirs = control.get_info_text("ns/all")?.lines().filter(|line| is_running_hsdir(line)).count();
            let circuits = control.get_info_text("status/enough-dir-info")?;
            let enough = (hsdirs == self.relays() && circuits == "1").then_some(());
            let all = self.relays();
            Ok(Answer::from_option(enough, || format!("{hsdirs} of {all} HSDirs, enough-dir-info={circuits}")))
        })
    }
}

/// What rotates next, and in how long, where votes are so far apart.
fn next_rotation(voting_interval_secs: u64) -> (Rotation, Duration) {
    let run = Duration::from_secs(24 * voting_interval_secs);
    let srv = run - Duration::from_secs_f64(since_epoch().as_secs_f64() % run.as_secs_f64());
    let half = run / 2;
    if srv > half { (Rotation::TimePeriod, srv - half) } else { (Rotation::SharedRandom, srv) }
}

/// A relay's, once it has keys.
fn fingerprint(tor: &Tor) -> Option<String> {
    let line = fs::read_to_string(tor.dir().join("data/fingerprint")).unwrap_or_default();
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// Waits, if the next vote is too near for the relays to have registered by then, for the round after it: the first
/// consensus would lack them, and the second comes a whole interval later.
fn wait_past_a_vote(interval_secs: u64) {
    let interval = interval_secs as f64;
    let left = interval - since_epoch().as_secs_f64() % interval;
    if left < (1.0 - EARLY) * interval + 2.0 * FIRST_DELAY_SECS as f64 {
        thread::sleep(Duration::from_secs_f64(left));
    }
}

fn authority_host(number: u8) -> u8 {
    10 + number
}

fn relay_host(number: u8) -> u8 {
    100 + number
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn is_running_hsdir(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next() == Some("s") && words.clone().any(|flag| flag == "HSDir") && words.any(|flag| flag == "Running")
}

/// Makes all authorities' keys, in parallel: each takes a second of RSA.
fn make_authorities(dir: &Path, shape: &Shape, subnet: &Subnet) -> Result<Vec<Authority>> {
    thread::scope(|scope| {
        let making: Vec<_> = (0..shape.authorities)
            .map(|number| {
                let (name, address) = (format!("auth{number}"), subnet.host(authority_host(number)));
                scope.spawn(move || Authority::make(&shape.tor, &name, &dir.join(&name), address))
            })
            .collect();
        making.into_iter().map(|one| one.join().map_err(|_| anyhow!("making keys panicked"))?).collect()
    })
}

/// Lines of every tor in the network, services and clients included.
fn common_lines(authorities: &[Authority]) -> Vec<String> {
    let mut lines = vec!["TestingTorNetwork 1".to_owned()];
    lines.extend(authorities.iter().map(Authority::torrc_line));
    lines.extend(
        [
            "PathsNeededToBuildCircuits 0.67",
            "V3AuthNIntervalsValid 2",
            // Else tor learns a timeout of 50 ms on loopback, and circuits fail at random.
            "LearnCircuitBuildTimeout 0",
            "CircuitBuildTimeout 10",
            "AvoidDiskWrites 1",
            "ShutdownWaitLength 0",
        ]
        .map(str::to_owned),
    );
    lines
}

fn relay_lines(name: &str, address: Ipv4Addr) -> Vec<String> {
    vec![
        "SocksPort 0".into(),
        format!("Nickname {name}"),
        format!("Address {address}"),
        format!("ORPort {address}:{OR_PORT}"),
        format!("DirPort {address}:{DIR_PORT}"),
        "AssumeReachable 1".into(),
        "ExitRelay 0".into(),
        "NumCPUs 1".into(),
        "ContactInfo test network".into(),
    ]
}
