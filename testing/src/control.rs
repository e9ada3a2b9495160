//! A blocking controller for the tors of the test network, on the core's control codec. Their control sockets need no
//! authentication: each lies in its tor's directory, which only we can enter. Nodes' own tors want their cookie.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustbalance_core::control::command;
use rustbalance_core::control::event::{self, Event};
use rustbalance_core::control::reply::{Reader, Reply};

/// How long tor may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// A control connection.
pub struct Control {
    stream: UnixStream,
    reader: Reader,
    events: VecDeque<Event>,
}

impl Control {
    /// Connects to a tor that asks for no authentication.
    ///
    /// # Errors
    /// If there is no tor behind `socket`.
    pub fn connect(socket: &Path) -> Result<Self> {
        Self::authenticate(socket, "AUTHENTICATE\r\n")
    }

    /// Connects to a tor that wants its cookie.
    ///
    /// # Errors
    /// If there is no tor behind `socket`, or `cookie` is not its own.
    pub fn connect_with_cookie(socket: &Path, cookie: &Path) -> Result<Self> {
        let cookie = fs::read(cookie).with_context(|| format!("control cookie {}", cookie.display()))?;
        let digits: String = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::authenticate(socket, &format!("AUTHENTICATE {digits}\r\n"))
    }

    fn authenticate(socket: &Path, command: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("control socket {}", socket.display()))?;
        let mut control = Self { stream, reader: Reader::default(), events: VecDeque::new() };
        control.command(command.as_bytes())?;
        Ok(control)
    }

    /// Sends one command and returns its positive reply; events that come meanwhile are kept.
    ///
    /// # Errors
    /// If tor refuses, is silent for 15 s, or closes the connection.
    pub fn command(&mut self, command: &[u8]) -> Result<Reply> {
        let what = || String::from_utf8_lossy(command).trim_end().to_owned();
        self.stream.write_all(command).with_context(what)?;
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let reply = self.read(deadline).with_context(what)?.context("no answer").with_context(what)?;
            if !reply.is_event() {
                ensure!(reply.is_ok(), "{}: {reply}", what());
                return Ok(reply);
            }
            self.events.extend(event::parse(&reply));
        }
    }

    /// `GETINFO key`.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn get_info(&mut self, key: &str) -> Result<Vec<u8>> {
        let reply = self.command(&command::get_info(&[key]))?;
        Ok(reply.value(key).with_context(|| format!("no {key} in {reply}"))?.to_vec())
    }

    /// `GETINFO key`, where the answer is text.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn get_info_text(&mut self, key: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.get_info(key)?).into_owned())
    }

    /// The next event, `None` at `deadline`.
    ///
    /// # Errors
    /// If the connection closes.
    pub fn event(&mut self, deadline: Instant) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let Some(reply) = self.read(deadline)? else { return Ok(None) };
            self.events.extend(event::parse(&reply));
        }
    }

    /// The next reply or event, `None` at `deadline`.
    fn read(&mut self, deadline: Instant) -> Result<Option<Reply>> {
        let mut buffer = [0; 65_536];
        loop {
            if let Some(reply) = self.reader.next_reply()? {
                return Ok(Some(reply));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(length) => {
                    ensure!(length > 0, "tor closed the control connection");
                    self.reader.push(buffer.get(..length).unwrap_or_default());
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
