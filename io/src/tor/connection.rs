//! One control connection: opened, authenticated, then nothing but bytes both ways.

use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_io::Timer;
use rustbalance_core::control::auth::{self, AuthError, ProtocolInfo, SafeCookie};
use rustbalance_core::control::reply::{Reader, Reply, ReplyError};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::stream::Stream;
use crate::entropy::EntropyError;
use crate::keys::{KeyError, read_secret_file};
use crate::settings::{AttachSettings, ControlAddress};
use crate::{clock, entropy};

/// Most bytes handed to the driver at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// How long a living tor may leave us without a control connection before it is given up.
const CONTROL_LIMIT: Duration = Duration::from_secs(30);

/// How often we try to get one.
const CONTROL_RETRY: Duration = Duration::from_millis(50);

/// How long connecting and authenticating may take; tor answers within milliseconds unless it is busy.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A tor control cookie's length, and one byte to notice a longer file by.
const COOKIE_READ_MAX: usize = 33;

/// How to get a control connection.
pub(super) struct ControlAccess {
    address: ControlAddress,
    proof: Proof,
}

/// What tor is shown.
enum Proof {
    /// That we know its cookie, which is in this file, or else where tor says.
    Cookie(Option<PathBuf>),
    /// The password in this file.
    Password(PathBuf),
}

impl ControlAccess {
    /// To the tor of our own.
    pub(super) fn managed(control_socket: &Path, cookie: &Path) -> Self {
        let proof = Proof::Cookie(Some(cookie.to_owned()));
        Self { address: ControlAddress::Unix(control_socket.to_owned()), proof }
    }

    /// To that of somebody else, if there is to be one.
    pub(super) fn attached(settings: &AttachSettings) -> Option<Self> {
        let password = settings.password_file.clone().map(Proof::Password);
        let proof = password.unwrap_or_else(|| Proof::Cookie(settings.cookie_file.clone()));
        Some(Self { address: settings.control.clone()?, proof })
    }
}

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
    #[error("cannot read tor's cookie, {}: {source}", path.display())]
    CookieFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Password(#[from] KeyError),
    #[error(
        "tor offers no way in that we can go ({0}): set CookieAuthentication 1, or HashedControlPassword and tor.password_file"
    )]
    Methods(String),
    #[error("tor refused our cookie or password with {0}")]
    Refused(u16),
    #[error("no answer within 10 s")]
    TimedOut,
}

/// Connects and authenticates.
pub(super) async fn open(access: &ControlAccess, nonce: [u8; 32]) -> Result<Stream, ConnectError> {
    let handshake = async {
        let mut dialogue = Dialogue::new(Stream::connect(&access.address).await?);
        dialogue.authenticate(&access.proof, nonce).await?;
        Ok(dialogue.stream)
    };
    within_limit(handshake).await
}

/// What `step` comes to, if it does within 10 s.
pub(super) async fn within_limit<T>(step: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
    clock::within(HANDSHAKE_LIMIT, step).await.unwrap_or(Err(ConnectError::TimedOut))
}

/// Tries until tor answers, as one that has just been started does soon.
///
/// # Errors
/// The last attempt's, after [`CONTROL_LIMIT`].
pub(super) async fn open_patiently(access: &ControlAccess) -> Result<Stream, ConnectError> {
    let deadline = clock::mono().plus(CONTROL_LIMIT);
    loop {
        let nonce = entropy::secret()?;
        match open(access, *nonce).await {
            Err(_) if clock::mono() < deadline => Timer::after(CONTROL_RETRY).await,
            outcome => return outcome,
        };
    }
}

/// A connection on which no event is asked for: each command has its reply next.
pub(super) struct Dialogue {
    stream: Stream,
    reader: Reader,
}

impl Dialogue {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, reader: Reader::default() }
    }

    async fn authenticate(&mut self, proof: &Proof, nonce: [u8; 32]) -> Result<(), ConnectError> {
        // Its answer also proves that tor has written the cookie of this run.
        let answer = self.ask(&auth::protocol_info()).await?;
        let info = ProtocolInfo::parse(&answer).ok_or(ConnectError::Answer("PROTOCOLINFO"))?;
        let offers = |wanted: &str| info.methods.iter().any(|method| method == wanted);
        match proof {
            Proof::Password(file) if offers("HASHEDPASSWORD") => {
                let password = read_secret_file(file)?;
                self.prove(&auth::with_password(password.trim_ascii_end())).await
            }
            Proof::Cookie(named) if offers("SAFECOOKIE") => {
                let told = info.cookie_file.map(|path| PathBuf::from(std::ffi::OsString::from_vec(path)));
                let file = named.clone().or(told).ok_or(ConnectError::Answer("PROTOCOLINFO"))?;
                self.prove_cookie(&file, nonce).await
            }
            Proof::Cookie(None) if offers("NULL") => self.prove(&auth::without_proof()).await,
            Proof::Password(_) | Proof::Cookie(_) => Err(ConnectError::Methods(info.methods.join(", "))),
        }
    }

    async fn prove_cookie(&mut self, file: &Path, nonce: [u8; 32]) -> Result<(), ConnectError> {
        let cookie = read_cookie(file).map_err(|source| ConnectError::CookieFile { path: file.to_owned(), source })?;
        let exchange = SafeCookie::new(&cookie, nonce).map_err(ConnectError::Cookie)?;
        let answer = self.ask(&exchange.challenge()).await?;
        let authenticate = exchange.authenticate(&answer).map_err(ConnectError::Cookie)?;
        self.prove(&authenticate).await
    }

    async fn prove(&mut self, authenticate: &[u8]) -> Result<(), ConnectError> {
        match self.ask(authenticate).await?.status {
            250 => Ok(()),
            status => Err(ConnectError::Refused(status)),
        }
    }

    /// One command, one reply.
    pub(super) async fn ask(&mut self, command: &[u8]) -> Result<Reply, ConnectError> {
        (&self.stream).write_all(command).await?;
        next_reply(&self.stream, &mut self.reader).await
    }
}

/// The next reply or event.
pub(super) async fn next_reply(mut stream: &Stream, reader: &mut Reader) -> Result<Reply, ConnectError> {
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
