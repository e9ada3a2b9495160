//! A model of one node's tor: it speaks the control protocol to the node and holds introduction points.
//! What it models of C tor, as found by experiment: bootstrap, points that come one by one, a descriptor that follows their
//! circuits a second later, `CLOSECIRCUIT` and how it opens closed circuits again, `PublishHidServDescriptors`, `+HSPOST`,
//! `HSFETCH`, loss of run-time settings at a restart.

mod commands;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use rustbalance_core::hsdesc::{Content, InnerHeader, IntroPoint, SigningKeys, build};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::HsClientDescEncKey;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::{Slot, TimePeriod};
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::time::Wall;

pub use self::commands::Effect;
use super::fault::UploadFault;
use super::network::{TorNetwork, x25519_base};

/// A closed circuit is opened again to the same point so often: `MAX_INTRO_POINT_CIRCUIT_RETRIES`.
const REOPENED_MAX: u8 = 3;
/// Circuits opened in a period: of 3 points twice 3 + 2 and three retries each (`get_max_intro_circ_per_period`).
const LAUNCHES_MAX: u64 = 28;
/// `INTRO_CIRC_RETRY_PERIOD`, milliseconds.
const LAUNCH_PERIOD_MS: u64 = 300_000;

/// The control connection of a tor, whichever process of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    /// Names the connection; what was under way on an older one is lost.
    pub(super) connection: u64,
    pub(super) is_up: bool,
    /// When it came up last, milliseconds of true time.
    pub(super) up_at: u64,
    /// Commands that a tor standing still has not read yet, and after which all others come.
    pub(super) unread: usize,
}

/// One tor.
pub struct TorModel {
    master: HsIdKeypair,
    host: String,
    /// `PublishHidServDescriptors`.
    pub publishes: bool,
    /// Its introduction points that have a circuit.
    pub points: Vec<IntroPoint>,
    /// Names the process, as its pid would.
    pub process: u64,
    /// A new consensus reaches this tor so much later than others, seconds.
    pub lag_secs: u64,
    /// Its control connection.
    pub(super) control: Control,
    /// What becomes of uploads, and until when, milliseconds of true time.
    pub(super) uploads: Option<(UploadFault, u64)>,
    bootstrapped: bool,
    /// The points of its descriptor, which follows the circuits.
    listed: Vec<IntroPoint>,
    circuits: Vec<(u64, RelayFingerprint)>,
    next_circuit: u64,
    /// Open streams of uploads, and where they lead.
    streams: BTreeMap<u64, RelayFingerprint>,
    next_stream: u64,
    /// How often circuits behind points were opened again, by key.
    reopened: BTreeMap<[u8; 32], u8>,
    /// Circuits opened in a period of [`LAUNCH_PERIOD_MS`], and when it began, milliseconds of true time.
    launches: (u64, u64),
    pending: Vec<u8>,
    /// The reply to GETINFO of the descriptor and its period: encoding anew at every poll would cost the simulator
    /// its speed.
    descriptor: Option<(TimePeriod, Arc<[u8]>)>,
    revision: u64,
    /// The last upload as it came, and the descriptor in it.
    posted: Option<(String, Arc<str>)>,
    /// Who may connect, by the files as it last read them; nobody named means everybody.
    clients: Vec<HsClientDescEncKey>,
    rng: ChaCha20Rng,
}

impl TorModel {
    /// A tor that has just started: not bootstrapped, no points, publishing off as our torrc says.
    pub fn new(key_file: &[u8], process: u64, rng: ChaCha20Rng) -> Self {
        let master = HsIdKeypair::from_tor_file(key_file).expect("the simulator's own key");
        let host = OnionAddress::new(master.public()).host();
        Self {
            master,
            host,
            publishes: false,
            points: Vec::new(),
            process,
            lag_secs: 0,
            control: Control::default(),
            uploads: None,
            bootstrapped: false,
            listed: Vec::new(),
            circuits: Vec::new(),
            next_circuit: 1,
            streams: BTreeMap::new(),
            next_stream: 1,
            reopened: BTreeMap::new(),
            launches: (0, 0),
            pending: Vec::new(),
            descriptor: None,
            revision: 0,
            posted: None,
            clients: Vec::new(),
            rng,
        }
    }

    /// Bootstrap ends; returns the event.
    pub fn bootstrap(&mut self) -> Vec<u8> {
        self.bootstrapped = true;
        self.revision = 1;
        self.descriptor = None;
        b"650 STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"\r\n".to_vec()
    }

