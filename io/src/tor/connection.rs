//! One control connection: opened, authenticated, then nothing but bytes both ways.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use async_io::Timer;
use rustbalance_core::control::auth::{self, AuthError, ProtocolInfo, SafeCookie};
use rustbalance_core::control::reply::{Reader, Reply, ReplyError};
use smol::Async;
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::paths::TorPaths;
use crate::entropy::EntropyError;

/// Most bytes handed to the driver at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// How long connecting and authenticating may take; tor answers within milliseconds unless it is busy.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A tor control cookie's length, and one byte to notice a longer file by.
const COOKIE_READ_MAX: usize = 33;

/// Why there is no control connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    #[error("tor breaks the control protocol: {0}")]
    Protocol(ReplyError),
    #[error("tor closed the connection")]
    Closed,
    #[error("tor's answer to {0} is not what control-spec says")]
    Answer(&'static str),
    #[error("{0}")]
    Cookie(AuthError),
    #[error("tor refused our cookie with {0}")]
    Refused(u16),
    #[error("no answer within 10 s")]
    TimedOut,
}

/// Connects to the control socket and authenticates with the cookie.
pub(super) async fn open(paths: &TorPaths, nonce: [u8; 32]) -> Result<Async<UnixStream>, ConnectError> {
    let handshake = async {
        let mut handshake =
            Handshake { stream: Async::<UnixStream>::connect(&paths.control_socket).await?, reader: Reader::default() };
        handshake.authenticate(&paths.cookie, nonce).await?;
        Ok(handshake.stream)
    };
    handshake
        .or(async {
            Timer::after(HANDSHAKE_LIMIT).await;
            Err(ConnectError::TimedOut)
        })
        .await
}

struct Handshake {
    stream: Async<UnixStream>,
    reader: Reader,
}

impl Handshake {
    async fn authenticate(&mut self, cookie_file: &Path, nonce: [u8; 32]) -> Result<(), ConnectError> {
        // Its answer also proves that tor has written the cookie of this run.
        let answer = self.ask(&auth::protocol_info()).await?;
        ProtocolInfo::parse(&answer)
            .filter(|info| info.methods.iter().any(|method| method == "SAFECOOKIE"))
            .ok_or(ConnectError::Answer("PROTOCOLINFO"))?;
        let cookie = read_cookie(cookie_file)?;
        let exchange = SafeCookie::new(&cookie, nonce).map_err(ConnectError::Cookie)?;
        let answer = self.ask(&exchange.challenge()).await?;
        let authenticate = exchange.authenticate(&answer).map_err(ConnectError::Cookie)?;
        match self.ask(&authenticate).await?.status {
            250 => Ok(()),
            status => Err(ConnectError::Refused(status)),
        }
    }

    /// One command, one reply. No event can come in between: none has been asked for.
    async fn ask(&mut self, command: &[u8]) -> Result<Reply, ConnectError> {
        self.stream.write_all(command).await?;
        next_reply(&mut self.stream, &mut self.reader).await
    }
}

/// The next reply or event.
pub(super) async fn next_reply(stream: &mut Async<UnixStream>, reader: &mut Reader) -> Result<Reply, ConnectError> {
    let mut buffer = [0; 1024];
    loop {
        if let Some(reply) = reader.next_reply().map_err(ConnectError::Protocol)? {
            return Ok(reply);
        }
        let count = stream.read(&mut buffer).await?;
        match buffer.get(..count) {
            Some(bytes) if !bytes.is_empty() => reader.push(bytes),
            Some(_) | None => return Err(ConnectError::Closed),
        }
    }
}

fn read_cookie(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut cookie = Zeroizing::new(Vec::with_capacity(2 * COOKIE_READ_MAX));
    std::fs::File::open(path)?.take(COOKIE_READ_MAX as u64).read_to_end(&mut cookie)?;
    Ok(cookie)
}
