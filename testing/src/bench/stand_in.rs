//! What real nodes take for their tors: the simulator's [`TorModel`] behind a control socket, and a script in the place of
//! the program.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::consensus::{HOUR_SECS, Network};
use crate::sim::network::TorNetwork;
use crate::sim::tor::{Effect, TorModel};

const COOKIE: [u8; 32] = [0xC0; 32];
/// Always the same: nobody listens who could use it again.
const SERVER_NONCE: [u8; 32] = [0x5E; 32];

/// The network that all stand-ins share.
pub struct Surroundings {
    /// Of this one and later ones.
    hours: VecDeque<Network>,
    network: TorNetwork,
    /// What each HSDir got last.
    stored: BTreeMap<RelayFingerprint, Arc<str>>,
    /// The newest consensus that tors have is so many seconds older than the one in force.
    lag_secs: u64,
}

impl Surroundings {
    /// Tors have the first of these networks of successive hours. The last but one is of this hour, the last of the next,
    /// should this one end meanwhile.
    pub fn new(hours: impl IntoIterator<Item = Network>) -> Self {
        let mut new = Self {
            hours: hours.into_iter().collect(),
            network: TorNetwork::default(),
            stored: BTreeMap::new(),
            lag_secs: 0,
        };
        new.take_hour();
        new
    }

    /// Tors have the network of the hour after, unless that is still to come.
    pub fn move_on(&mut self) {
        if self.hours.len() > 2 {
            self.hours.pop_front();
            self.take_hour();
        }
    }

    fn take_hour(&mut self) {
        let consensuses = self.hours.iter().take(2).map(|network| &*network.consensus);
        let microdescs = self.hours.front().map_or("", |network| &network.microdescs);
        self.network = TorNetwork::of(consensuses, microdescs);
        self.lag_secs = (self.hours.len() as u64).saturating_sub(2) * HOUR_SECS;
    }
}

/// The tor of one node.
pub struct StandIn {
    surroundings: Arc<Mutex<Surroundings>>,
    model: Mutex<TorModel>,
    /// How often the node was told all microdescriptors.
    microdescs_told: Mutex<usize>,
}

impl StandIn {
    /// One that is bootstrapped, for the node with this master key in `dir`/node, which it has `points` introduction points
    /// for. Its program is `dir`/tor.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn start(
        dir: &Path,
        key_file: &[u8],
        points: usize,
        surroundings: &Arc<Mutex<Surroundings>>,
    ) -> Result<Arc<Self>> {
        let mut model =
            TorModel::new(key_file, 1, ChaCha20Rng::from_seed(Sha256::digest(dir.as_os_str().as_bytes()).into()));
        model.bootstrap();
        {
            let surroundings = lock(surroundings);
            for _ in 0..points {
                model.add_point(&surroundings.network, now().as_secs());
            }
        }
        model.relist();
        let stand_in = Arc::new(Self {
            surroundings: surroundings.clone(),
            model: Mutex::new(model),
            microdescs_told: Mutex::default(),
        });
        write_program(dir)?;
        let listener = UnixListener::bind(dir.join("control"))?;
        let listening = stand_in.clone();
        thread::Builder::new().name("stand-in".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // The node says when it has no connection.
                let _closed = listening.serve(&stream);
            }
        })?;
        Ok(stand_in)
    }

    /// How often the node was told all microdescriptors: once for each consensus.
    pub fn microdescs_told(&self) -> usize {
        *lock(&self.microdescs_told)
    }

    fn serve(&self, mut stream: &UnixStream) -> Result<()> {
        let mut lines = BufReader::new(stream);
        authenticate(&mut lines, stream)?;
        lock(&self.model).connected();
        loop {
            let command = next_command(&mut lines)?;
            for bytes in self.answer(&command) {
                stream.write_all(&bytes)?;
            }
            *lock(&self.microdescs_told) += usize::from(command == b"GETINFO md/all\r\n");
        }
    }

    /// What tor says to a command: replies and, as all HSDirs are quick and well, what comes of uploads and fetches.
    fn answer(&self, command: &[u8]) -> Vec<Arc<[u8]>> {
        let (mut surroundings, mut model) = (lock(&self.surroundings), lock(&self.model));
        let Surroundings { network, stored, lag_secs, .. } = &mut *surroundings;
        model.lag_secs = *lag_secs;
        let effects = model.handle(command, network, now());
        let said = effects.into_iter().map(|effect| match effect {
            Effect::Reply(bytes) => bytes,
            Effect::Close(_) => Arc::default(),
            Effect::Upload(hsdir, text) => {
                stored.insert(hsdir, text);
                model.upload_event(hsdir, None).into()
            }
            Effect::Fetch(hsdir) => model.fetch_events(hsdir, stored.get(&hsdir).map(AsRef::as_ref)).into(),
        });
        said.collect()
    }
}

/// The next command: a line, or with `+` all lines up to a lone dot.
fn next_command(lines: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut command = Vec::new();
    while command.is_empty() || command.starts_with(b"+") && !command.ends_with(b"\r\n.\r\n") {
        ensure!(lines.read_until(b'\n', &mut command)? > 0, "the node has closed it");
    }
    Ok(command)
}

/// Writes the program that the node starts as its tor. It lends the node our socket, and ends with its owner's connection,
/// its standard input.
fn write_program(dir: &Path) -> Result<()> {
    let (program, cookie) = (dir.join("tor"), dir.join("cookie"));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n--version) echo 'Tor version 0.4.9.11.' ;;\n*--verify-config) ;;\n\
         *) cd '{}' && cp cookie node/run/cookie && ln -sf ../../control node/run/control.sock && exec cat ;;\nesac\n",
        dir.display()
    );
    fs::write(cookie, COOKIE)?;
    fs::write(&program, text)?;
    Ok(fs::set_permissions(program, Permissions::from_mode(0o700))?)
}

/// Tor's side of SAFECOOKIE (control-spec).
fn authenticate(lines: &mut BufReader<&UnixStream>, mut stream: &UnixStream) -> Result<()> {
    loop {
        let mut line = String::new();
        ensure!(lines.read_line(&mut line)? > 0, "the node has closed it");
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PROTOCOLINFO", ..] => stream.write_all(
                b"250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"cookie\"\r\n\
                  250-VERSION Tor=\"0.4.9.11\"\r\n250 OK\r\n",
            )?,
            ["AUTHCHALLENGE", "SAFECOOKIE", nonce] => {
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(b"Tor safe cookie authentication server-to-controller hash")?;
                [&COOKIE[..], &unhex(nonce)?, &SERVER_NONCE].into_iter().for_each(|part| mac.update(part));
                let (hash, nonce) = (hex(&mac.finalize().into_bytes()), hex(&SERVER_NONCE));
                write!(stream, "250 AUTHCHALLENGE SERVERHASH={hash} SERVERNONCE={nonce}\r\n")?;
            }
            // Its own proof is tor's to check.
            ["AUTHENTICATE", ..] => return Ok(stream.write_all(b"250 OK\r\n")?),
            _ => anyhow::bail!("unexpected before authentication: {line}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?));
    pairs.collect::<Result<_>>().context("hex digits")
}

fn now() -> Wall {
    Wall::from_secs(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs())
}

/// Whoever panicked holding it has failed the bench already.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