    /// An introduction point more, on a relay that has none; returns the event.
    pub fn add_point(&mut self, network: &TorNetwork, secs: u64) -> Vec<u8> {
        let point = loop {
            let point = self.new_point(network, secs);
            if self.points.iter().all(|other| other.relay() != point.relay()) {
                break point;
            }
        };
        self.reopen_point(point)
    }

    /// The circuit behind a point closes; returns the point's key and the event.
    pub(super) fn close_point(&mut self, point: usize) -> ([u8; 32], Vec<u8>) {
        let (key, circuit) = (self.points.remove(point).auth_key, self.circuits.remove(point));
        (key, format!("650 CIRC {}\r\n", self.circuit(circuit, "CLOSED")).into())
    }

    /// So many milliseconds from `now` another circuit may be opened; it counts as opened.
    pub(super) fn launch(&mut self, now: u64) -> u64 {
        if now >= self.launches.0 + LAUNCH_PERIOD_MS {
            self.launches = (now, 0);
        }
        self.launches.1 += 1;
        let periods = (self.launches.1 - 1) / LAUNCHES_MAX;
        (self.launches.0 + periods * LAUNCH_PERIOD_MS).saturating_sub(now)
    }

    /// Whether a point whose circuit its controller closed is given another one, rather than given up.
    pub(super) fn reopens(&mut self, key: [u8; 32]) -> bool {
        let reopened = self.reopened.entry(key).or_default();
        *reopened += 1;
        *reopened <= REOPENED_MAX
    }

    /// A circuit behind `point` again; returns the event.
    pub(super) fn reopen_point(&mut self, point: IntroPoint) -> Vec<u8> {
        let circuit = (self.next_circuit, point.relay().expect("our points name their relay"));
        self.next_circuit += 1;
        self.points.push(point);
        self.circuits.push(circuit);
        format!("650 CIRC {}\r\n", self.circuit(circuit, "BUILT")).into()
    }

    /// The descriptor catches up with the circuits; whether that changes it.
    pub fn relist(&mut self) -> bool {
        let changes = self.listed != self.points;
        if changes {
            self.listed = self.points.clone();
            self.revision += 1;
            self.descriptor = None;
        }
        changes
    }

    /// A stream for an upload to `relay`; returns its number and the event.
    pub(super) fn open_stream(&mut self, relay: RelayFingerprint) -> (u64, Vec<u8>) {
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(stream, relay);
        (stream, format!("650 STREAM {stream} NEW 0 {} PURPOSE=DIR_UPLOAD\r\n", directory(relay)).into())
    }

    /// Streams of uploads that are open.
    pub(super) fn streams(&self) -> Vec<u64> {
        self.streams.keys().copied().collect()
    }

    /// Where a stream leads that is open.
    pub(super) fn stream_leads_to(&self, stream: u64) -> Option<RelayFingerprint> {
        self.streams.get(&stream).copied()
    }

    /// A stream that is open ends; returns the event.
    pub(super) fn close_stream(&mut self, stream: u64) -> Vec<u8> {
        let relay = self.streams.remove(&stream).expect("an open stream");
        format!("650 STREAM {stream} CLOSED 0 {} REASON=DONE\r\n", directory(relay)).into()
    }

    /// Sets `PublishHidServDescriptors`; returns the event, if that is a change.
    pub(super) fn set_publishing(&mut self, on: bool) -> Option<Vec<u8>> {
        let is_change = core::mem::replace(&mut self.publishes, on) != on;
        let event = format!("650-CONF_CHANGED\r\n650-PublishHidServDescriptors={}\r\n650 OK\r\n", u8::from(on));
        is_change.then(|| event.into_bytes())
    }

    /// Reads who may connect, of which each line names a file and its content.
    pub(super) fn read_files(&mut self, files: &[u8]) {
        let keys = str::from_utf8(files).into_iter().flat_map(str::lines).filter_map(|line| line.split_once(' '));
        let clients: Vec<_> = keys.filter_map(|(_, key)| key.parse().ok()).collect();
        if self.clients != clients {
            self.clients = clients;
            self.revision += u64::from(self.revision > 0);
            self.descriptor = None;
        }
    }

    /// Whether it can have introduction points.
    pub(super) fn is_bootstrapped(&self) -> bool {
        self.bootstrapped
    }

