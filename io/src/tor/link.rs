//! The way between the core and one control connection after the other.

use std::io;
use std::time::Duration;

use rustbalance_core::TorId;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connection::CHUNK;
use super::stream::Stream;
use super::{ConnectionId, TorCommand, TorInput};
use crate::clock;

/// How long tor may take to accept one command. One that takes longer is frozen: the core's wish for a new connection
/// waits behind that command, so nobody else can end it.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// How a session ended, in words.
pub(super) enum Parting {
    /// Another connection will do.
    Connection(String),
    /// Another tor is wanted.
    Tor(String),
}

/// The core's ends of the channels. Each step ends with `None` when the core wants no tor any more.
pub(super) struct Link {
    id: TorId,
    to_core: Sender<(TorId, TorInput)>,
    from_core: Receiver<TorCommand>,
    /// The newest one.
    connection: ConnectionId,
}

impl Link {
    /// Before the first connection.
    pub(super) fn new(id: TorId, to_core: Sender<(TorId, TorInput)>, from_core: Receiver<TorCommand>) -> Self {
        Self { id, to_core, from_core, connection: ConnectionId(0) }
    }

    /// Whose it is.
    pub(super) fn id(&self) -> TorId {
        self.id
    }

    /// Bytes both ways until the connection closes.
    /// The core is told of it by `news`, and later that it is over by whoever knows what comes then.
    pub(super) async fn session(
        &mut self,
        stream: Stream,
        news: impl FnOnce(ConnectionId) -> TorInput,
    ) -> Option<Parting> {
        self.connection.0 += 1;
        self.tell(news(self.connection)).await?;
        let read = async { self.read(&stream).await.map(Parting::Connection) };
        read.or(self.write(&stream)).await
    }

    async fn read(&self, mut stream: &Stream) -> Option<String> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let bytes = match stream.read(&mut buffer).await {
                Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
                Err(error) => return Some(error.to_string()),
            };
            if bytes.is_empty() {
                return Some("tor closed it".to_owned());
            }
            // Waits while the core is busy: tor waits in turn.
            self.to_core.send((self.id, TorInput::Bytes(bytes))).await.ok()?;
        }
    }

    async fn write(&self, stream: &Stream) -> Option<Parting> {
        loop {
            match self.from_core.recv().await.ok()? {
                TorCommand::Write(connection, bytes) if connection == self.connection => {
                    if let Err(error) = write_within(stream, &bytes, WRITE_LIMIT).await {
                        return Some(Parting::Connection(error.to_string()));
                    }
                }
                TorCommand::Reconnect(connection) if connection == self.connection => {
                    return Some(Parting::Connection("as the core wished".to_owned()));
                }
                TorCommand::Restart(connection) if connection == self.connection => {
                    return Some(Parting::Tor("as the core wished".to_owned()));
                }
                TorCommand::Write(..) | TorCommand::Reconnect(_) | TorCommand::Restart(_) => {}
            }
        }
    }

    /// Sends news about the connection, which no command can be meant for yet or any more.
    pub(super) async fn tell(&self, news: TorInput) -> Option<()> {
        self.unless_stopped(self.to_core.send((self.id, news))).await?.ok()
    }

    /// Does `work` unless `from_core` closes first. Commands that arrive meanwhile are for a connection that is gone.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            while self.from_core.recv().await.is_ok() {}
            None
        };
        async { Some(work.await) }.or(stopped).await
    }
}

/// Writes all of `bytes`, or fails after `limit`.
async fn write_within(mut stream: &Stream, bytes: &[u8], limit: Duration) -> io::Result<()> {
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "tor takes no commands"));
    clock::within(limit, stream.write_all(bytes)).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use async_io::Async;

    use super::*;

    #[test]
    fn a_tor_that_takes_no_commands_loses_its_connection() {
        let (ours, _tors) = Async::<UnixStream>::pair().unwrap();
        let ours = Stream::Unix(ours);
        let more_than_the_system_holds = vec![0; 16 << 20];
        let written = smol::block_on(write_within(&ours, &more_than_the_system_holds, Duration::from_millis(10)));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (ours, _tors) = Async::<UnixStream>::pair().unwrap();
        let roomy = Stream::Unix(ours);
        smol::block_on(write_within(&roomy, b"little", Duration::from_secs(60))).unwrap();
    }
}
