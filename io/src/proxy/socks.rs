//! SOCKS5 with user and password (RFC 1928, RFC 1929), as tor takes it; to tor the credentials mean isolation.

use std::fmt;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_io::Async;
use socket2::Socket;

use super::pump::write_all;

/// Streams of different isolation never share a circuit. It only has to differ: nobody but our own tor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation(u64);

impl Isolation {
    /// One that nobody else in this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// Why tor did not connect us (RFC 1928 section 6, and tor's `proposal 304` codes for onion services).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Not SOCKS5, or not what we asked for.
    Protocol,
    /// The reply's code.
    Code(u8),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Protocol => "the answer of tor's SOCKS port is not SOCKS5",
            Self::Code(0x01) => "tor could not connect to the onion target: general failure",
            Self::Code(0x02) => "tor's SOCKS port does not allow this target",
            Self::Code(0x04) => "the onion target is unreachable",
            Self::Code(0x05) => "the onion target refused the connection",
            Self::Code(0x06) => "the onion target did not answer in time",
            Self::Code(0xF0) => "the onion target has no descriptor: is its service running?",
            Self::Code(0xF1) => "the onion target's descriptor is invalid",
            Self::Code(0xF2) => "the onion target's introduction failed",
            Self::Code(0xF3) => "the onion target's rendezvous failed",
            Self::Code(0xF4 | 0xF5) => "the onion target wants client authorisation",
            Self::Code(0xF6) => "the onion target's address is invalid",
            Self::Code(0xF7) => "the onion target's introduction timed out",
            Self::Code(code) => return write!(f, "tor's SOCKS port answered {code:#04x}"),
        };
        f.write_str(words)
    }
}

impl std::error::Error for Refusal {}

/// Asks the SOCKS server at the other end of `stream` for a connection to `host:port`; afterwards `stream` is that
/// connection. The host is resolved by the server.
pub(super) async fn connect(stream: &Async<Socket>, isolation: Isolation, host: &str, port: u16) -> io::Result<()> {
    const USER_PASSWORD: u8 = 2;
    const DOMAIN_NAME: u8 = 3;
    let host_length = u8::try_from(host.len()).map_err(|_| refused(Refusal::Code(0xF6)))?;
    let user = isolation.0.to_be_bytes();

    write_all(stream, &[5, 1, USER_PASSWORD], || ()).await?;
    if read_array(stream).await? != [5, USER_PASSWORD] {
        return Err(refused(Refusal::Protocol));
    }
    let credentials = [&[1, 8], user.as_slice(), &[8], user.as_slice()].concat();
    write_all(stream, &credentials, || ()).await?;
    if read_array(stream).await? != [1, 0] {
        return Err(refused(Refusal::Protocol));
    }
    let request = [&[5, 1, 0, DOMAIN_NAME, host_length], host.as_bytes(), &port.to_be_bytes()].concat();
    write_all(stream, &request, || ()).await?;
    match read_array(stream).await? {
        [5, 0, 0, address_type] => skip_address(stream, address_type).await,
        [5, code, 0, _] => Err(refused(Refusal::Code(code))),
        _ => Err(refused(Refusal::Protocol)),
    }
}

/// Reads past the bound address and port: what follows belongs to the connection.
async fn skip_address(stream: &Async<Socket>, address_type: u8) -> io::Result<()> {
    match address_type {
        1 => drop(read_array::<{ 4 + 2 }>(stream).await?),
        3 => {
            let [length] = read_array(stream).await?;
            for _ in 0..usize::from(length) + 2 {
                let [_] = read_array(stream).await?;
            }
        }
        4 => drop(read_array::<{ 16 + 2 }>(stream).await?),
        _ => return Err(refused(Refusal::Protocol)),
    }
    Ok(())
}

/// Whether tor did its work, and it is the target that cannot be reached: another tor would find the same.
pub(super) fn is_of_the_target(error: &io::Error) -> bool {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref());
    refusal.is_some_and(|refusal| !matches!(refusal, Refusal::Protocol | Refusal::Code(0x01 | 0x02)))
}

fn refused(refusal: Refusal) -> io::Error {
    let kind = if refusal == Refusal::Protocol { io::ErrorKind::InvalidData } else { io::ErrorKind::ConnectionRefused };
    io::Error::new(kind, refusal)
}

/// Exactly `N` bytes, never one of what follows.
async fn read_array<const N: usize>(stream: &Async<Socket>) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    let mut missing = array.as_mut_slice();
    while !missing.is_empty() {
        let read = stream.read_with(|mut socket| socket.read(missing)).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        missing = missing.split_at_mut(read).1;
    }
    Ok(array)
}
