//! Tor's side of the control connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustbalance_core::cluster::exercise::heard;
use rustbalance_core::control::auth::{ProtocolInfo, SafeCookie};
use rustbalance_core::control::event::{self, Circ};
use rustbalance_core::control::quote::{quote, unquote, words};
use rustbalance_core::control::reply::{Reader, Reply, ReplyError};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsId;
use rustbalance_core::time::{Mono, Now, Wall};
use rustbalance_core::tor::{CircuitLine, Tor, TorFacts, Wanted};
use rustbalance_core::{ControlInput, Outbox, Output, TorId};

/// The service of the recorded descriptor that [`dialogue`] begins from.
const ADDRESS: &str = "dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd";
/// The recorded descriptor's time.
const START: Now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(1_795_446_825) };
/// In the place of a text: the one before.
pub const SAME: &[u8] = b"=";
/// The recorded consensus of a time period's start is valid after this.
const SECOND_HALF: Wall = Wall::from_secs(1_795_447_040);
/// The longest line of the PROXY protocol, version 1, with its end.
const CIRCUIT_LINE_MAX: usize = 107;
/// More than a tor that is asked everything at once is told.
const OUTPUTS_MAX: usize = 1000;

/// Replies and events, the same at any cuts, and everything that is read of them.
pub fn reply(bytes: &[u8]) {
    let whole = replies([bytes]);
    let cut = bytes.first().map_or(1, |first| usize::from(first % 13) + 1);
    assert_eq!(whole, replies(bytes.chunks(cut)));
    assert_eq!(unquote(quote(bytes).as_bytes()), Some((bytes.to_vec(), &[][..])));
    let port = ("HiddenServicePort".to_owned(), "80 unix:/b".to_owned());
    let wanted = Wanted { host: ADDRESS.to_owned(), dir: "/a".to_owned(), service: vec![port] };
    let _ = wanted.judge(&whole.0);
    for reply in &whole.0 {
        let _ = (event::parse(reply), reply.value("config"), reply.to_string());
        let info = ProtocolInfo::parse(reply);
        assert!(info.is_none() || reply.is_ok());
        let _ = SafeCookie::new(&[1; 32], [2; 32]).map(|cookie| cookie.authenticate(reply).is_ok());
        for line in &reply.lines {
            let _ = (Circ::parse(&String::from_utf8_lossy(&line.text)), words(&line.text).count());
        }
    }
}

fn replies<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut found) = (Reader::default(), Vec::new());
    for cut in cuts {
        reader.push(cut);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// The first bytes of a connection from tor: what is decided of a part stays so, whatever follows, and is decided in time.
pub fn circuit_line(bytes: &[u8]) {
    let mut decided = CircuitLine::Undecided;
    for end in 0..=bytes.len() {
        let look = CircuitLine::look(bytes.get(..end).unwrap_or_default());
        assert!(decided == CircuitLine::Undecided || decided == look);
        assert!(look != CircuitLine::Undecided || end < CIRCUIT_LINE_MAX);
        decided = look;
    }
    if let CircuitLine::Whole(_, length) = decided {
        assert!(bytes.get(..length).is_some_and(|line| line.ends_with(b"\r\n")));
    }
}

/// Answers a node's commands, in order.
#[derive(Default)]
pub struct FakeTor {
    commands: VecDeque<String>,
    /// By what is asked for the text that was given last.
    given: BTreeMap<String, Vec<u8>>,
}

impl FakeTor {
    /// A command has come.
    pub fn hears(&mut self, command: &[u8]) {
        self.commands.extend(String::from_utf8_lossy(command).lines().next().map(str::to_owned));
    }

    /// The connection is another one.
    pub fn forgets(&mut self) {
        self.commands.clear();
    }

    /// What the next text that is asked for is called.
    pub fn wants(&self) -> Option<&str> {
        self.commands.iter().find_map(|command| text_key(command))
    }

    /// The answers at `at` to what has been asked, up to the next command that asks for a text: that is `text`, empty if there
    /// is none, and [`SAME`] if it is as before.
    pub fn answer(&mut self, at: Wall, text: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        while let Some(command) = self.commands.pop_front() {
            match (text_key(&command), command.as_str()) {
                (None, "GETCONF TestingTorNetwork") => answers.extend(b"250 TestingTorNetwork=1\r\n"),
                (None, command) if command.starts_with("GETINFO") => answers.extend(status(at).into_bytes()),
                (None, _) => answers.extend(b"250 OK\r\n"),
                (Some(_), _) if text.is_empty() => {
                    answers.extend(b"551 Not found in cache\r\n");
                    break;
                }
                (Some(key), _) => {
                    let given = self.given.entry(key.to_owned()).or_default();
                    if text != SAME {
                        *given = text.to_vec();
                    }
                    answers.extend(block(key, given));
                    break;
                }
            }
        }
        answers
    }
}

/// The answer to the one question that asks for several things. Two consensuses were recorded at two times of the day.
fn status(at: Wall) -> String {
    let valid_after = if at < SECOND_HALF { "15:13:20" } else { "15:17:20" };
    format!(
        "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100\r\n\
         250-consensus/valid-after=2026-11-23 {valid_after}\r\n250-process/pid=1\r\n250 OK\r\n"
    )
}

fn text_key(command: &str) -> Option<&str> {
    command.strip_prefix("GETINFO ").filter(|keys| !keys.contains(' '))
}

fn block(key: &str, text: &[u8]) -> Vec<u8> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines: Vec<_> = lines.filter(|line| *line != b".").collect();
    [format!("250+{key}=\r\n").as_bytes(), &lines.join(&b"\r\n"[..]), b"\r\n.\r\n250 OK\r\n"].concat()
}

