//! A tor that answers from recorded files, and the dialogue with it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::hsdesc::{Content, InnerHeader, IntroPoint, PowParams, SigningKeys, build};
use crate::id::{RelayFingerprint, TorId};
use crate::input::ControlInput;
use crate::onion::address::OnionAddress;
use crate::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};
use crate::onion::key::HsIdKeypair;
use crate::onion::period::TimePeriod;
use crate::onion::revision::RevisionCounter;
use crate::output::{Event, Outbox, Output};
use crate::rng::Seed;
use crate::time::{Mono, Now, Wall};
use crate::tor::{Attachment, FilesSerial, Presence, Tor, TorError, TorEvent, TorState};

/// `plain-3ip` of the recorded descriptors; the consensus `srv-to-tp` is of the same moment.
pub const ADDRESS: &str = "dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd";
pub const CAPTURED_AT: u64 = 1_795_446_825;
pub const VALID_AFTER: &str = "2026-11-23 15:13:20";
pub const VALID_AFTER_SECS: u64 = 1_795_446_800;
/// When the consensus `tp-to-srv` begins.
pub const HIDING_SECS: u64 = 1_795_447_040;

/// The service's own client: `alice` of the recorded `client-auth-2`.
pub const OWN_CLIENT: [u8; 32] = [
    0x28, 0x62, 0xd6, 0xcd, 0x04, 0x67, 0x3d, 0x8c, 0x60, 0xfd, 0xaa, 0x06, 0x13, 0xbb, 0x31, 0x52, 0x88, 0x84, 0x1e,
    0xc2, 0x02, 0x1d, 0x4a, 0x0a, 0x73, 0x72, 0x73, 0xfb, 0xa1, 0x56, 0xe5, 0x41,
];

pub fn file(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/ctor").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the fake tor would answer now.
pub struct World {
    pub progress: u8,
    pub process: u32,
    pub valid_after: String,
    pub consensus: Option<Vec<u8>>,
    pub microdescs: Vec<u8>,
    pub descriptor: Option<Vec<u8>>,
    /// Established introduction circuits: id and last hop.
    pub circuits: Vec<(u32, RelayFingerprint)>,
    pub setconf: String,
}

impl World {
    /// Serving, with the relays of `points` as last hops.
    pub fn serving() -> Self {
        Self {
            progress: 100,
            process: 1,
            valid_after: VALID_AFTER.to_owned(),
            consensus: Some(file("ring/srv-to-tp/consensus-microdesc.txt")),
            microdescs: file("ring/srv-to-tp/microdescs.txt"),
            descriptor: Some(file("cases/plain-3ip/descriptor.txt")),
            circuits: relays_of_points().into_iter().zip(6..).map(|(relay, id)| (id, relay)).collect(),
            setconf: "250 OK".to_owned(),
        }
    }

    /// After the start of a time period: the descriptor that it shows is of the period before. It has circuits to six relays
    /// from this one on.
    pub fn hiding(first: u8) -> Self {
        Self {
            consensus: Some(file("ring/tp-to-srv/consensus-microdesc.txt")),
            microdescs: file("ring/tp-to-srv/microdescs.txt"),
            valid_after: "2026-11-23 15:17:20".to_owned(),
            descriptor: None,
            circuits: (first..first + 6).map(|n| (n.into(), relay(n))).collect(),
            ..Self::serving()
        }
    }

    /// Just started.
    pub fn starting() -> Self {
        let valid_after = String::new();
        Self {
            progress: 0,
            valid_after,
            consensus: None,
            microdescs: vec![],
            descriptor: None,
            circuits: vec![],
            ..Self::serving()
        }
    }

    /// The answer to the first line of a command.
    pub fn answer(&self, command: &str) -> Vec<u8> {
        let (keyword, argument) = command.split_once(' ').unwrap_or((command, ""));
        match (keyword, argument) {
            ("SETEVENTS" | "+HSPOST" | "HSFETCH" | "CLOSECIRCUIT", _) => b"250 OK\r\n".to_vec(),
            ("GETCONF", "TestingTorNetwork") => b"250 TestingTorNetwork=1\r\n".to_vec(),
            ("SETCONF", _) => format!("{}\r\n", self.setconf).into_bytes(),
            ("GETINFO", "status/bootstrap-phase consensus/valid-after process/pid") => format!(
                "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS={} TAG=x SUMMARY=\"a b\"\r\n\
                 250-consensus/valid-after={}\r\n250-process/pid={}\r\n250 OK\r\n",
                self.progress, self.valid_after, self.process
            )
            .into_bytes(),
            ("GETINFO", "circuit-status") => {
                let lines = self.circuits.iter().map(|(id, relay)| circuit_line(*id, *relay, "BUILT") + "\n");
                block(argument, lines.collect::<String>().as_bytes())
            }
            ("GETINFO", "md/all") => block(argument, &self.microdescs),
            ("GETINFO", key) => {
                let text = if key.starts_with("hs/") { &self.descriptor } else { &self.consensus };
                text.as_ref().map_or_else(|| b"551 Not found in cache\r\n".to_vec(), |text| block(key, text))
            }
            _ => panic!("unexpected command {command}"),
        }
    }
}

/// The relays of the recorded descriptor's points, in order of their link specifiers.
pub fn relays_of_points() -> Vec<RelayFingerprint> {
    let expected: serde_json::Value = serde_json::from_slice(&file("cases/plain-3ip/expected.json")).unwrap();
    let mut points = expected["intro_points"].as_array().unwrap().clone();
    points.sort_by_key(|point| point["link_specifiers_raw"].as_str().unwrap().to_owned());
    let specifiers = points.iter().flat_map(|point| point["link_specifiers"].as_array().unwrap());
    let identities = specifiers.filter(|specifier| specifier["type"] == 2);
    identities.map(|identity| RelayFingerprint::from_hex(identity["raw"].as_str().unwrap()).unwrap()).collect()
}

/// The service's key.
pub fn master() -> HsIdKeypair {
    HsIdKeypair::from_tor_file(&file("cases/plain-3ip/hs_ed25519_secret_key")).unwrap()
}

/// A descriptor that has points on these relays; for everybody, if there are no `clients`.
pub fn descriptor(
    period: TimePeriod,
    revision: u64,
    pow: Option<PowParams>,
    relays: &[u8],
    clients: &[HsClientDescEncKey],
) -> String {
    let (key, now) = (master(), Wall::from_secs(HIDING_SECS));
    let blind = key.blind(period);
    let mut rng = Seed::new([7; 32]).fork("descriptor");
    let content = Content {
        blind: &blind,
        subcredential: key.public().subcredential(blind.public()),
        revision: RevisionCounter(revision),
        header: &InnerHeader(vec!["create2-formats 2".to_owned()]),
        pow: pow.as_ref(),
        points: &relays.iter().map(|on| point(*on)).collect::<Vec<_>>(),
        clients,
        now,
    };
    build(&mut SigningKeys::new(&blind, &mut rng, now), &content, &mut rng).unwrap()
}

fn point(on: u8) -> IntroPoint {
    let mut base_point = [0; 32];
    base_point[0] = 9;
    let auth_key = ed25519_dalek::SigningKey::from_bytes(&[on; 32]).verifying_key().to_bytes();
    let link_specifiers = [&[1, 2, 20][..], &relay(on).0].concat();
    IntroPoint { link_specifiers, onion_key: base_point, auth_key, enc_key: base_point }
}

/// A circuit as tor writes it.
pub fn circuit_line(id: u32, last_hop: RelayFingerprint, status: &str) -> String {
    let state = "PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED";
    format!(
        "{id} {status} ${}~guard,${last_hop}~relay BUILD_FLAGS=IS_INTERNAL {state} REND_QUERY={ADDRESS}",
        relay(0xAA)
    )
}

fn block(key: &str, text: &[u8]) -> Vec<u8> {
    let mut bytes = format!("250+{key}=\r\n").into_bytes();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        bytes.extend(line.starts_with(b".").then_some(b'.'));
        bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        bytes.extend(b"\r\n");
    }
    bytes.extend(b".\r\n250 OK\r\n");
    bytes
}

