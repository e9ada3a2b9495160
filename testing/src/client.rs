//! A person with a tor client who opens a page of the service.

use std::fs::{self, DirBuilder};
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::tor::Tor;
use crate::tor_net::TorNet;

/// How long a client may take to bootstrap.
pub(crate) const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(60);

/// A tor client, a process of its own. Fresh from the start: it has never heard of the service, has no descriptor, no
/// circuit and no memory of failed introduction points.
pub struct Client {
    tor: Tor,
}

/// A page that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What the application said: the name of the node that served it.
    pub node: String,
    /// From opening the SOCKS connection to the page's last byte.
    pub took: Duration,
}

impl Client {
    /// Starts a client and waits until it is bootstrapped.
    ///
    /// # Errors
    /// If it is not within a minute.
    pub fn start(net: &TorNet, name: &str) -> Result<Self> {
        Self::start_with_key(net, name, None)
    }

    /// Starts a client that has the key of this `.auth_private` line, if any.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_key(net: &TorNet, name: &str, auth_private: Option<&str>) -> Result<Self> {
        let dir = net.dir_of(name);
        let mut torrc = net.client_torrc_lines();
        torrc.push(format!("SocksPort unix:{}", dir.join("socks").display()));
        torrc.push("ClientOnly 1".into());
        if let Some(line) = auth_private {
            let keys = dir.join("keys");
            DirBuilder::new().recursive(true).mode(0o700).create(&keys)?;
            fs::write(keys.join("service.auth_private"), line)?;
            torrc.push(format!("ClientOnionAuthDir {}", keys.display()));
        }
        let tor = Tor::start(net.binary(), name, &dir, &torrc)?;
        tor.wait_bootstrapped(BOOTSTRAP_LIMIT)?;
        Ok(Self { tor })
    }

    /// Starts `count` clients at once.
    ///
    /// # Errors
    /// If one of them is not bootstrapped within a minute.
    pub fn start_some(net: &TorNet, name: &str, count: usize) -> Result<Vec<Self>> {
        thread::scope(|scope| {
            let start = |number| scope.spawn(move || Self::start(net, &format!("{name}{number}")));
            let starting: Vec<_> = (0..count).map(start).collect();
            starting.into_iter().map(|one| one.join().map_err(|_| anyhow!("starting a client panicked"))?).collect()
        })
    }

    /// Its tor.
    pub fn tor(&self) -> &Tor {
        &self.tor
    }

    /// Loads the page once: one SOCKS connection, whatever tor retries behind it, all within `limit`. Pages of one
    /// `circuit` share their circuit, as the pages of one site do in Tor Browser until "New Tor circuit for this site".
    ///
    /// # Errors
    /// If tor says no, the connection breaks or `limit` passes.
    pub fn load(&self, address: &str, port: u16, circuit: u32, limit: Duration) -> Result<Page> {
        let start = Instant::now();
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = self.say(address, port, circuit, limit, request.as_bytes())?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the page was cut off")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "answered {head:?}");
        Ok(Page { node: body.to_owned(), took: start.elapsed() })
    }

    /// Says `request`, whatever it is, and returns all that comes back until the connection is closed.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn say(&self, address: &str, port: u16, circuit: u32, limit: Duration, request: &[u8]) -> Result<String> {
        let start = Instant::now();
        let after = || format!("after {:.1} s", start.elapsed().as_secs_f32());
        let mut stream = self.connect(address, port, circuit, start + limit).with_context(after)?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("connected, then {}", after()))?;
        Ok(answer)
    }

    /// Opens a connection that stays, for page after page.
    ///
    /// # Errors
    /// If tor says no or `limit` passes.
    pub fn session(&self, address: &str, port: u16, circuit: u32, limit: Duration) -> Result<Session> {
        let stream = self.connect(address, port, circuit, Instant::now() + limit)?;
        Ok(Session { host: address.to_owned(), stream: BufReader::new(stream) })
    }

    fn connect(&self, address: &str, port: u16, circuit: u32, deadline: Instant) -> Result<Deadline> {
        let stream = UnixStream::connect(self.tor.dir().join("socks"))?;
        let mut stream = Deadline { stream, deadline };
        connect(&mut stream, address, port, circuit)?;
        Ok(stream)
    }
}

/// A connection to the service that stays open.
pub struct Session {
    host: String,
    stream: BufReader<Deadline>,
}

impl Session {
    /// Loads the page over it. Returns what the application said.
    ///
    /// # Errors
    /// If the connection has broken or `limit` passes.
    pub fn page(&mut self, limit: Duration) -> Result<String> {
        let stream = self.stream.get_mut();
        stream.deadline = Instant::now() + limit;
        write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive\r\n\r\n", self.host)?;
        let (mut head, mut length) = (String::new(), None);
        while !head.ends_with("\r\n\r\n") {
            let begin = head.len();
            ensure!(self.stream.read_line(&mut head)? > 0, "closed after {head:?}");
            let value = head.get(begin..).and_then(|line| line.strip_prefix("Content-Length: "));
            length = value.map(|value| value.trim_end().parse::<u16>()).transpose()?.or(length);
        }
        ensure!(head.starts_with("HTTP/1.1 200 "), "answered {head:?}");
        let mut body = vec![0; length.context("a page without a length")?.into()];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}

/// SOCKS5 (RFC 1928) to a host name. Tor keeps streams with different passwords (RFC 1929) on different circuits.
fn connect(stream: &mut Deadline, host: &str, port: u16, circuit: u32) -> Result<()> {
    const WITH_PASSWORD: [u8; 2] = [5, 2];
    stream.write_all(&[5, 1, 2])?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice)?;
    ensure!(choice == WITH_PASSWORD, "not a SOCKS5 server with passwords: {choice:?}");
    stream.write_all(&[&[1, 4], &b"site"[..], &[4], &circuit.to_be_bytes()].concat())?;
    stream.read_exact(&mut choice)?;
    ensure!(choice == [1, 0], "tor refuses the SOCKS password: {choice:?}");
    let length = u8::try_from(host.len())?;
    stream.write_all(&[&[5, 1, 0, 3, length], host.as_bytes(), &port.to_be_bytes()].concat())?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply)?;
    let [_, code, _, bound_type] = reply;
    ensure!(code == 0, "SOCKS error {code:#04x}");
    // The bound address means nothing with tor, but must be read.
    let bound_length = match bound_type {
        1 => 4,
        4 => 16,
        _ => {
            let mut length = [0];
            stream.read_exact(&mut length)?;
            usize::from(length[0])
        }
    };
    stream.read_exact(&mut vec![0; bound_length + 2])?;
    Ok(())
}

/// A stream whose reads all end at one deadline.
struct Deadline {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Deadline {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let timed_out = |error: std::io::Error| {
            if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
        };
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Deadline {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}