/// A node's talk with its tor. `bytes` are steps as [`heard`] reads them, whose first byte modulo four says what happens:
/// commands are answered, with the text, tor says the text, it takes time, or the node uploads to the HSDir that the next
/// byte names and fetches from it; without one it has tor show points that it hides.
pub fn dialogue(bytes: &[u8]) {
    let mut dialogue = Dialogue::default();
    for (pause, step) in heard(bytes) {
        dialogue.step(pause, step);
    }
    dialogue.step(Duration::from_secs(600), &[2]);
}

/// A node's side of one control connection, and a tor that answers.
pub struct Dialogue {
    tor: Tor,
    /// The other side.
    pub fake: FakeTor,
    now: Now,
    out: Outbox,
}

impl Default for Dialogue {
    fn default() -> Self {
        let service = ADDRESS.parse::<OnionAddress>().map_or(HsId([0; 32]), |address| address.id());
        let own_client = Arc::new(HsClientDescEncKeypair::from_bytes(&[1; 32]));
        let tor = Tor::new(TorId(0), service, own_client);
        let mut dialogue = Self { tor, fake: FakeTor::default(), now: START, out: Outbox::default() };
        dialogue.tells(ControlInput::Connected);
        dialogue
    }
}

impl Dialogue {
    /// One step of [`dialogue`].
    pub fn step(&mut self, pause: Duration, step: &[u8]) {
        let (code, text) = step.split_first().unwrap_or((&0, &[]));
        self.now = later(self.now, pause);
        match code % 4 {
            0 => {
                let answer = self.fake.answer(self.now.wall, text);
                self.tells(ControlInput::Bytes(&answer));
            }
            1 => self.tells(ControlInput::Bytes(text)),
            2 => self.tor.tick(self.now, &mut self.out),
            _ => match text.first() {
                Some(byte) => {
                    let hsdir = RelayFingerprint([*byte; 20]);
                    self.tor.upload(self.now, hsdir, "hs-descriptor 3\n", &mut self.out);
                    self.tor.fetch(self.now, hsdir, &mut self.out);
                }
                None => self.tor.harvest(self.now, &mut self.out),
            },
        }
        self.drain();
    }

    /// What the node knows of its tor.
    pub fn facts(&self) -> &TorFacts {
        self.tor.facts()
    }

    fn tells(&mut self, input: ControlInput<'_>) {
        let _refused = self.tor.handle(self.now, input, &mut self.out);
        self.drain();
    }

    fn drain(&mut self) {
        let Self { tor, fake, now, out } = self;
        let mut outputs = 0;
        while let Some(output) = out.pop() {
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX, "no end of outputs");
            if let Output::Control(_, command) = output {
                fake.hears(&command);
            } else if let Output::Reconnect(_) = output {
                fake.forgets();
                let _ = tor.handle(*now, ControlInput::Closed, out);
                let _ = tor.handle(*now, ControlInput::Connected, out);
            }
        }
        while tor.poll_event().is_some() {}
    }
}

/// So much later by both clocks.
pub fn later(now: Now, pause: Duration) -> Now {
    let mono = now.mono.plus(pause);
    let secs = mono.since(START.mono).as_secs();
    Now { mono, wall: Wall::from_secs(START.wall.as_secs() + secs) }
}