pub fn relay(byte: u8) -> RelayFingerprint {
    RelayFingerprint([byte; 20])
}

/// One side is [`Tor`], the other a [`World`] that answers when told to.
pub struct Dialogue {
    pub tor: Tor,
    pub world: World,
    pub now: Now,
    out: Outbox,
    /// Sent, not yet answered: the first line of each.
    pub open: VecDeque<String>,
    pub reconnects: usize,
    pub warnings: Vec<String>,
    pub states: Vec<TorState>,
}

impl Dialogue {
    /// Not connected.
    pub fn new(world: World) -> Self {
        Self::of(ADDRESS, world)
    }

    /// The same for another service.
    pub fn of(address: &str, world: World) -> Self {
        let address: OnionAddress = address.parse().unwrap();
        Self {
            tor: Tor::new(TorId(0), address.id(), Arc::new(HsClientDescEncKeypair::from_bytes(&OWN_CLIENT))),
            world,
            now: Now { mono: Mono::from_ms(1_000_000), wall: Wall::from_secs(CAPTURED_AT) },
            out: Outbox::default(),
            open: VecDeque::new(),
            reconnects: 0,
            warnings: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Connected, every question answered.
    pub fn connected(world: World) -> Self {
        let mut dialogue = Self::new(world);
        dialogue.connect();
        dialogue.answer_all();
        dialogue
    }

    pub fn connect(&mut self) {
        self.open.clear();
        self.tor.handle(self.now, ControlInput::Connected, &mut self.out).unwrap();
        self.drain();
    }

    /// Connected to a tor that somebody else runs.
    pub fn attach(&mut self, attachment: &Attachment) {
        self.open.clear();
        self.tor.handle(self.now, ControlInput::Attached(attachment), &mut self.out).unwrap();
        self.drain();
    }

    pub fn unfit(&mut self, reasons: &[String]) {
        self.tor.handle(self.now, ControlInput::Unfit(reasons), &mut self.out).unwrap();
        self.drain();
    }

    pub fn renew(&mut self, what: &str) {
        self.tor.renew(what, &mut self.out);
        self.drain();
    }

    pub fn close(&mut self) {
        self.open.clear();
        self.tor.handle(self.now, ControlInput::Closed, &mut self.out).unwrap();
        self.drain();
    }

    /// The process, whose connection is closed, has ended.
    pub fn end(&mut self) {
        self.tor.handle(self.now, ControlInput::Ended { again_in: Duration::ZERO }, &mut self.out).unwrap();
        self.drain();
    }

    /// Tor says this.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), TorError> {
        let result = self.tor.handle(self.now, ControlInput::Bytes(bytes), &mut self.out);
        self.drain();
        result
    }

    /// Tor fires `HS_DESC` of our service.
    pub fn hs_desc(&mut self, action: &str, hsdir: RelayFingerprint, rest: &str) {
        self.say(format!("650 HS_DESC {action} {ADDRESS} UNKNOWN ${hsdir}~relay {rest}\r\n").as_bytes()).unwrap();
    }

    /// Tor fires `STREAM` of a stream to the directory of `relay`.
    pub fn stream(&mut self, status: &str, id: u64, relay: RelayFingerprint, rest: &str) {
        self.say(format!("650 STREAM {id} {status} 0 10.0.0.9.${relay}.exit:9001{rest}\r\n").as_bytes()).unwrap();
    }

    /// The world answers the oldest open command.
    pub fn answer(&mut self) {
        let command = self.open.pop_front().expect("an open command");
        self.say(&self.world.answer(&command)).unwrap();
    }

    /// The world answers everything, until no question is open.
    pub fn answer_all(&mut self) {
        while !self.open.is_empty() {
            self.answer();
        }
    }

    /// Time passes in steps as [`Tor::next_timeout`] asks for, the world answering.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        while let Some((next, _)) = self.tor.next_timeout().filter(|(next, _)| *next <= end) {
            self.pass(next.since(self.now.mono));
            self.answer_all();
        }
        self.pass(end.since(self.now.mono));
        self.answer_all();
    }

    /// Time passes at once, then a tick.
    pub fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.plus(time);
        let wall = self.now.wall.as_ms() + u64::try_from(time.as_millis()).unwrap();
        self.now.wall = Wall::from_ms(wall);
        self.tor.tick(self.now, &mut self.out);
        self.drain();
    }

    /// Time passes in steps as asked for, the world silent.
    pub fn run_silent(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        while let Some((next, _)) = self.tor.next_timeout().filter(|(next, _)| *next <= end) {
            self.pass(next.since(self.now.mono));
        }
        self.pass(end.since(self.now.mono));
    }

    pub fn upload(&mut self, hsdir: RelayFingerprint) {
        self.tor.upload(self.now, hsdir, "hs-descriptor 3\n", &mut self.out);
        self.drain();
    }

    pub fn fetch(&mut self, hsdir: RelayFingerprint) {
        self.tor.fetch(self.now, hsdir, &mut self.out);
        self.drain();
    }

    pub fn harvest(&mut self) {
        self.tor.harvest(self.now, &mut self.out);
        self.drain();
    }

    pub fn stop_harvest(&mut self) {
        self.tor.stop_harvest(self.now.mono, &mut self.out);
        self.drain();
    }

    pub fn want_native(&mut self, on: bool) {
        self.tor.want_native(on, &mut self.out);
        self.drain();
    }

    pub fn set_presence(&mut self, presence: Presence) {
        self.tor.set_presence(self.now, presence, &mut self.out);
        self.drain();
    }

    pub fn files_written(&mut self, files: FilesSerial) {
        self.tor.files_written(files, &mut self.out);
        self.drain();
    }

    /// The events since the last call.
    pub fn events(&mut self) -> Vec<TorEvent> {
        std::iter::from_fn(|| self.tor.poll_event()).collect()
    }

    /// Open commands that begin with `prefix`.
    pub fn open_with(&self, prefix: &str) -> usize {
        self.open.iter().filter(|command| command.starts_with(prefix)).count()
    }

    fn drain(&mut self) {
        while let Some(output) = self.out.pop() {
            if let Output::Control(TorId(0), bytes) = &output {
                let text = core::str::from_utf8(bytes).unwrap();
                let (command, _) = text.split_once("\r\n").unwrap();
                self.open.push_back(command.to_owned());
            } else if let Output::Reconnect(TorId(0)) = output {
                self.open.clear();
                self.reconnects += 1;
            } else if let Output::Event(Event::Warning(words)) = output {
                self.warnings.push(words);
            } else if let Output::Event(Event::Tor(TorId(0), state)) = output {
                self.states.push(state);
            } else {
                panic!("{output:?}");
            }
        }
    }
}