    fn new_point(&mut self, network: &TorNetwork, secs: u64) -> IntroPoint {
        let relay = loop {
            let relay = &network.relays[self.rng.next_u64() as usize % network.relays.len()];
            if relay.is_there(TorNetwork::valid_after(secs)) {
                break relay;
            }
        };
        let mut auth = [0; 32];
        self.rng.fill_bytes(&mut auth);
        let mut enc = [0; 32];
        self.rng.fill_bytes(&mut enc);
        let mut link_specifiers = vec![3, 0, 6, 10, 0, 0, 1, 0x23, 0x29, 2, 20];
        link_specifiers.extend(relay.fingerprint.0);
        link_specifiers.extend([3, 32]);
        link_specifiers.extend(relay.ed25519);
        IntroPoint {
            link_specifiers,
            onion_key: relay.ntor,
            auth_key: ed25519_dalek::SigningKey::from_bytes(&auth).verifying_key().to_bytes(),
            enc_key: x25519_base(enc).to_bytes(),
        }
    }

    /// A controller connects: what the last one left unfinished is gone.
    pub fn connected(&mut self) {
        self.pending.clear();
    }

    fn circuit(&self, (number, relay): (u64, RelayFingerprint), status: &str) -> String {
        let host = &self.host;
        format!("{number} {status} ${relay}~relay PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={host}")
    }

    /// Tor's own descriptor: 551 before it has one, then without points at revision 0, then with them. An instance
    /// answers with the one of its first slot.
    fn descriptor(&mut self, network: &mut TorNetwork, wall: Wall) -> Arc<[u8]> {
        let period = network.ring(wall.as_secs() - self.lag_secs).slot_period(Slot::First);
        if let Some((of, reply)) = &self.descriptor
            && *of == period
        {
            return reply.clone();
        }
        let text = match (self.revision, self.listed.is_empty()) {
            (0, _) => return b"551 Not available\r\n".as_slice().into(),
            (_, true) => "hs-descriptor 3\ndescriptor-lifetime 180\nrevision-counter 0\n".to_owned(),
            (_, false) => self.encode(period, wall),
        };
        let (host, body) = (&self.host, text.replace('\n', "\r\n"));
        let reply: Arc<[u8]> = format!("250+hs/service/desc/id/{host}=\r\n{body}.\r\n250 OK\r\n").as_bytes().into();
        self.descriptor = Some((period, reply.clone()));
        reply
    }

    fn encode(&mut self, period: TimePeriod, wall: Wall) -> String {
        let blind = self.master.blind(period);
        let subcredential = self.master.public().subcredential(blind.public());
        let header = InnerHeader(vec!["create2-formats 2".to_owned(), "flow-control 1-2 31".to_owned()]);
        let content = Content {
            blind: &blind,
            subcredential,
            revision: RevisionCounter(self.revision),
            header: &header,
            pow: None,
            points: &self.listed,
            clients: &self.clients,
            now: wall,
        };
        let mut keys = SigningKeys::new(&blind, &mut self.rng, wall);
        build(&mut keys, &content, &mut self.rng).expect("our points are good")
    }

    /// `HS_DESC` after an upload; `reason` if it failed.
    pub fn upload_event(&self, relay: RelayFingerprint, reason: Option<&str>) -> Vec<u8> {
        let host = &self.host;
        match reason {
            None => format!("650 HS_DESC UPLOADED {host} UNKNOWN ${relay}~relay\r\n"),
            Some(reason) => format!("650 HS_DESC FAILED {host} NO_AUTH ${relay}~relay x REASON={reason}\r\n"),
        }
        .into_bytes()
    }

    /// `HS_DESC` and `HS_DESC_CONTENT` after a fetch.
    pub fn fetch_events(&self, relay: RelayFingerprint, text: Option<&str>) -> Vec<u8> {
        let host = &self.host;
        let (action, reason) = if text.is_some() { ("RECEIVED", "") } else { ("FAILED", " REASON=NOT_FOUND") };
        let body = text.unwrap_or("\n").replace('\n', "\r\n");
        format!(
            "650 HS_DESC {action} {host} NO_AUTH ${relay}~relay x{reason}\r\n\
             650+HS_DESC_CONTENT {host} x ${relay}~relay\r\n{body}.\r\n650 OK\r\n"
        )
        .into_bytes()
    }
}

/// How a stream names a relay's directory.
fn directory(relay: RelayFingerprint) -> String {
    format!("10.0.0.1.${relay}.exit:9001")
}
