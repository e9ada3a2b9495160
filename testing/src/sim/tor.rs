//! A model of one node's tor: it speaks the control protocol to the node and holds introduction points.
//! What it models of C tor: bootstrap, complete and incomplete descriptors, circuits behind the points,
//! `PublishHidServDescriptors`, `+HSPOST`, `HSFETCH`, loss of run-time settings at a restart.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use rustbalance_core::hsdesc::{Content, InnerHeader, IntroPoint, SigningKeys, build};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::{Slot, TimePeriod};
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::time::Wall;

use super::network::{TorNetwork, x25519_base};

/// What a tor does in answer to its node.
#[derive(Debug)]
pub enum Effect {
    /// Bytes to the node.
    Reply(Vec<u8>),
    /// An upload is on its way to this HSDir.
    Upload(RelayFingerprint, String),
    /// A fetch is on its way to this HSDir.
    Fetch(RelayFingerprint),
}

/// One tor.
pub struct TorModel {
    master: HsIdKeypair,
    host: String,
    /// `PublishHidServDescriptors`.
    pub publishes: bool,
    /// The points of its descriptor; each has a circuit.
    pub points: Vec<IntroPoint>,
    /// Names the process, as its pid would.
    pub process: u64,
    /// A new consensus reaches this tor so much later than others, seconds.
    pub lag_secs: u64,
    bootstrapped: bool,
    pending: Vec<u8>,
    /// GETINFO's descriptor with what it was made of: encoding anew at every poll would cost the simulator its speed.
    descriptor: Option<(TimePeriod, Vec<IntroPoint>, String)>,
    revision: u64,
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
            bootstrapped: false,
            pending: Vec::new(),
            descriptor: None,
            revision: 0,
            rng,
        }
    }

    /// Bootstrap ends and `count` introduction points on relays of their own come up.
    pub fn bootstrap(&mut self, network: &TorNetwork, count: usize) -> Vec<u8> {
        self.bootstrapped = true;
        while self.points.len() < count {
            let point = self.new_point(network);
            if self.points.iter().all(|other| other.relay() != point.relay()) {
                self.points.push(point);
            }
        }
        self.revision += 1;
        let mut events = "650 STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"\r\n".to_owned();
        for circuit in self.circuits().lines() {
            events.push_str(&format!("650 CIRC {circuit}\r\n"));
        }
        events.into_bytes()
    }

    fn new_point(&mut self, network: &TorNetwork) -> IntroPoint {
        let index = self.rng.next_u64() as usize % network.relays.len();
        let relay = network.relays.get(index).expect("index is below the length");
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

    /// The circuits behind its points close.
    pub fn closing(&self) -> Vec<u8> {
        self.circuits()
            .lines()
            .map(|line| format!("650 CIRC {}\r\n", line.replace("BUILT", "CLOSED")))
            .collect::<String>()
            .into()
    }

    /// Bytes from the node at unix time `wall`.
    pub fn handle(&mut self, bytes: &[u8], network: &mut TorNetwork, wall: Wall) -> Vec<Effect> {
        self.pending.extend_from_slice(bytes);
        let mut effects = Vec::new();
        while let Some(command) = self.next_command() {
            self.answer(&command, network, wall, &mut effects);
        }
        effects
    }

    /// The next whole command: one line, or for `+` commands everything up to the lone dot.
    fn next_command(&mut self) -> Option<String> {
        let end: &[u8] = if self.pending.starts_with(b"+") { b"\r\n.\r\n" } else { b"\r\n" };
        let at = self.pending.windows(end.len()).position(|window| window == end)?;
        let rest = self.pending.split_off(at + end.len());
        let mut command = core::mem::replace(&mut self.pending, rest);
        command.truncate(at);
        Some(String::from_utf8(command).expect("our commands are ASCII"))
    }

    fn answer(&mut self, command: &str, network: &mut TorNetwork, wall: Wall, effects: &mut Vec<Effect>) {
        let (word, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let before = effects.len();
        let reply = match word {
            "GETINFO" => {
                let lines: Vec<_> = arguments.split(' ').map(|key| self.info(key, network, wall)).collect();
                // One key without an answer spoils the whole reply, as in tor.
                match lines.iter().find(|line| line.starts_with("55")) {
                    Some(refusal) => refusal.clone(),
                    None => lines.concat() + "250 OK\r\n",
                }
            }
            "GETCONF" => format!("250 {arguments}=0\r\n"),
            "SETCONF" => {
                if let Some(value) = arguments.strip_prefix("PublishHidServDescriptors=") {
                    self.publishes = value.trim_matches('"') == "1";
                }
                "250 OK\r\n".to_owned()
            }
            "+HSPOST" => {
                let (line, body) = arguments.split_once("\r\n").unwrap_or((arguments, ""));
                let server = line.split(' ').find_map(|word| word.strip_prefix("SERVER="));
                let relay = server.and_then(RelayFingerprint::from_hex).expect("every upload names its HSDir");
                effects.push(Effect::Upload(relay, unstuff(body)));
                "250 OK\r\n".to_owned()
            }
            "HSFETCH" => {
                let server = arguments.split(' ').find_map(|word| word.strip_prefix("SERVER="));
                effects.push(Effect::Fetch(server.and_then(RelayFingerprint::from_hex).expect("names its HSDir")));
                "250 OK\r\n".to_owned()
            }
            "SETEVENTS" => "250 OK\r\n".to_owned(),
            other => format!("510 Unrecognized command \"{other}\"\r\n"),
        };
        effects.insert(before, Effect::Reply(reply.into_bytes()));
    }

    fn info(&mut self, key: &str, network: &mut TorNetwork, wall: Wall) -> String {
        let line = |value: &str| format!("250-{key}={value}\r\n");
        let block = |value: &str| format!("250+{key}=\r\n{}.\r\n", value.replace('\n', "\r\n"));
        let secs = wall.as_secs() - self.lag_secs;
        match key {
            "status/bootstrap-phase" if self.bootstrapped => {
                line("NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"")
            }
            "status/bootstrap-phase" => line("NOTICE BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY=\"Connecting\""),
            "process/pid" => line(&self.process.to_string()),
            _ if !self.bootstrapped => format!("551 Not yet: {key}\r\n"),
            "consensus/valid-after" => {
                let text = network.consensus(secs);
                line(text.lines().find_map(|line| line.strip_prefix("valid-after ")).unwrap_or_default())
            }
            "dir/status-vote/current/consensus-microdesc" => block(&network.consensus(secs)),
            "md/all" => block(&network.microdescs()),
            "circuit-status" if self.points.is_empty() => line(""),
            "circuit-status" => block(&self.circuits()),
            _ if key == format!("hs/service/desc/id/{}", self.host) => match self.points.is_empty() {
                true => "551 Not available\r\n".to_owned(),
                false => block(&self.descriptor(network, wall)),
            },
            _ => format!("552 Unrecognized key \"{key}\"\r\n"),
        }
    }

    fn circuits(&self) -> String {
        let path = |point: &IntroPoint| point.relay().expect("our points name their relay");
        let line = |(number, point): (usize, &IntroPoint)| {
            format!(
                "{} BUILT ${}~relay PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={}\n",
                number + 1,
                path(point),
                self.host
            )
        };
        self.points.iter().enumerate().map(line).collect()
    }

    /// Tor's own descriptor: an instance answers with the one of its first slot.
    fn descriptor(&mut self, network: &mut TorNetwork, wall: Wall) -> String {
        let period = network.ring(wall.as_secs() - self.lag_secs).slot_period(Slot::First);
        if let Some((of, points, text)) = &self.descriptor
            && *of == period
            && *points == self.points
        {
            return text.clone();
        }
        let blind = self.master.blind(period);
        let subcredential = self.master.public().subcredential(blind.public());
        let header = InnerHeader(vec!["create2-formats 2".to_owned(), "flow-control 1-2 31".to_owned()]);
        let content = Content {
            blind: &blind,
            subcredential,
            revision: RevisionCounter(self.revision),
            header: &header,
            points: &self.points,
            clients: &[],
            now: wall,
        };
        let mut keys = SigningKeys::new(&blind, &mut self.rng, wall);
        let text = build(&mut keys, &content, &mut self.rng).expect("our points are good");
        self.descriptor = Some((period, self.points.clone(), text.clone()));
        text
    }

    /// `HS_DESC` after an upload.
    pub fn upload_event(&self, relay: RelayFingerprint, accepted: bool) -> Vec<u8> {
        let host = &self.host;
        match accepted {
            true => format!("650 HS_DESC UPLOADED {host} UNKNOWN ${relay}~relay\r\n"),
            false => format!("650 HS_DESC FAILED {host} NO_AUTH ${relay}~relay x REASON=UPLOAD_REJECTED\r\n"),
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

/// Undoes dot-stuffing and CRLF.
fn unstuff(body: &str) -> String {
    let mut text: String =
        body.split("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}
