//! Moving bytes both ways between two sockets.
//!
//! An idle connection holds no buffer: bytes are read into one buffer per thread and written on at once; only what
//! the other side does not take yet is kept, per connection, until it does.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_io::Async;
use rustbalance_core::time::Mono;
use smol::future::{self, FutureExt as _};
use socket2::Socket;

use crate::clock;

/// Most bytes moved by one system call, and most that a direction keeps.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Both directions to their ends, or to the first error, which is `TimedOut` after a silence of `idle_timeout`. A side that
/// takes no more bytes ends only that direction: its own last words still arrive.
pub(super) async fn or_silence<E: From<io::Error>>(
    inward: impl Future<Output = Result<(), E>>,
    outward: impl Future<Output = Result<(), E>>,
    activity: &Activity,
    idle_timeout: Duration,
) -> Result<(), E> {
    let both = async { future::try_zip(inward, outward).await.map(|_| ()) };
    let silent = async {
        activity.silence(idle_timeout).await;
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    };
    both.or(silent).await
}

/// One direction, until end of file, which is passed on.
pub(super) async fn copy(
    from: &Async<Socket>,
    to: &Async<Socket>,
    activity: &Activity,
    bytes: &AtomicU64,
) -> io::Result<()> {
    carry(from, to, activity, bytes).await?;
    pass_on_the_end(to);
    Ok(())
}

/// No more will be written there. Fails only if that side is gone already, which its own direction finds out.
pub(super) fn pass_on_the_end(to: &Async<Socket>) {
    let _ = to.get_ref().shutdown(Shutdown::Write);
}

/// One direction, until end of file, or until the other side takes no more.
pub(super) async fn carry(
    from: &Async<Socket>,
    to: &Async<Socket>,
    activity: &Activity,
    bytes: &AtomicU64,
) -> io::Result<()> {
    loop {
        from.readable().await?;
        let moved = match forward(from.get_ref(), to.get_ref()) {
            Ok(Moved::All(count)) => count,
            Ok(Moved::Part { written, rest }) => {
                activity.touch();
                if write_all(to, &rest, || activity.touch()).await.is_err() {
                    return Ok(());
                }
                written + rest.len()
            }
            Ok(Moved::EndOfFile | Moved::Refused) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        activity.touch();
        bytes.fetch_add(moved as u64, Relaxed);
    }
}

/// What one read and one write did.
enum Moved {
    /// Everything read was written: this many bytes, at least one.
    All(usize),
    /// The other side is slow: `rest` is still to be written.
    Part { written: usize, rest: Vec<u8> },
    /// Nothing more to read.
    EndOfFile,
    /// The other side takes no more.
    Refused,
}

fn forward(mut from: &Socket, mut to: &Socket) -> io::Result<Moved> {
    SCRATCH.with_borrow_mut(|scratch| {
        let count = from.read(scratch)?;
        let (read, _) = scratch.split_at(count);
        if read.is_empty() {
            return Ok(Moved::EndOfFile);
        }
        let written = match to.write(read) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => return Ok(Moved::Refused),
        };
        let (_, rest) = read.split_at(written);
        Ok(if rest.is_empty() { Moved::All(written) } else { Moved::Part { written, rest: rest.to_vec() } })
    })
}

/// Adds to `bytes` what one read gives, and says how many that is.
pub(super) fn read_onto(mut from: &Socket, bytes: &mut Vec<u8>) -> io::Result<usize> {
    SCRATCH.with_borrow_mut(|scratch| {
        let count = from.read(scratch)?;
        bytes.extend_from_slice(scratch.split_at(count).0);
        Ok(count)
    })
}

/// Writes all of `bytes`, calling `progress` after every part.
pub(crate) async fn write_all(to: &Async<Socket>, mut bytes: &[u8], progress: impl Fn()) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = to.write_with(|mut socket| socket.write(bytes)).await?;
        bytes = bytes.split_at(written).1;
        progress();
    }
    Ok(())
}

/// When a byte last moved, in milliseconds of boot time.
pub(super) struct Activity(AtomicU64);

impl Activity {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(clock::mono().as_ms()))
    }

    pub(super) fn touch(&self) {
        self.0.store(clock::mono().as_ms(), Relaxed);
    }

    /// Ends once nothing has moved for `limit`.
    pub(super) async fn silence(&self, limit: Duration) {
        loop {
            let ends = Mono::from_ms(self.0.load(Relaxed)).plus(limit);
            if clock::mono() >= ends {
                return;
            }
            clock::sleep_until(Some(ends)).await;
        }
    }
}
